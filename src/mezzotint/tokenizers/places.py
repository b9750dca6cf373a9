"""Where a token stands: tables that are added to tokens, and angles by which queries and keys turn.

    sine-cosine tables    [sin(u w_k), cos(u w_k)]     w_k = 10000^(-k / (n - 1)), n a frequency
    rotary angles         place x frequency, a pair of channels each (arXiv 2104.09864)

Tokens lie on a grid of (frames, rows, columns), columns fastest. As in ViTok's first release,
arXiv 2501.09755, whose angles follow the flattened index, not the axes its text speaks of.
"""

import math
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

Grid = tuple[int, int, int]
"""Frames, rows and columns of tokens."""
Theta = Annotated[float, Field(gt=1)]


def sines(places: Float[Tensor, "n"], channels: int) -> Float[Tensor, "n d"]:
    """Return [sin(u w_k), cos(u w_k)] of places u; the slowest of the n = channels / 2 is 1e-4."""
    half = channels // 2
    rate = 10000.0 ** -(torch.arange(half, dtype=torch.float64) / max(half - 1, 1))
    angles = places.double()[:, None] * rate
    return torch.cat([angles.sin(), angles.cos()], 1).float()


def axes(grid: Grid, like: Tensor | None = None) -> tuple[Float[Tensor, "n"], ...]:
    """Return frame, row and column of every token of a grid, in raster order."""
    device = None if like is None else like.device
    sides = [torch.arange(side, dtype=torch.float32, device=device) for side in grid]
    return tuple(each.flatten() for each in torch.meshgrid(*sides, indexing="ij"))


@runtime_checkable
class Table(Protocol):
    """What is added to every token of a fixed grid."""

    @property
    def encoded(self) -> bool:
        """Whether the encoder has a table too; a decoder always has."""
        ...

    def trained(self) -> bool:
        """Return whether it goes on learning."""
        ...

    def __call__(self, grid: Grid, width: int) -> Float[Tensor, "n d"]:
        """Return the table as a fresh network has it."""
        ...

    def parts(self) -> int:
        """Return what the width has to be a multiple of."""
        ...


