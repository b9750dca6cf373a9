"""ADM's release (openai/guided-diffusion, arXiv 2105.05233): names, shapes, and how it diffuses.

U-Nets for pixels of ImageNet and LSUN, two upsamplers, and noisy classifiers. A file is a plain
state dict; it holds neither the size of the image nor how attention splits into heads.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from torch import Tensor

from mezzotint.config import nearest
from mezzotint.diffusion.betas import CosineBetas, LinearBetas
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.errors import ConfigError
from mezzotint.networks.adm import ADMConfig
from mezzotint.networks.adm_classifier import (
    AdaptivePool,
    ADMClassifierConfig,
    AttentionPool,
    NormedSpatialPool,
    Pool,
    SpatialPool,
)
from mezzotint.networks.adm_encoder import MULTIPLIERS, EncoderConfig
from mezzotint.official.adm_shapes import classifier_config_from_official, config_from_official
from mezzotint.official.renames import Renames, State

_LAYERS: Final = (
    ("in_layers.0.*", "norm1.*"),
    ("in_layers.2.*", "conv1.*"),
    ("emb_layers.1.*", "norm2.linear.*"),
    ("out_layers.0.*", "norm2.norm.*"),
    ("out_layers.3.*", "conv2.*"),
    ("skip_connection.*", "skip.*"),
    ("norm.*", "norm.*"),
    ("qkv.*", "qkv.*"),
    ("proj_out.*", "proj.*"),
)
_PLACES: Final = (
    ("input_blocks.*.*", "encoder.*.*"),
    ("middle_block.*", "middle.*"),
    ("output_blocks.*.*", "decoder.*.*"),
)

RENAMES: Final = Renames(
    "ADM",
    (
        ("time_embed.*.*", "time.mlp.*.*"),
        ("label_emb.weight", "label.table.weight"),
        ("input_blocks.0.0.*", "encoder.0.0.*"),
        ("input_blocks.*.0.op.*", "encoder.*.0.conv.*"),
        ("output_blocks.*.*.conv.*", "decoder.*.*.conv.*"),
        *(
            (f"{place}.{layer}", f"{here}.{ours}")
            for place, here in _PLACES
            for layer, ours in _LAYERS
        ),
        ("out.*.weight", "head.*.weight"),
        ("out.*.bias", "head.*.bias"),
        ("out.2.positional_embedding", "head.2.positions"),
        ("out.2.qkv_proj.*", "head.2.qkv.*"),
        ("out.2.c_proj.*", "head.2.proj.*"),
    ),
)

_UPSAMPLER_MULTIPLIERS: Final = {
    64: MULTIPLIERS[64],
    256: MULTIPLIERS[256],
    512: MULTIPLIERS[256],
}
_SCHEDULES: Final = dict.fromkeys(ADMConfig.PRESETS, LinearBetas()) | {"64": CosineBetas()}

Shape = TypeVar("Shape", bound=EncoderConfig)


def parts(model: str) -> tuple[DiscreteVP, LearnedRange]:
    """Return the path and the prediction of a published model, and so of its classifier's noise.

    That the 64 px model has the cosine schedule and all others the linear one is recalled, with
    medium confidence; the files do not say.

    Args:
        model: a preset of `ADMConfig`, such as "64" or "256-unconditional".

    Raises:
        ConfigError: there is no such model.
    """
    if model not in _SCHEDULES:
        raise ConfigError(f"no published ADM {model!r}; {nearest(model, _SCHEDULES)}")
    return DiscreteVP(_SCHEDULES[model]), LearnedRange()


def config_of(arguments: Mapping[str, Any], *, upsampler: bool = False) -> ADMConfig:
    """Translate the arguments of the official constructors UNetModel and SuperResModel.

    Args:
        arguments: `image_size`, `in_channels`, `model_channels`, `out_channels`, `num_res_blocks`,
            `attention_resolutions` (factors), `dropout`, `channel_mult`, `conv_resample`,
            `num_classes`, `num_heads`, `num_head_channels`, `num_heads_upsample`,
            `use_scale_shift_norm`, `resblock_updown` and `use_new_attention_order`.
        upsampler: whether they are SuperResModel's.
    """
    channels = arguments["in_channels"]
    heads_up = arguments.get("num_heads_upsample", -1)
    return ADMConfig(
        **_shape(arguments),
        channels=channels,
        num_classes=arguments.get("num_classes") or 0,
        heads_up=None if heads_up == -1 else heads_up,
        outputs=arguments["out_channels"] // channels,
        low_channels=channels if upsampler else 0,
    )


def classifier_config_of(arguments: Mapping[str, Any]) -> ADMClassifierConfig:
    """Translate the arguments of the official constructor EncoderUNetModel.

    Args:
        arguments: as of `config_of`, and `pool`.

    Raises:
        ConfigError: the pool is none of the release's.
    """
    pools: dict[str, Pool] = {
        "adaptive": AdaptivePool(),
        "attention": AttentionPool(),
        "spatial": SpatialPool(),
        "spatial_v2": NormedSpatialPool(),
    }
    name = arguments.get("pool", "adaptive")
    if name not in pools:
        raise ConfigError(f"pool {name!r}; {nearest(name, pools)}")
    return ADMClassifierConfig(
        **_shape(arguments),
        channels=arguments["in_channels"],
        num_classes=arguments["out_channels"],
        pool=pools[name],
    )


def _shape(arguments: Mapping[str, Any]) -> dict[str, Any]:
    side, head_width = arguments["image_size"], arguments.get("num_head_channels", -1)
    factors = arguments["attention_resolutions"]
    return {
        "size": (side, side),
        "width": arguments["model_channels"],
        "multipliers": tuple(arguments.get("channel_mult", (1, 2, 4, 8))),
        "blocks": arguments["num_res_blocks"],
        # A factor that does not divide the side is that of no level.
        "attention": tuple(side // factor for factor in factors if side % factor == 0),
        "heads": arguments.get("num_heads", 1),
        "head_width": None if head_width == -1 else head_width,
        "scale_shift": arguments.get("use_scale_shift_norm", False),
        "residual_resampling": arguments.get("resblock_updown", False),
        "convolutional_resampling": arguments.get("conv_resample", True),
        "head_major": not arguments.get("use_new_attention_order", False),
        "dropout": arguments.get("dropout", 0.0),
    }


def arguments_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the flags of the release's scripts to arguments for `config_of`.

    Args:
        flags: `num_channels`, `num_res_blocks`, `attention_resolutions` (sides, as "32,16,8"),
            `learn_sigma`, `class_cond`, and `image_size` or, for an upsampler, `large_size`;
            others are the constructor's.
    """
    side, multipliers = (
        (flags["large_size"], _UPSAMPLER_MULTIPLIERS)
        if "large_size" in flags
        else (flags["image_size"], MULTIPLIERS)
    )
    return {
        **flags,
        "image_size": side,
        "in_channels": 3,
        "model_channels": flags["num_channels"],
        "out_channels": 6 if flags["learn_sigma"] else 3,
        "attention_resolutions": _factors(side, flags["attention_resolutions"]),
        "channel_mult": multipliers[side],
        "num_classes": 1000 if flags["class_cond"] else None,
    }


