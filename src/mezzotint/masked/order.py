"""Orders: which masked tokens a group reveals, the first ones first.

    where = top(log p + temperature Gumbel, n)      or a permutation, or a fixed path over the grid

An order begins once for a batch, so that it may draw what holds for the whole of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from mezzotint.config import part
from mezzotint.errors import ConfigError
from mezzotint.masked.curves import Along, Ramp
from mezzotint.masked.plan import Moment
from mezzotint.noise import Noise, gumbel

Choice = Callable[
    [Float[Tensor, "b l"] | None, Bool[Tensor, "b l"], int, Moment, Noise], Int[Tensor, "b n"]
]
"""(score, masked, count, moment, noise) -> places of masked tokens, the first to be revealed first.

The score is what the head thinks of the tokens that it would write; None if nobody looks at it. The
moment is that of the group's last stage.
"""


@runtime_checkable
class Order(Protocol):
    """How the tokens of a group are chosen."""

    @property
    def looks(self) -> bool:
        """Whether it looks at the score, for which all tokens have to be drawn first."""
        ...

    def begin(self, masked: Bool[Tensor, "b l"], noise: Noise) -> Choice:
        """Return the choice for one batch.

        Args:
            masked: what is masked at the start.
            noise: for what is drawn once.
        """
        ...


def first(
    rank: Float[Tensor, "b l"], masked: Bool[Tensor, "b l"], count: int
) -> Int[Tensor, "b n"]:
    """Return the places of the `count` masked tokens of highest rank, the highest first."""
    hidden = rank.masked_fill(~masked, -torch.inf)
    return hidden.argsort(dim=1, descending=True, stable=True)[:, :count]


@dataclass(frozen=True)
class Confidence:
    """The tokens that the network is surest of, with Gumbel noise that fades (MaskGIT).

    Args:
        temperature: of the noise along the plan.
    """

    looks: ClassVar[bool] = True

    temperature: Annotated[Along, part("along")] = Ramp(4.5, 0.0)

    def begin(self, masked: Bool[Tensor, "b l"], noise: Noise) -> Choice:  # noqa: ARG002
        """Return the choice; nothing is drawn ahead."""
        return self._choose

    def _choose(
        self,
        score: Float[Tensor, "b l"] | None,
        masked: Bool[Tensor, "b l"],
        count: int,
        moment: Moment,
        noise: Noise,
    ) -> Int[Tensor, "b n"]:
        assert score is not None, "an order that looks is shown the score"
        # The product is float64 and rounded once, as the releases do.
        disturbed = self.temperature(moment) * gumbel(noise, score)
        return first(score + disturbed.to(score.dtype), masked, count)


@dataclass(frozen=True)
class Random:
    """A random permutation, drawn once for each image (MAR)."""

    looks: ClassVar[bool] = False

    def begin(self, masked: Bool[Tensor, "b l"], noise: Noise) -> Choice:
        """Draw the permutation: ranks are normal draws, the largest comes first."""
        return _Ranked(noise(masked.double()))


@dataclass(frozen=True)
class Raster:
    """Another order's group, revealed row by row inside of the group (ReCAP for MAR).

    Args:
        inner: chooses the groups.
    """

    inner: Annotated[Order, part("order")] = Random()

    @property
    def looks(self) -> bool:
        """Whether the inner order looks."""
        return self.inner.looks

    def begin(self, masked: Bool[Tensor, "b l"], noise: Noise) -> Choice:
        """Begin the inner order."""
        choose = self.inner.begin(masked, noise)

        def sorted_choice(
            score: Float[Tensor, "b l"] | None,
            masked: Bool[Tensor, "b l"],
            count: int,
            moment: Moment,
            noise: Noise,
        ) -> Int[Tensor, "b n"]:
            return choose(score, masked, count, moment, noise).sort(dim=1).values

        return sorted_choice


@dataclass(frozen=True)
class Halton:
    """Along the Halton sequence of bases 2 and 3 over a grid, which spreads evenly.

    Besnier et al., "Halton Scheduler for Masked Generative Image Transformer", ICLR 2025.

    Args:
        size: rows and columns of the grid of tokens.
        roll: start each image at a random point of the sequence.
    """

    looks: ClassVar[bool] = False

    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    roll: bool = False

    def begin(self, masked: Bool[Tensor, "b l"], noise: Noise) -> Choice:
        """Return the choice, whose starting points are drawn here.

        Raises:
            ConfigError: the grid has another number of tokens.
        """
        batch, length = masked.shape
        if self.size[0] * self.size[1] != length:
            rows, columns = self.size
            raise ConfigError(
                f"order.size {rows} x {columns} is {rows * columns} tokens, expected {length}"
            )
        offset = torch.zeros(batch, 1, dtype=torch.int64)
        if self.roll:
            share = torch.special.ndtr(noise(torch.empty(batch, 1, dtype=torch.float64)))
            offset = (share * length).long().clamp(max=length - 1)
        path = halton_path(self.size)
        # torch.roll(path, r) visits path[(k - r) mod l] at its step k.
        step = torch.empty(batch, length, dtype=torch.float64)
        visit = (torch.arange(length) + offset) % length
        step.scatter_(1, path.expand(batch, -1), visit.double())
        return _Ranked(-step.to(masked.device))


@dataclass(frozen=True)
class _Ranked:
    """Ranks that hold for the whole of a batch."""

    rank: Float[Tensor, "b l"]

    def __call__(
        self,
        score: Float[Tensor, "b l"] | None,  # noqa: ARG002
        masked: Bool[Tensor, "b l"],
        count: int,
        moment: Moment,  # noqa: ARG002
        noise: Noise,  # noqa: ARG002
    ) -> Int[Tensor, "b n"]:
        return first(self.rank, masked, count)


_POINTS = 10_000  # as in the release; larger grids take as many as it needs


@lru_cache(maxsize=16)
def halton_path(size: tuple[int, int]) -> Int[Tensor, "l"]:
    """Return the cells of a grid in the order in which the Halton sequence meets them.

    Base 2 tells the row and base 3 the column; a cell counts where it is met first.

    Args:
        size: rows and columns.
    """
    rows, columns = size
    wanted, points = rows * columns, _POINTS
    while True:
        found = dict.fromkeys(
            _cell(i, 2, rows) * columns + _cell(i, 3, columns) for i in range(1, points + 1)
        )
        if len(found) == wanted:
            return torch.tensor(list(found))
        points *= 2


def _cell(index: int, base: int, count: int) -> int:
    """Return floor(count x), where x is the digits of `index` mirrored at the point.

    In whole numbers, for a floor takes the last bit seriously: 3 of 9 rows begin at 1/3 exactly.
    """
    mirrored, scale = 0, 1
    while index:
        index, digit = divmod(index, base)
        mirrored, scale = mirrored * base + digit, scale * base
    return mirrored * count // scale


__all__ = ["Choice", "Confidence", "Halton", "Order", "Random", "Raster", "first", "halton_path"]
