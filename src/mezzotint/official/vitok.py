"""ViTok's names and constructor arguments, first release (arXiv 2501.09755); no weights are public.

Shapes do not tell the heads, nor by what queries and keys turn, nor whether 2 c values a token are
moments: that is asked for. A paper's name such as "S-L/16" has two widths, the release's code one.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import torch
from torch import Tensor

from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.official.renames import Renames, State
from mezzotint.tokenizers.places import ByAxes, ByIndex, Grid, Learned, Mixed, Rotary, Sines, Table
from mezzotint.tokenizers.vitok import ViTokConfig
from mezzotint.tokenizers.vitok_parts import Half

BLOCK: Final = (
    ("norm1.*", "norm1.*"),
    ("norm2.*", "norm2.*"),
    ("attn.qkv.weight", "attn.qkv.weight"),
    ("attn.proj.*", "attn.proj.*"),
    ("mlp.fc1.*", "mlp.gate.*"),
    ("mlp.fc2.*", "mlp.value.*"),
    ("mlp.fc3.*", "mlp.project.*"),
)
BLOCKS: Final = tuple(
    (f"{half}.blocks.*.{official}", f"{half}.blocks.*.{ours}")
    for half in ("encoder", "decoder")
    for official, ours in BLOCK
)
RENAMES: Final = Renames(
    "ViTok",
    (
        *BLOCKS,
        ("encoder.norm.*", "encoder.norm.*"),
        ("decoder.norm.*", "decoder.norm.*"),
        ("tubelet_embed.proj.*", "patches.*"),
        ("tubelet_decode.proj.*", "pixels.*"),
        ("encoder_to_code.*", "to_code.*"),
        ("code_to_decoder.*", "from_code.*"),
        ("posemb", "table"),
        ("dec_posemb", "decoder_table"),
        ("code", "code"),
        ("mask_token", "mask"),
        ("enc_freqs", "encoder.angles.freqs"),
        ("dec_freqs", "decoder.angles.freqs"),
    ),
)

TABLES: Final[dict[str, Table | None]] = {
    "nope": None,
    "sincos1d": Sines(1),
    "sincos2d": Sines(2),
    "sincos3d": Sines(3),
    "learned": Learned(),
    "dec": Learned(encoded=False),
}
"""By the release's `posemb`. That "dec" is a table of the decoder alone is read from its name."""
SINES: Final[tuple[Literal[1, 2, 3], ...]] = (1, 2, 3)
ROTARY: Final[dict[str, type[ByIndex] | type[ByAxes] | type[Mixed]]] = {
    "1d_axial": ByIndex,
    "2d_axial": ByAxes,
    "2d_mixed": Mixed,
}
"""By the release's `rope_style`."""


def config_of(arguments: Mapping[str, Any]) -> ViTokConfig:
    """Translate the arguments of the release's constructor, which has one width for both halves.

    Args:
        arguments: `width`, `encoder_depth`, `decoder_depth`, `num_heads`, `patch_size`,
            `tubelet_size`, `img_size`, `num_frames`, `code_width`, and where they differ from the
            release's, `channels`, `variational`, `simple`, `code_length`, `posemb`, `rope_theta`,
            `rope_style`, `lengths`.
    """
    simple, style = arguments.get("simple", True), arguments.get("rope_style", "1d_axial")
    encoder, decoder = (
        Half(width=arguments["width"], depth=arguments[depth], heads=arguments["num_heads"])
        for depth in ("encoder_depth", "decoder_depth")
    )
    made = ViTokConfig(
        channels=arguments.get("channels", 3),
        latent_channels=arguments["code_width"],
        size=arguments["img_size"],
        frames=arguments.get("num_frames", 1),
        patch=arguments["patch_size"],
        tubelet=arguments.get("tubelet_size", 1),
        kl=arguments.get("variational", True),
        codes=None if simple else arguments["code_length"],
        table=TABLES[arguments.get("posemb", "nope")],
        rotary=ROTARY[style](arguments.get("rope_theta", 1e4)),
        encoder=encoder,
        decoder=decoder,
    )
    # A length above the tokens that there are replaces none of them.
    budgets = tuple(min(each, made.length) for each in arguments.get("lengths") or ())
    return made.model_copy(update={"budgets": budgets})


def config_from_official(
    state: Mapping[str, Tensor],
    *,
    heads: tuple[int, int],
    size: int,
    frames: int = 1,
    kl: bool = True,
    rotary: Rotary | None = None,
) -> ViTokConfig:
    """Read the shape of a ViTok off its official tensors.

    Args:
        state: official names to tensors.
        heads: attention heads of encoder and decoder.
        size: rows and columns of the images.
        frames: of a clip.
        kl: whether the codes are moments.
        rotary: by what queries and keys turn; by the index, where there are no trained frequencies.

    Raises:
        CheckpointError: tensors that tell the shape are missing.
        ConfigError: the tensors do not go with what was said.
    """
    try:
        wide, channels, tubelet, patch, _ = state["tubelet_embed.proj.weight"].shape
        deep, values = state["code_to_decoder.weight"].shape
        hidden = len(state["encoder.blocks.0.mlp.fc1.weight"])
    except KeyError as error:
        raise CheckpointError(f"not a ViTok: it has no tensor {error}") from None
    if len(state["encoder_to_code.weight"]) != (1 + kl) * values:
        raise ConfigError(f"kl {kl}: these codes are {'latents' if kl else 'moments'}")
    code, mask = state.get("code"), state.get("mask_token")
    mixed = Mixed() if "enc_freqs" in state else None
    count = max((code.shape[1],) if code is not None else (1,))
    found = ViTokConfig(
        channels=channels,
        latent_channels=values,
        size=size,
        frames=frames,
        patch=patch,
        tubelet=tubelet,
        encoder=Half(width=wide, depth=_depth(state, "encoder"), heads=heads[0]),
        decoder=Half(width=deep, depth=_depth(state, "decoder"), heads=heads[1]),
        kl=kl,
        codes=None if code is None else count,
        table=_table(state, (frames // tubelet, size // patch, size // patch)),
        rotary=rotary or mixed or ByIndex(),
        budgets=() if mask is None else (1,),
    )
    if int(found.mlp_ratio * wide) != hidden:
        raise ConfigError(f"an MLP of {hidden} hidden channels is of no ViTok of width {wide}")
    return found


def _depth(state: Mapping[str, Tensor], half: str) -> int:
    return sum(n.startswith(f"{half}.blocks.") and n.endswith(".norm1.weight") for n in state)


def _table(state: Mapping[str, Tensor], grid: Grid) -> Table | None:
    """Return what a file's table is: sines as a fresh network has them, or learned."""
    if "dec_posemb" not in state:
        return None
    found, encoded = state["dec_posemb"], "posemb" in state
    count, width = found.shape[1:]
    for axes in SINES:
        sines = Sines(axes, encoded)
        there = count == math.prod(grid) and width % sines.parts() == 0
        if there and torch.allclose(sines(grid, width), found[0].float(), atol=1e-4):
            return sines
    return Learned(encoded)


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)


__all__ = [
    "RENAMES",
    "ROTARY",
    "TABLES",
    "config_from_official",
    "config_of",
    "from_official",
    "to_official",
]
