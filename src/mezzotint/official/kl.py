"""KL autoencoders of others: latent diffusion's, MAR's and diffusers', read and made into models.

What whole Stable Diffusion checkpoints call the autoencoder, and what else such files hold, is from
memory, not from a specification; the names of the tensors are in `kl_names`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field
from torch import Tensor

from mezzotint.config import Config, build
from mezzotint.digest import digest_of_file
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.official.kl_names import from_official, names_of
from mezzotint.official.renames import State, read_file
from mezzotint.stored import NetworkTokenizer, TokenizerModel
from mezzotint.tokenizers.kl import SCALES, KLConfig

PREFIX: Final = "first_stage_model."
"""Of the autoencoder's tensors in a checkpoint of a whole latent diffusion model."""
OTHERS: Final = ("loss.", "model_ema.")
"""Of tensors beside the autoencoder's: its discriminator, its perceptual loss, a second average."""


def config_from_official(state: Mapping[str, Tensor]) -> KLConfig:
    """Read the whole shape of an autoencoder off its official tensors.

    Raises:
        CheckpointError: foreign tensors, or those that tell the shape are missing.
    """
    return _config(from_official(state))


def _config(ours: Mapping[str, Tensor]) -> KLConfig:
    try:
        shape = shape_of(ours, KLConfig.MAPS)
    except KeyError as error:
        raise CheckpointError(f"not a KL autoencoder: it has no tensor {error}") from None
    return build(KLConfig, shape)


def levels_of(ours: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return channels, width, multipliers and blocks of an encoder in levels, by our names.

    Raises:
        KeyError: a tensor that tells them is missing.
    """
    width, channels = ours["encoder.conv_in.weight"].shape[:2]
    first = [name for name in ours if re.fullmatch(_FIRST, name)]
    widths = [len(ours[_FIRST.replace(r"\d+", str(k))]) for k in range(len(first))]
    return {
        "channels": channels,
        "width": width,
        "multipliers": tuple(wide // width for wide in widths),
        "blocks": sum(re.fullmatch(_BLOCKS, name) is not None for name in ours),
    }


def shape_of(ours: Mapping[str, Tensor], maps: int) -> dict[str, Any]:
    """Return all fields of a convolutional autoencoder, by our names of its tensors.

    Args:
        ours: its tensors.
        maps: how many maps as wide as a latent its encoder gives.

    Raises:
        KeyError: a tensor that tells them is missing.
    """
    inner = len(ours["encoder.head.2.weight"]) // maps
    latent = len(ours["quant.weight"]) // maps if "quant.weight" in ours else inner
    return {
        **levels_of(ours),
        "latent_channels": latent,
        "attention": _strides(ours, "encoder"),
        "decoder_attention": _strides(ours, "decoder"),
        "inner_channels": None if inner == latent else inner,
        "quantisation": "quant.weight" in ours,
    }


_FIRST: Final = r"encoder.levels.\d+.blocks.0.conv1.weight"
_BLOCKS: Final = r"encoder.levels.0.blocks.\d+.conv1.weight"


def _strides(ours: Mapping[str, Tensor], side: str) -> tuple[int, ...]:
    """Return the strides of the levels with attention."""
    place = re.compile(rf"{side}\.levels\.(\d+)\.attention\.0\.norm\.weight")
    levels = sorted(int(match[1]) for name in ours if (match := place.fullmatch(name)))
    return tuple(2**level for level in levels)


def config_of(encoder: Mapping[str, Any], decoder: Mapping[str, Any], latent: int) -> KLConfig:
    """Translate the arguments of the release's constructors, which name sides of a nominal image.

    Args:
        encoder: `ch`, `ch_mult`, `num_res_blocks`, `attn_resolutions`, `resolution`, `z_channels`,
            and where they are not 3, `in_channels`.
        decoder: the same; only its `attn_resolutions` may be others.
        latent: `embed_dim`, channels of a latent.
    """
    strides = [2**level for level in range(len(encoder["ch_mult"]))]
    attention, decoder_attention = (
        tuple(s for s in strides if encoder["resolution"] // s in side["attn_resolutions"])
        for side in (encoder, decoder)
    )
    inner = encoder["z_channels"]
    return KLConfig(
        channels=encoder.get("in_channels", 3),
        latent_channels=latent,
        width=encoder["ch"],
        multipliers=tuple(encoder["ch_mult"]),
        blocks=encoder["num_res_blocks"],
        attention=attention,
        decoder_attention=decoder_attention,
        inner_channels=None if inner == latent else inner,
    )


class Reading(Config):
    """What a release's file of an autoencoder does not say.

    Attributes:
        scale: what latents are multiplied by; by default that of the published shape. Weights of
            the same shape may want another: Stable Diffusion XL's 0.13025 (from memory).
        shift: what is taken off latents before that.
        size: rows and columns of the images that it was made for.
    """

    scale: float | None = Field(default=None, gt=0)
    shift: float = 0.0
    size: int = Field(default=256, ge=1)


AS_PUBLISHED: Final = Reading()


def read_kl(path: Path | str, reading: Reading = AS_PUBLISHED) -> NetworkTokenizer:
    """Read a release's autoencoder; saved to a folder, `tokenizer: {kind: stored}` names it.

    Args:
        path: .pt, .pth, .ckpt, .bin or .safetensors, of an autoencoder or of a whole latent
            diffusion model; nothing in it is run.
        reading: what it does not say.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
        ConfigError: the shape is of no published autoencoder, so that its scale is not known.
    """
    path = Path(path)
    state = read_file(path)
    inside = autoencoder_of(state)
    ours = from_official(inside)
    shape = _config(ours)
    scale = reading.scale or scale_of(shape)
    model = TokenizerModel(network=shape, size=reading.size, scale=scale, shift=reading.shift)
    origin = {
        "imported": path.name,
        "file_digest": digest_of_file(path),
        "names": names_of(inside).renames.system,
        "tensors_left_out": len(state) - len(inside),
    }
    return model.open({"model": model, "provenance": origin}, ours, path)


def autoencoder_of(state: Mapping[str, Tensor]) -> State:
    """Return the autoencoder's tensors in a file, without what stands beside it and no prefix."""
    inside = {n.removeprefix(PREFIX): t for n, t in state.items() if n.startswith(PREFIX)}
    return {n: t for n, t in (inside or state).items() if not n.startswith(OTHERS)}


def scale_of(shape: KLConfig) -> float:
    """Return what the latents of a published shape are multiplied by.

    Raises:
        ConfigError: the shape is of no published autoencoder.
    """
    for name, preset in KLConfig.PRESETS.items():
        if KLConfig(**preset) == shape:
            return SCALES[name]
    raise ConfigError(
        f"a KL autoencoder of this shape (stride {shape.stride}, {shape.latent_channels} channels) "
        "is of no known release; say its scale, one over the deviation of its latents"
    )


__all__ = [
    "Reading",
    "autoencoder_of",
    "config_from_official",
    "config_of",
    "levels_of",
    "read_kl",
    "scale_of",
    "shape_of",
]
