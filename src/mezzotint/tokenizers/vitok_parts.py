"""What ViTok is built of, and its published halves (arXiv 2501.09755, table 1)."""

from typing import Any, Final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import Config
from mezzotint.nn.gated import Gate, GatedMLP
from mezzotint.nn.rotary import TurnedAttention
from mezzotint.tokenizers.places import Angles, Grid, Rotary

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


__all__ = ["HALVES", "MLP_RATIO", "Block", "Half", "Tower", "pairs_of_halves"]
