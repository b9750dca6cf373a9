"""MAGE's release (LTH14/mage, arXiv 2211.09117): names, shapes, and how it samples and trains.

A checkpoint holds the frozen tokenizer under `vqgan.`, and tensors that nothing uses.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from mezzotint.errors import CheckpointError
from mezzotint.masked.curves import Ramp
from mezzotint.masked.order import Confidence
from mezzotint.masked.plan import Cosine, Masked
from mezzotint.networks.mage import MAGEConfig
from mezzotint.official.ratios import ratio
from mezzotint.official.renames import Renames, State

TOKENIZER: Final = "vqgan."
_IDS: Final = "token_emb.position_ids"

_BLOCK: Final = (
    ("norm1.*", "norm1.*"),
    ("attn.qkv.*", "attn.qkv.*"),
    ("attn.proj.*", "attn.proj.*"),
    ("norm2.*", "norm2.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
)
_UNUSED: Final = (
    ("patch_embed.proj.*", "unused.patches.*"),
    ("decoder_pred.*", "unused.pixels.*"),
    ("cls_token", "unused.slot"),
    ("pos_embed", "unused.positions"),
    ("decoder_pos_embed", "unused.decoder_positions"),
    ("mask_token", "unused.mask"),
)

RENAMES: Final = Renames(
    "MAGE",
    (
        ("token_emb.word_embeddings.weight", "words.weight"),
        ("token_emb.position_embeddings.weight", "positions.weight"),
        ("token_emb.LayerNorm.*", "word_norm.*"),
        *((f"blocks.*.{theirs}", f"encoder.*.{ours}") for theirs, ours in _BLOCK),
        ("norm.*", "norm.*"),
        ("decoder_embed.*", "bridge.*"),
        ("decoder_pos_embed_learned", "decoder_positions"),
        *((f"decoder_blocks.*.{theirs}", f"decoder.*.{ours}") for theirs, ours in _BLOCK),
        ("decoder_norm.*", "decoder_norm.*"),
        ("mlm_layer.fc.*", "head.dense.*"),
        ("mlm_layer.ln.*", "head.norm.*"),
        ("mlm_layer.bias", "head.bias"),
        *_UNUSED,
    ),
)

_HEADS: Final = {size["width"]: size["heads"] for size in MAGEConfig.PRESETS.values()}
_DECODER_HEADS: Final = 16
_SPARE: Final = 1000
_PIXELS: Final = ("unused_channels", "unused_patch")


def config_of(arguments: Mapping[str, Any], *, unused: bool = False) -> MAGEConfig:
    """Translate the arguments of the official constructor.

    Args:
        arguments: `img_size` and `patch_size`, the encoder's `embed_dim`, `depth`, `num_heads`, the
            decoder's, `mlp_ratio`, `n_embed`, the codes, and `in_chans`.
        unused: whether the network holds the tensors that nothing uses.
    """
    side = arguments.get("img_size", 256) // arguments.get("patch_size", 16)
    return MAGEConfig(
        codes=arguments.get("n_embed", arguments.get("codebook", 1024)),
        size=(side, side),
        num_classes=0,
        depth=arguments["depth"],
        width=arguments["embed_dim"],
        heads=arguments["num_heads"],
        decoder_depth=arguments["decoder_depth"],
        decoder_width=arguments["decoder_embed_dim"],
        decoder_heads=arguments["decoder_num_heads"],
        hidden_ratio=arguments.get("mlp_ratio", 4.0),
        spare=_SPARE,
        unused=unused,
        unused_patch=arguments.get("patch_size", 16),
        unused_channels=arguments.get("in_chans", 3),
    )


def config_from_official(
    state: Mapping[str, Tensor], *, heads: int | None = None, decoder_heads: int = _DECODER_HEADS
) -> MAGEConfig:
    """Read the shape of a MAGE off its official tensors; images are square.

    Args:
        state: official names to tensors.
        heads: of the encoder; known for the published widths.
        decoder_heads: of the decoder; 16 in both published models.

    Raises:
        CheckpointError: the tensors that tell the shape are missing, or heads are not known.
    """
    try:
        rows, width = state["token_emb.word_embeddings.weight"].shape
        places = len(state["token_emb.position_embeddings.weight"])
        _, slots, inner = state["decoder_pos_embed_learned"].shape
        hidden = len(state["blocks.0.mlp.fc1.weight"])
    except KeyError as error:
        raise CheckpointError(f"not a MAGE checkpoint: it has no tensor {error}") from None
    heads = heads or _HEADS.get(width)
    if heads is None:
        raise CheckpointError(f"width {width} is of no published MAGE; say how many heads it has")
    side = round((slots - 1) ** 0.5)
    patches = state.get("patch_embed.proj.weight")
    pixels = {} if patches is None else dict(zip(_PIXELS, patches.shape[1:3], strict=True))
    return MAGEConfig(
        codes=rows - _SPARE - 1,
        size=(side, side),
        num_classes=0,
        depth=_count(state, "blocks."),
        width=width,
        heads=heads,
        decoder_depth=_count(state, "decoder_blocks."),
        decoder_width=inner,
        decoder_heads=decoder_heads,
        hidden_ratio=ratio(hidden, width),
        spare=_SPARE,
        places=places,
        unused="mask_token" in state,
        **pixels,
    )


def _count(state: Mapping[str, Tensor], stack: str) -> int:
    return sum(n.startswith(stack) and n.endswith("norm1.weight") for n in state)


def from_official(state: Mapping[str, Tensor], *, unused: bool = False) -> State:
    """Rename official tensors to ours; the tokenizer's are left out, all others strict.

    Args:
        state: official names to tensors.
        unused: whether to keep the tensors that nothing uses, as a network of that config does.
    """
    own = {n: t for n, t in state.items() if not n.startswith(TOKENIZER) and n != _IDS}
    ours = RENAMES.to_ours(own)
    plain = {n: t for n, t in ours.items() if unused or not n.startswith("unused.")}
    return plain | {"head.bias": plain["head.bias"].flatten()}


def wants(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `from_official` has to be told of a network's tree."""
    return {"unused": bool(network.get("unused", False))}


def hints(config: MAGEConfig) -> dict[str, Any]:
    """Return what `to_official` has to be told of a network."""
    return {"ids": config.unused}


def to_official(state: Mapping[str, Tensor], *, ids: bool = False) -> State:
    """Rename our tensors to the official names; strict.

    Args:
        state: our names to tensors.
        ids: whether to write the buffer of position numbers that checkpoints hold.
    """
    plain = RENAMES.to_official(state)
    plain["mlm_layer.bias"] = plain["mlm_layer.bias"].view(1, 1, -1)
    places = len(plain["token_emb.position_embeddings.weight"])
    return plain | ({_IDS: torch.arange(places)[None]} if ids else {})


def tokenizer_of(state: Mapping[str, Tensor]) -> State:
    """Return the frozen tokenizer's tensors, under the names of its own release."""
    return {n.removeprefix(TOKENIZER): t for n, t in state.items() if n.startswith(TOKENIZER)}


def parts(*, temperature: float = 6.0) -> tuple[Masked, Confidence]:
    """Return counts and order of the release; tokens are drawn at temperature 1, unguided."""
    return Masked(Cosine()), Confidence(Ramp(temperature, 0.0))
