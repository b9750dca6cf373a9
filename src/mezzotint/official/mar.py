"""MAR's release (LTH14/mar, arXiv 2406.11838): names, shapes, and how it samples.

ReCAP's release (liebenxj/ReCAP) has the same names. A training file holds `model` and `model_ema`;
samples are made by the average.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from mezzotint.diffusion.betas import CosineBetas
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.mar import MARConfig
from mezzotint.networks.token_mlp import TokenMLPConfig
from mezzotint.official.ratios import ratio
from mezzotint.official.renames import Renames, State

_BLOCK: Final = (
    ("norm1", "norm1"),
    ("attn.qkv", "attn.qkv"),
    ("attn.proj", "attn.proj"),
    ("norm2", "norm2"),
    ("mlp.fc1", "mlp.0"),
    ("mlp.fc2", "mlp.2"),
)
_HEAD: Final = (
    ("time_embed.mlp.*", "time.mlp.*"),
    ("cond_embed", "condition"),
    ("input_proj", "enter"),
    ("res_blocks.*.in_ln", "blocks.*.norm"),
    ("res_blocks.*.mlp.*", "blocks.*.mlp.*"),
    ("res_blocks.*.adaLN_modulation.1", "blocks.*.modulation.linear"),
    ("final_layer.adaLN_modulation.1", "modulation.linear"),
    ("final_layer.linear", "leave"),
)

RENAMES: Final = Renames(
    "MAR",
    (
        ("z_proj.*", "embed.*"),
        ("z_proj_ln.*", "embed_norm.*"),
        ("encoder_pos_embed_learned", "encoder_positions"),
        ("encoder_norm.*", "encoder_norm.*"),
        ("decoder_embed.*", "decoder_embed.*"),
        ("mask_token", "mask_token"),
        ("decoder_pos_embed_learned", "decoder_positions"),
        ("decoder_norm.*", "decoder_norm.*"),
        ("diffusion_pos_embed_learned", "head_positions"),
        *(
            (f"{stack}_blocks.*.{theirs}.*", f"{stack}.*.{ours}.*")
            for stack in ("encoder", "decoder")
            for theirs, ours in _BLOCK
        ),
        *((f"diffloss.net.{theirs}.*", f"head.{ours}.*") for theirs, ours in _HEAD),
    ),
)

STEPS: Final = 64  # of generation, by default; 256 for the published figures
DIFFUSION_STEPS: Final = 100
SCALES: Final = {"B": 2.9, "L": 3.0, "H": 3.2}  # linear schedule, ImageNet 256
TEMPERATURE: Final = 0.95  # without guidance; 1 with it
REPEATS: Final = 4  # of each token in the diffusion loss, in the README's command

_TABLE: Final = "label.table.weight"
_CLASSES: Final = "class_emb.weight"
_NULL: Final = "fake_latent"
_HEADS: Final = {size["width"]: size["heads"] for size in MARConfig.PRESETS.values()}


def parts() -> tuple[DiscreteVP, LearnedRange]:
    """Return the path and the prediction of the diffusion head."""
    return DiscreteVP(CosineBetas()), LearnedRange()


def config_of(arguments: Mapping[str, Any]) -> MARConfig:
    """Translate the arguments of the official constructor.

    Args:
        arguments: `img_size`, `vae_stride` and `patch_size`, or `seq_len` alone; `vae_embed_dim`,
            `encoder_embed_dim`, `encoder_depth`, `encoder_num_heads`, the decoder's three (the
            encoder's by default), `mlp_ratio`, `class_num`, `buffer_size`, `diffloss_d`,
            `diffloss_w`.
    """
    patch = arguments.get("patch_size", 1)
    if "img_size" in arguments:
        side = arguments["img_size"] // arguments.get("vae_stride", 16)
    else:
        side = math.isqrt(arguments["seq_len"]) * patch
    channels = arguments.get("vae_embed_dim", 16)
    width = arguments["encoder_embed_dim"]
    narrow = arguments.get("decoder_embed_dim", width)
    return MARConfig(
        channels=channels,
        size=(side, side),
        num_classes=arguments["class_num"],
        width=width,
        depth=arguments["encoder_depth"],
        heads=arguments["encoder_num_heads"],
        decoder_width=narrow,
        decoder_depth=arguments.get("decoder_depth", arguments["encoder_depth"]),
        decoder_heads=arguments.get("decoder_num_heads", arguments["encoder_num_heads"]),
        patch=patch,
        buffer=arguments["buffer_size"],
        mlp_ratio=arguments.get("mlp_ratio", 4.0),
        attention_dropout=arguments.get("attn_dropout", 0.1),
        dropout=arguments.get("proj_dropout", 0.1),
        head=TokenMLPConfig(
            channels=channels * patch**2,
            condition=narrow,
            width=arguments["diffloss_w"],
            depth=arguments["diffloss_d"],
        ),
    )


def config_from_official(
    state: Mapping[str, Tensor],
    *,
    patch: int = 1,
    heads: tuple[int, int] | None = None,
) -> MARConfig:
    """Read the shape of a MAR off its official tensors; inputs are square.

    Args:
        state: official names to tensors.
        patch: side of a patch; shapes cannot tell.
        heads: of encoder and decoder; known for the published widths.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
        ConfigError: the number of heads is not known for this width.
    """
    try:
        width, values = state["z_proj.weight"].shape
        narrow = len(state["decoder_embed.weight"])
        length = state["diffusion_pos_embed_learned"].shape[1]
        places = state["encoder_pos_embed_learned"].shape[1]
        hidden = len(state["encoder_blocks.0.mlp.fc1.weight"])
        head = len(state["diffloss.net.input_proj.weight"])
        classes = len(state[_CLASSES])
    except KeyError as error:
        raise CheckpointError(f"not a MAR checkpoint: it has no tensor {error}") from None
    known = (_HEADS.get(width), _HEADS.get(narrow)) if heads is None else heads
    if None in known:
        raise ConfigError(
            f"width {width}, of the decoder {narrow}: of no published MAR; say how many heads"
        )
    side = math.isqrt(length) * patch
    return config_of(
        {
            "img_size": side,
            "vae_stride": 1,
            "patch_size": patch,
            "vae_embed_dim": values // patch**2,
            "class_num": classes,
            "encoder_embed_dim": width,
            "encoder_depth": _count(state, "encoder_blocks."),
            "encoder_num_heads": known[0],
            "decoder_embed_dim": narrow,
            "decoder_depth": _count(state, "decoder_blocks."),
            "decoder_num_heads": known[1],
            "mlp_ratio": ratio(hidden, width),
            "buffer_size": places - length,
            "diffloss_w": head,
            "diffloss_d": _count(state, "diffloss.net.res_blocks."),
        }
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbered modules follow a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if prefix in name})


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; the null class becomes the last row of the table; strict.

    Raises:
        CheckpointError: a tensor is not of MAR, or the class table or the null class is missing.
    """
    missing = [name for name in (_CLASSES, _NULL) if name not in state]
    if missing:
        raise CheckpointError(f"not a MAR checkpoint: it has no tensor {', '.join(missing)}")
    others = {name: t for name, t in state.items() if name not in {_CLASSES, _NULL}}
    table = torch.cat([state[_CLASSES], state[_NULL]])
    return {_TABLE: table, **RENAMES.to_ours(others)}


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict, and the inverse of `from_official`."""
    others = {name: tensor for name, tensor in state.items() if name != _TABLE}
    # Copies: two views of one tensor cannot be written to a file.
    classes, null = state[_TABLE][:-1].clone(), state[_TABLE][-1:].clone()
    return {_CLASSES: classes, _NULL: null, **RENAMES.to_official(others)}
