"""Resampling of tables on a grid, with filters that widen where the grid shrinks.

    out_i = sum_j w_ij in_j      w_ij ~ f((c_i - j) / s)      c_i = (i + 1/2) n / m - 1/2

where n places become m, s = max(n / m, 1), and the weights of each place sum to 1.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Filter(Protocol):
    """The shape of a weight over the distance, in places."""

    def __call__(self, distance: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the weight, not yet normalised."""
        ...


@dataclass(frozen=True)
class Lanczos:
    """sinc(d) sinc(d / radius) within the radius.

    Attributes:
        radius: 3 in most programs.
    """

    radius: int = 3

    def __call__(self, distance: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the weight."""
        weight = torch.sinc(distance) * torch.sinc(distance / self.radius)
        return torch.where(distance.abs() < self.radius, weight, 0.0)


@dataclass(frozen=True)
class Triangle:
    """1 - |d|, the filter of bilinear interpolation."""

    def __call__(self, distance: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the weight."""
        return (1 - distance.abs()).clamp(min=0)


def weights(inside: int, outside: int, filter_: Filter) -> Float[Tensor, "m n"]:
    """Return what each of `outside` places takes of each of `inside` ones, in float64."""
    ratio = inside / outside
    centre = (torch.arange(outside, dtype=torch.float64) + 0.5) * ratio - 0.5
    distance = centre[:, None] - torch.arange(inside, dtype=torch.float64)
    raw = filter_(distance / max(ratio, 1.0))
    return raw / raw.sum(1, keepdim=True)


def resampled(
    table: Float[Tensor, "n m d"], size: tuple[int, int], filter_: Filter
) -> Float[Tensor, "i j d"]:
    """Return a table at another number of rows and columns."""
    down, across = (
        weights(there, wanted, filter_).to(table)
        for there, wanted in zip(table.shape[:2], size, strict=True)
    )
    return torch.einsum("in,jm,nmd->ijd", down, across, table)