@dataclass(frozen=True)
class Sines:
    """Frozen sines and cosines: of the index, of column and row, or of frame, column and row.

    Attributes:
        axes: 1, 2 or 3 of them.
        encoded: whether the encoder has a table too; a decoder always has.
    """

    axes: Literal[1, 2, 3] = 3
    encoded: bool = True

    def trained(self) -> bool:
        """Return False."""
        return False

    def __call__(self, grid: Grid, width: int) -> Float[Tensor, "n d"]:
        """Return the table; each axis has an equal share of the channels."""
        frame, row, column = axes(grid)
        index = torch.arange(math.prod(grid), dtype=torch.float32)
        places = {1: (index,), 2: (column, row), 3: (frame, column, row)}[self.axes]
        return torch.cat([sines(each, width // len(places)) for each in places], 1)

    def parts(self) -> int:
        """Return two channels an axis."""
        return 2 * self.axes


@dataclass(frozen=True)
class Learned:
    """Trained from the three-axes table on, which the release puts over any other; see `Sines`."""

    encoded: bool = True

    def trained(self) -> bool:
        """Return True."""
        return True

    def __call__(self, grid: Grid, width: int) -> Float[Tensor, "n d"]:
        """Return what training starts from."""
        return Sines(3)(grid, width)

    def parts(self) -> int:
        """Return two channels an axis."""
        return 6


class Angles(nn.Module):
    """What turns the queries and keys of each of `depth` blocks.

    Args:
        depth: number of blocks.
        pairs: of channels that a head turns.
        theta: the frequencies run from 1 to about 1 / theta.
    """

    def __init__(self, depth: int, pairs: int, theta: float) -> None:
        super().__init__()
        self.depth, self.pairs, self.theta = depth, pairs, theta

    def forward(
        self, grid: Grid, before: int, like: Tensor
    ) -> SequenceOf[Float[Tensor, "*heads n p"]]:
        """Return the angles of each block, in float32.

        Args:
            grid: of the tokens.
            before: tokens that stand in front of the grid.
            like: a tensor on the device where they are wanted.
        """
        raise NotImplementedError

    def rates(self, like: Tensor) -> Float[Tensor, "p"]:
        """Return theta^(-k / pairs)."""
        k = torch.arange(self.pairs, dtype=torch.float32, device=like.device)
        return self.theta ** -(k / self.pairs)


class SequenceAngles(Angles):
    """By the index in the whole sequence."""

    def forward(
        self, grid: Grid, before: int, like: Tensor
    ) -> SequenceOf[Float[Tensor, "*heads n p"]]:
        """Return the same angles for all blocks."""
        index = torch.arange(before + math.prod(grid), dtype=torch.float32, device=like.device)
        return [index[:, None] * self.rates(like)] * self.depth


class AxialAngles(Angles):
    """By column and row, or frame, row and column: an equal share of the pairs each.

    Args:
        order: which of frame (0), row (1) and column (2) has the first share, the second, ...
        depth, pairs, theta: see `Angles`; `pairs` are those of one share.
    """

    def __init__(self, order: tuple[int, ...], depth: int, pairs: int, theta: float) -> None:
        super().__init__(depth, pairs, theta)
        self.order = order

    def forward(
        self, grid: Grid, before: int, like: Tensor
    ) -> SequenceOf[Float[Tensor, "*heads n p"]]:
        """Return the same angles for all blocks; what stands in front is not turned."""
        places = axes(grid, like)
        shares = [places[axis][:, None] * self.rates(like) for axis in self.order]
        return [functional.pad(torch.cat(shares, 1), (0, 0, before, 0))] * self.depth


class MixedAngles(Angles):
    """column f + row g with trained f and g of each block, head and pair.

    Args:
        heads: attention heads.
        depth, pairs, theta: see `Angles`; lengths of (f, g) are at first those of two axes.
    """

    def __init__(self, heads: int, depth: int, pairs: int, theta: float) -> None:
        super().__init__(depth, pairs, theta)
        half = pairs // 2
        length = theta ** -(torch.arange(half) / half)
        turn = torch.rand(depth, heads, 1) * 2 * math.pi
        # Each half of the pairs starts along an axis of its own, turned at random a head.
        direction = torch.cat(
            [turn.expand(-1, -1, half), turn.expand(-1, -1, half) + math.pi / 2], 2
        )
        both = torch.stack([direction.cos(), direction.sin()]) * length.repeat(2)
        self.heads = heads
        self.freqs = nn.Parameter(both.flatten(2))

    def forward(
        self, grid: Grid, before: int, like: Tensor
    ) -> SequenceOf[Float[Tensor, "*heads n p"]]:
        """Return the angles of each head; what stands in front is not turned."""
        _, row, column = axes(grid, like)
        along = self.freqs.float().unflatten(2, (self.heads, 1, -1))  # (2, K, H, 1, P)
        angles = column[:, None] * along[0] + row[:, None] * along[1]  # (K, H, N, P)
        return list(functional.pad(angles, (0, 0, before, 0)))


@runtime_checkable
class Rotary(Protocol):
    """A choice of angles."""

    def __call__(self, depth: int, heads: int, width: int) -> Angles:
        """Make them for blocks of `heads` heads of `width` channels each."""
        ...

    def parts(self) -> int:
        """Return what the channels of a head have to be a multiple of."""
        ...

    def flat(self) -> bool:
        """Return whether it knows rows and columns alone, and no tokens beside them."""
        ...


@dataclass(frozen=True)
class ByIndex:
    """By the index in the flattened sequence, which is what was released and run."""

    theta: Theta = 10000.0

    def __call__(self, depth: int, heads: int, width: int) -> Angles:  # noqa: ARG002 (as others)
        """Make them."""
        return SequenceAngles(depth, width // 2, self.theta)

    def parts(self) -> int:
        """Return a pair."""
        return 2

    def flat(self) -> bool:
        """Return False: any sequence has indices."""
        return False


@dataclass(frozen=True)
class ByAxes:
    """By column and row, half of the pairs each; frequencies theta^(-4k / width)."""

    theta: Theta = 10000.0

    def __call__(self, depth: int, heads: int, width: int) -> Angles:  # noqa: ARG002 (as others)
        """Make them."""
        return AxialAngles((2, 1), depth, width // 4, self.theta)

    def parts(self) -> int:
        """Return a pair an axis."""
        return 4

    def flat(self) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class ByThreeAxes:
    """By frame, row and column, a third of the pairs each: what the paper's text says.

    Nothing like it was released: order and that a remainder is not turned are our reading.
    """

    theta: Theta = 10000.0

    def __call__(self, depth: int, heads: int, width: int) -> Angles:  # noqa: ARG002 (as others)
        """Make them."""
        return AxialAngles((0, 1, 2), depth, width // 6, self.theta)

    def parts(self) -> int:
        """Return a pair."""
        return 2

    def flat(self) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True)
class Mixed:
    """By mixtures of column and row that are trained, for each block and head."""

    theta: Theta = 10.0

    def __call__(self, depth: int, heads: int, width: int) -> Angles:
        """Make them."""
        return MixedAngles(heads, depth, width // 2, self.theta)

    def parts(self) -> int:
        """Return a pair an axis."""
        return 4

    def flat(self) -> bool:
        """Return True."""
        return True
