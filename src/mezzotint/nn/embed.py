"""Embeddings: time features, classes with a null row, fixed positions, patches in and out."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def time_features(time: Float[Tensor, "b"], dim: int) -> Float[Tensor, "b d"]:
    """Return [cos(t f_k), sin(t f_k)] with f_k = 10000^(-k / (dim // 2)), in float32.

    Args:
        time: network time, any range, integer or fractional.
        dim: number of features; an odd one ends in a column of zeros.
    """
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=time.device)
    angles = time.float()[:, None] * torch.exp(index * (-math.log(10000.0) / half))
    features = torch.cat([angles.cos(), angles.sin()], dim=1)
    return torch.nn.functional.pad(features, (0, dim % 2))


def grid_positions(
    width: int, shape: tuple[int, int], *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n d"]:
    """Return the sine-cosine code of every cell of a grid, row by row, computed in float64.

    The first half of the channels encodes the column, the second the row; each is
    [sin(u w_k), cos(u w_k)] with w_k = 10000^(-k / (width / 4)).

    Args:
        width: channels, a multiple of 4.
        shape: rows and columns of the grid.
        dtype: of the result.
    """
    quarter = width // 4
    rate = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def code(place: Tensor) -> Tensor:
        angles = place[:, None] * rate
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    rows = torch.arange(shape[0], dtype=torch.float64).repeat_interleave(shape[1])
    columns = torch.arange(shape[1], dtype=torch.float64).repeat(shape[0])
    return torch.cat([code(columns), code(rows)], dim=1).to(dtype)


class TimeEmbedding(nn.Module):
    """Sinusoidal time features through a two-layer MLP."""

    def __init__(self, width: int, *, features: int = 256) -> None:
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Float[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Embed the network time."""
        return self.mlp(time_features(time, self.features))


class PatchEmbedding(nn.Module):
    """Cut an image into patches and project each to a token, row by row."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Embed the patches."""
        # Compiled for a CPU in bfloat16 (torch 2.14), a block of transposed tokens has gradients
        # that are no numbers.
        return self.proj(x).flatten(2).transpose(1, 2).contiguous()


def unpatch(
    tokens: Float[Tensor, "b n f"], shape: tuple[int, int], patch: int
) -> Float[Tensor, "b c h w"]:
    """Lay tokens of patch x patch x channels values (channels last) back on their grid.

    Args:
        tokens: one token a patch, row by row.
        shape: rows and columns of the grid of patches.
        patch: side of a patch in pixels.
    """
    rows, columns = shape
    cells = tokens.view(len(tokens), rows, columns, patch, patch, -1)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, rows * patch, columns * patch)


class ClassEmbedding(nn.Module):
    """A table of class vectors; the row after the last class, if any, is the null class."""

    def __init__(self, classes: int, width: int, *, null: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(classes + null, width)

    def forward(self, y: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Look the classes up."""
        return self.table(y)
