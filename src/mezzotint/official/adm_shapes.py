"""The shape of an ADM, read off the tensors of its release (openai/guided-diffusion)."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack

from torch import Tensor

from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.adm import ADMConfig
from mezzotint.networks.adm_classifier import (
    AdaptivePool,
    ADMClassifierConfig,
    AttentionPool,
    NormedSpatialPool,
    Pool,
    SpatialPool,
)
from mezzotint.official.ratios import ratio

_DOUBLING: Final = ("in_layers.0.weight", "conv.weight")


class Untold(TypedDict, total=False):
    """What a file does not tell; left out, it is what most of the release has.

    Attributes:
        blocks: residual blocks of a level, 2; asked of classifiers alone, and only where neither
            their pool nor their resampling tells.
        heads: attention heads, 1, used without `head_width`.
        head_width: channels of a head, 64; None in the 128 px U-Net and the 64 to 256 px
            upsampler, which have 4 heads.
        heads_up: heads of the decoder, if not `heads`.
        head_major: the order of queries, keys and values; False in the 64 px U-Net alone.
        low_channels: channels of an upsampler's low-resolution image, 0; 3 in both upsamplers.
        null_row: whether the last row of the class table is the null class; False.
        dropout: of training, 0.
    """

    blocks: int
    heads: int
    head_width: int | None
    heads_up: int | None
    head_major: bool
    low_channels: int
    null_row: bool
    dropout: float


def config_from_official(
    state: Mapping[str, Tensor], *, size: tuple[int, int], **untold: Unpack[Untold]
) -> ADMConfig:
    """Read the shape of a U-Net off its official tensors.

    Args:
        state: official names to tensors.
        size: rows and columns of x.
        untold: what else the tensors do not tell.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
    """
    low = untold.get("low_channels", 0)
    try:
        shape = _read(state, size, untold)
        channels = state["input_blocks.0.0.weight"].shape[1] - low
        outputs = len(state["out.2.weight"])
        _ = state["output_blocks.0.0.in_layers.0.weight"]
    except KeyError as error:
        raise CheckpointError(f"not an ADM U-Net: it has no tensor {error}") from None
    rows = len(state["label_emb.weight"]) if "label_emb.weight" in state else 0
    null_row = untold.get("null_row", False)
    return ADMConfig(
        **shape,
        channels=channels,
        num_classes=rows - null_row,
        heads_up=untold.get("heads_up"),
        outputs=outputs // channels,
        null_row=null_row,
        low_channels=low,
    )


def classifier_config_from_official(
    state: Mapping[str, Tensor], *, size: tuple[int, int], **untold: Unpack[Untold]
) -> ADMClassifierConfig:
    """Read the shape of a classifier off its official tensors.

    Args:
        state: official names to tensors.
        size: rows and columns of x.
        untold: what else the tensors do not tell.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
        ConfigError: the number of blocks cannot be right.
    """
    heads: dict[str, Pool] = {
        "out.2.c_proj.weight": AttentionPool(),
        "out.3.weight": AdaptivePool(),
        "out.2.weight": SpatialPool(),
    }
    last = next((name for name in heads if name in state), None)
    if last is None:
        raise CheckpointError("not an ADM classifier: it has none of " + ", ".join(heads))
    pool = heads[last]
    if "out.1.weight" in state:
        pool = NormedSpatialPool(len(state["out.1.weight"]))
    elif last == "out.2.weight":
        pool = SpatialPool(len(state["out.0.weight"]))
    try:
        shape = _read(state, size, untold)
        channels = state["input_blocks.0.0.weight"].shape[1]
    except KeyError as error:
        raise CheckpointError(f"not an ADM classifier: it has no tensor {error}") from None
    return ADMClassifierConfig(**shape, channels=channels, num_classes=len(state[last]), pool=pool)


def _read(state: Mapping[str, Tensor], size: tuple[int, int], untold: Untold) -> dict[str, Any]:
    """Return what an encoder's tensors tell, and what the others are."""
    width = state["time_embed.0.weight"].shape[1]
    stages = 1 + max(int(n.split(".")[1]) for n in state if n.startswith("input_blocks."))
    blocks = _blocks(state, stages, size, untold)
    if stages % (blocks + 1):
        raise ConfigError(f"{stages} stages are no levels of {blocks} blocks; say how many blocks")
    firsts = range(1, stages, blocks + 1)  # the first stage of each level
    widths = [len(state[f"input_blocks.{place}.0.out_layers.3.weight"]) for place in firsts]
    lone = len(widths) == 1  # it has nothing to halve, and is said to do so as the release does
    attention = [2**n for n, place in enumerate(firsts) if _has(state, place, "1.qkv")]
    return {
        "size": size,
        "width": width,
        "multipliers": tuple(ratio(wide, width) for wide in widths),
        "blocks": blocks,
        "attention": tuple(size[0] // factor for factor in attention),
        "heads": untold.get("heads", 1),
        "head_width": untold.get("head_width", 64),
        "scale_shift": len(state["input_blocks.1.0.emb_layers.1.weight"]) == 2 * widths[0],
        "residual_resampling": lone or _has(state, blocks + 1, "0.in_layers"),
        "convolutional_resampling": lone or _has(state, blocks + 1, "0"),
        "head_major": untold.get("head_major", True),
        "dropout": untold.get("dropout", 0.0),
    }


def _blocks(state: Mapping[str, Tensor], stages: int, size: tuple[int, int], untold: Untold) -> int:
    """Return the residual blocks of a level, from what stands after them."""
    for place in range(1, stages):
        halves = not _has(state, place, "0") or _has(state, place, "0.op")
        # The decoder has one block more a level, and doubles behind it.
        layers = [f"output_blocks.{place}.{layer}" for layer in (1, 2)]
        doubles = any(f"{each}.{end}" in state for each in layers for end in _DOUBLING)
        if halves or doubles:
            return place - halves
    if "output_blocks.0.0.in_layers.0.weight" in state:
        return stages - 1
    table = state.get("out.2.positional_embedding")
    if table is None:
        return untold.get("blocks", 2)
    halvings = math.log2(math.prod(size) / (table.shape[1] - 1)) / 2
    return stages // (1 + round(halvings)) - 1


def _has(state: Mapping[str, Tensor], place: int, layer: str) -> bool:
    return any(name.startswith(f"input_blocks.{place}.{layer}.") for name in state)
