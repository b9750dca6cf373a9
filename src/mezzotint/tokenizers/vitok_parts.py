"""What ViTok is built of, and its published halves (arXiv 2501.09755, table 1)."""

from typing import Any, Final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import Config
from mezzotint.nn.gated import Gate, GatedMLP
from mezzotint.nn.rotary import TurnedAttention
from mezzotint.tokenizers.places import Angles, Grid, Rotary, Table, sines

MLP_RATIO: Final = 2.67


class Half(Config):
    """The blocks of an encoder or of a decoder.

    Attributes:
        width: channels of a token, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
    """

    width: int = Field(ge=2)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)


# "H" is in the code alone; its video width, 1296, has heads of an odd 81 channels, which cannot be
# turned, so only the image width is here.
HALVES: Final[dict[str, dict[str, int]]] = {
    "S": {"width": 768, "depth": 6, "heads": 12},
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1152, "depth": 24, "heads": 16},
    "H": {"width": 1312, "depth": 32, "heads": 16},
}


def pairs_of_halves() -> dict[str, dict[str, Any]]:
    """Return every pair of halves with usual patches, by names such as S-B/16 and S-B/4x16."""
    pairs = [(e, d) for e in HALVES for d in HALVES]
    images = {
        f"{e}-{d}/{p}": {"encoder": HALVES[e], "decoder": HALVES[d], "patch": p}
        for e, d in pairs
        for p in (8, 16, 32)
    }
    clips = {
        f"{e}-{d}/{q}x{p}": {"encoder": HALVES[e], "decoder": HALVES[d], "tubelet": q, "patch": p}
        for e, d in pairs
        for q in (1, 2, 4, 8)
        for p in (8, 16, 32)
    }
    return images | clips


RAGGED_HALVES: Final[dict[str, dict[str, int]]] = {
    "S": {"depth": 6, "width": 768, "heads": 12},
    "B": {"depth": 12, "width": 768, "heads": 12},
    "L": {"depth": 24, "width": 1024, "heads": 16},
    "So400m": {"depth": 27, "width": 1152, "heads": 16},
    "H": {"depth": 32, "width": 1280, "heads": 16},
}
"""Of the third form, NaVAE."""
_LARGEST: Final = 2048  # pixels, whose patches NaVAE's tables have places for


def ragged_pairs() -> dict[str, dict[str, Any]]:
    """Return every pair of NaVAE's halves with usual bottlenecks, by names such as S_B/16x64."""
    return {
        f"{e}_{d}/{patch}x{channels}": {
            "encoder": RAGGED_HALVES[e],
            "decoder": RAGGED_HALVES[d],
            "patch": patch,
            "places": _LARGEST // patch + 1,
            "latent_channels": channels,
        }
        for e in RAGGED_HALVES
        for d in RAGGED_HALVES
        for patch, channels in ((16, 16), (16, 32), (16, 64), (24, 64))
    }


class Block(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x)).

    Args:
        width: channels of a token.
        heads: attention heads.
        hidden: hidden width of the MLP.
        gate: of the MLP.
    """

    def __init__(self, width: int, heads: int, hidden: int, gate: Gate) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = TurnedAttention(width, heads)
        self.mlp = GatedMLP(width, hidden, gate=gate)

    def forward(
        self, tokens: Float[Tensor, "b n d"], angles: Float[Tensor, "*heads n p"]
    ) -> Float[Tensor, "b n d"]:
        """Refine the tokens."""
        tokens = tokens + self.attn(self.norm1(tokens), angles)
        return tokens + self.mlp(self.norm2(tokens))


class Tower(nn.Module):
    """Blocks, and a norm behind them.

    Args:
        half: how many of what size.
        mlp_ratio: hidden width of the MLPs over that of a token.
        gate: of the MLPs.
        rotary: by what queries and keys turn.
    """

    def __init__(self, half: Half, *, mlp_ratio: float, gate: Gate, rotary: Rotary) -> None:
        super().__init__()
        hidden = int(half.width * mlp_ratio)
        self.blocks = nn.ModuleList(
            Block(half.width, half.heads, hidden, gate) for _ in range(half.depth)
        )
        self.norm = nn.LayerNorm(half.width)
        self.angles: Angles = rotary(half.depth, half.heads, half.width // half.heads)

    def forward(
        self, tokens: Float[Tensor, "b n d"], grid: Grid, before: int
    ) -> Float[Tensor, "b n d"]:
        """Refine the tokens of a grid, and `before` others in front of them."""
        for block, angles in zip(self.blocks, self.angles(grid, before, tokens), strict=True):
            tokens = block(tokens, angles)
        return self.norm(tokens)


def tables_of(
    table: Table | None, grid: Grid, halves: tuple[Half, Half]
) -> tuple[nn.Parameter | None, nn.Parameter | None]:
    """Return what is added to the tokens of encoder and decoder; None where nothing is."""
    if table is None:
        return None, None
    ours, theirs = (
        nn.Parameter(table(grid, half.width)[None], requires_grad=table.trained())
        for half in halves
    )
    return ours if table.encoded else None, theirs


def codes_of(count: int | None, width: int) -> nn.Parameter | None:
    """Return the tokens that a latent without a grid is read from: sines of their index."""
    if count is None:
        return None
    place = torch.arange(count, dtype=torch.float32)
    return nn.Parameter(sines(place, width)[None], requires_grad=False)


__all__ = [
    "HALVES",
    "MLP_RATIO",
    "Block",
    "Half",
    "Tower",
    "codes_of",
    "pairs_of_halves",
    "ragged_pairs",
    "tables_of",
]
