"""DiT's release (facebookresearch/DiT, arXiv 2212.09748): names, shapes, and how it samples.

The published models are class-conditional on ImageNet latents of 4 x 32 x 32 or 4 x 64 x 64, and
were sampled by 250 ancestral steps with guidance on three of the four channels.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.diffusion.grids import Grid, Respaced, Strided
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.dit import DiTConfig
from mezzotint.official.ratios import ratio
from mezzotint.official.renames import Renames, State

RENAMES: Final = Renames(
    "DiT",
    (
        ("pos_embed", "positions"),
        ("x_embedder.proj.*", "patches.proj.*"),
        ("t_embedder.mlp.*.*", "time.mlp.*.*"),
        ("y_embedder.embedding_table.weight", "label.table.weight"),
        ("blocks.*.attn.qkv.*", "blocks.*.attn.qkv.*"),
        ("blocks.*.attn.proj.*", "blocks.*.attn.proj.*"),
        ("blocks.*.mlp.fc1.*", "blocks.*.mlp.0.*"),
        ("blocks.*.mlp.fc2.*", "blocks.*.mlp.2.*"),
        ("blocks.*.adaLN_modulation.1.*", "blocks.*.modulation.linear.*"),
        ("final_layer.adaLN_modulation.1.*", "head.modulation.linear.*"),
        ("final_layer.linear.*", "head.linear.*"),
    ),
)

GUIDED_CHANNELS: Final = 3  # of four: an accident kept for reproducibility (DiT issues 12, 41)
STEPS: Final = 250
SCALE: Final = 1.5  # of the published FID 2.27 at 256 px

_HEADS: Final = {size["width"]: size["heads"] for size in DiTConfig.PRESETS.values()}


def parts() -> tuple[DiscreteVP, LearnedRange]:
    """Return the path and the prediction of the published models."""
    return DiscreteVP(), LearnedRange()


def config_from_official(
    state: Mapping[str, Tensor], *, null_row: bool = True, heads: int | None = None
) -> DiTConfig:
    """Read the shape of a DiT off its official tensors; inputs are square.

    Args:
        state: official names to tensors.
        null_row: whether the last row of the class table is the null class. It is, in all
            published weights; shapes cannot tell.
        heads: attention heads; known for the published widths.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
        ConfigError: the number of heads is not known for this width.
    """
    try:
        width, channels, patch, _ = state["x_embedder.proj.weight"].shape
        tokens = state["pos_embed"].shape[1]
        rows = len(state["y_embedder.embedding_table.weight"])
        hidden = len(state["blocks.0.mlp.fc1.weight"])
        values = len(state["final_layer.linear.weight"])
    except KeyError as error:
        raise CheckpointError(f"not a DiT checkpoint: it has no tensor {error}") from None
    heads = heads or _HEADS.get(width)
    if heads is None:
        raise ConfigError(f"width {width} is of no published DiT; say how many heads it has")
    side = math.isqrt(tokens) * patch
    return DiTConfig(
        channels=channels,
        size=(side, side),
        num_classes=rows - null_row,
        depth=sum(name.endswith("attn.qkv.weight") for name in state),
        width=width,
        heads=heads,
        patch=patch,
        mlp_ratio=ratio(hidden, width),
        outputs=values // (patch**2 * channels),
        null_row=null_row,
    )


DEFAULTS: Final = {
    "input_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 1152,
    "depth": 28,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": True,
}
"""Of the official constructor, which are DiT-XL/2's."""


def config_of(given: Mapping[str, Any]) -> DiTConfig:
    """Translate the arguments of the official constructor.

    Args:
        given: any of DEFAULTS, which stand for what is not given.
    """
    arguments = DEFAULTS | dict(given)
    side = arguments["input_size"]
    return DiTConfig(
        channels=arguments["in_channels"],
        size=(side, side),
        num_classes=arguments["num_classes"],
        depth=arguments["depth"],
        width=arguments["hidden_size"],
        heads=arguments["num_heads"],
        patch=arguments["patch_size"],
        mlp_ratio=arguments["mlp_ratio"],
        outputs=1 + arguments["learn_sigma"],
        null_row=arguments["class_dropout_prob"] > 0,
    )


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)


def respacing(text: str) -> tuple[Grid, int | None]:
    """Translate the release's `timestep_respacing`: "250", "10,15,20", "ddim25" or "".

    Returns:
        The grid, and the number of steps to call it with; None is every step of the chain.

    Raises:
        ConfigError: the text is none of these.
    """
    plain = text.removeprefix("ddim")
    try:
        counts = tuple(int(count) for count in plain.split(",")) if plain else ()
    except ValueError:
        raise ConfigError(
            f"timestep_respacing {text!r}: expected 250, 10,15,20 or ddim25"
        ) from None
    if not counts:
        return Respaced(), None
    if plain != text:
        return Strided(), counts[0]
    return Respaced(counts), sum(counts)