def classifier_arguments_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the flags of the release's scripts to arguments for `classifier_config_of`.

    Args:
        flags: `image_size` and those that begin with `classifier_`.
    """
    side = flags["image_size"]
    return {
        "image_size": side,
        "in_channels": 3,
        "model_channels": flags["classifier_width"],
        "out_channels": 1000,
        "num_res_blocks": flags["classifier_depth"],
        "attention_resolutions": _factors(side, flags["classifier_attention_resolutions"]),
        "channel_mult": MULTIPLIERS[side],
        "use_scale_shift_norm": flags["classifier_use_scale_shift_norm"],
        "resblock_updown": flags["classifier_resblock_updown"],
        "num_head_channels": 64,
        "pool": flags["classifier_pool"],
    }


def _factors(side: int, sides: str) -> list[int]:
    return [side // int(each) for each in sides.split(",")]


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)


def reordered(state: Mapping[str, Tensor], config: Shape) -> tuple[State, Shape]:
    """Return the same network with its queries, keys and values in the other order.

    (head, q k v, channel) becomes (q k v, head, channel), or the reverse; doing it twice changes
    nothing. The new order is that of the release's 64 px U-Net, the other that of all the rest.

    Args:
        state: official names to tensors.
        config: their shape, which knows their order and their heads.
    """
    up = getattr(config, "heads_up", None) or config.heads
    result = dict(state)
    for name, tensor in state.items():
        if re.search(r"\.qkv\.(weight|bias)$", name):
            lone = up if name.startswith("output_blocks.") else config.heads
            heads = config.heads_of(len(tensor) // 3, lone)
            axes = (heads, 3) if config.head_major else (3, heads)
            swapped = tensor.view(*axes, -1, *tensor.shape[1:]).transpose(0, 1)
            result[name] = swapped.reshape(tensor.shape)
    return result, config.model_copy(update={"head_major": not config.head_major})


__all__ = [
    "RENAMES",
    "arguments_of",
    "classifier_arguments_of",
    "classifier_config_from_official",
    "classifier_config_of",
    "config_from_official",
    "config_of",
    "from_official",
    "parts",
    "reordered",
    "to_official",
]
