"""Attention whose queries and keys are normalised, and turned by where they stand on a grid.

    q_j <- exp(s / 2 - ln(d) / 4) q_j / rms(q_j), then pairs of channels turn by place x frequency

Rotary positions: Su et al., arXiv 2104.09864; two axes, learned frequencies and the norm of
queries and keys after Crowson et al., arXiv 2401.11605.
"""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mezzotint.nn.attention import SelfAttention, attend

_LARGEST: Final = math.log(100.0)
_SLOWEST, _FASTEST = math.log(math.pi), math.log(5 * math.pi)


def centres(shape: tuple[int, int]) -> Float[Tensor, "n 2"]:
    """Return row and column of every cell of a grid, row by row; the longer side is [-1, 1]."""
    rows, columns = (
        (2 * torch.arange(side, dtype=torch.float32) + 1 - side) / max(shape) for side in shape
    )
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)


class Rotation(nn.Module):
    """Learned frequencies: an angle for each pair of channels, head and place.

    Args:
        width: channels of a head; a remainder over multiples of 4 is not turned.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        start = torch.linspace(_SLOWEST, _FASTEST, width // 4).repeat(heads, 1)
        self.rows = nn.Parameter(start)
        self.columns = nn.Parameter(start.clone())

    def forward(self, places: Float[Tensor, "n 2"]) -> Float[Tensor, "h n p"]:
        """Return the angles at some places: those of the row, then those of the column."""
        row, column = places[:, :1], places[:, 1:]
        pair = [row * self.rows.exp()[:, None], column * self.columns.exp()[:, None]]
        return torch.cat(pair, -1)


def turned(
    x: Float[Tensor, "b h n d"], angles: Float[Tensor, "*some n p"]
) -> Float[Tensor, "b h n d"]:
    """Turn the pairs of channels (0, 1), (2, 3), ... by one angle each; leave those behind.

    Args:
        x: queries or keys.
        angles: of every place, and where they differ, of every head, or image and head.
    """
    count = 2 * angles.shape[-1]
    wide = torch.promote_types(x.dtype, angles.dtype)
    # A copy, for slices of odd heads lie where no complex number can.
    pairs = x[..., :count].to(wide, copy=True, memory_format=torch.contiguous_format)
    pairs = pairs.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # which fuses real numbers, and does not do complex ones
        first, second = pairs.unbind(-1)
        cos, sin = angles.cos(), angles.sin()
        both = torch.stack([first * cos - second * sin, second * cos + first * sin], -1)
    else:  # a third of the time, forward and back
        turn = torch.polar(torch.ones_like(angles), angles)
        both = torch.view_as_real(torch.view_as_complex(pairs) * turn)
    both = both.flatten(-2)
    return torch.cat([both, x[..., count:]], -1) if count < x.shape[-1] else both


class TurnedAttention(SelfAttention):
    """Softmax attention between queries and keys that are turned by where they stand.

    Queries, keys and values have no bias, what comes out has one.

    Args:
        width: channels of a token, a multiple of `heads`.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, bias=False)

    def forward(  # type: ignore[override]  # tokens alone do not say where they stand
        self, tokens: Float[Tensor, "b n d"], angles: Float[Tensor, "*some n p"]
    ) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each image.

        Args:
            tokens: of each image.
            angles: see `turned`; in float32.
        """
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1))  # (B, N, 3, H, D/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, D/H) each
        mixed = attend(turned(q, angles).to(v.dtype), turned(k, angles).to(v.dtype), v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class RotaryAttention(SelfAttention):
    """Softmax attention by angles between queries and keys, sharpened by a learned exp(s).

    s is cut down to ln 100 in place at every forward pass, so that it never gets stuck beyond.

    Args:
        width: channels of a token, a multiple of `heads`.
        heads: number of heads.
        shape: rows and columns of the grid that the tokens lie on, row by row.
    """

    places: Tensor

    def __init__(self, width: int, heads: int, shape: tuple[int, int]) -> None:
        super().__init__(width, heads, bias=False)
        self.scale = nn.Parameter(torch.full((heads,), math.log(10.0)))
        self.rotation = Rotation(width // heads, heads)
        self.register_buffer("places", centres(shape), persistent=False)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each image."""
        with torch.no_grad():
            self.scale.clamp_(max=_LARGEST)
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1))  # (B, N, 3, H, D/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, D/H) each
        angles = self.rotation(self.places)
        q, k = (turned(self._normed(each), angles).to(v.dtype) for each in (q, k))
        mixed = scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _normed(self, x: Float[Tensor, "b h n d"]) -> Float[Tensor, "b h n d"]:
        scale = torch.exp(self.scale / 2 - math.log(x.shape[-1]) / 4)[:, None, None]
        return x * (scale * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6))
