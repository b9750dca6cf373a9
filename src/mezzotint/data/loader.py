"""The order in which a run sees its images: a pure function of (seed, position), without end.

Position p of the stream is the same on any number of ranks and after any number of restarts, so a
resumed run needs one integer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from mezzotint.data.images import Images
from mezzotint.errors import DataError
from mezzotint.noise import mix


@dataclass(frozen=True)
class Batch:
    """Labelled images of one step, with a seed each for everything random that is done to them.

    They are uint8 "b 3 h w", or what a cache of latents holds of them.
    """

    images: Shaped[Tensor, "b ..."]
    y: Int[Tensor, "b"]
    seeds: Sequence[int]
    step: int = 0

    def __len__(self) -> int:
        return len(self.seeds)


class _Permutations:
    """Random permutations by seed; the latest of each key is kept (one may be large)."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, Tensor]] = {}

    def __call__(self, key: int, size: int, seed: int) -> Int[Tensor, "n"]:
        kept = self._kept.get(key)
        if kept is None or kept[0] != seed:
            kept = seed, torch.randperm(size, generator=torch.Generator().manual_seed(seed))
            self._kept[key] = kept
        return kept[1]


class Order(Protocol):
    """Which row of a data set stands at a position of the stream."""

    def __call__(self, position: int) -> int:
        """Return the row."""
        ...


@dataclass(frozen=True)
class Shuffled:
    """Every row once an epoch, in an order drawn anew each epoch."""

    size: int
    seed: int
    _permutations: _Permutations = field(default_factory=_Permutations, init=False, repr=False)

    def __call__(self, position: int) -> int:
        """Return the row."""
        epoch, place = divmod(position, self.size)
        return int(self._permutations(0, self.size, mix(self.seed, 1, epoch))[place])


@dataclass(frozen=True)
class Balanced:
    """Every class equally often: a round of the classes, and in each class its rows in turn."""

    labels: Int[Tensor, "n"]
    seed: int
    rows: tuple[Int[Tensor, "m"], ...] = field(init=False)
    _permutations: _Permutations = field(default_factory=_Permutations, init=False, repr=False)

    def __post_init__(self) -> None:
        present = self.labels.unique().tolist()
        rows = tuple((self.labels == each).nonzero()[:, 0] for each in present)
        object.__setattr__(self, "rows", rows)

    def __call__(self, position: int) -> int:
        """Return the row."""
        turn, place = divmod(position, len(self.rows))
        order = self._permutations(-1, len(self.rows), mix(self.seed, 2, turn))
        label = int(order[place])
        rows = self.rows[label]
        epoch, member = divmod(turn, len(rows))
        chosen = self._permutations(label, len(rows), mix(self.seed, 3, label, epoch))[member]
        return int(rows[chosen])


def order_of(images: Images, *, balanced: bool, seed: int) -> Order:
    """Return the order of a run: class by class in turn, or shuffled epochs."""
    return Balanced(images.labels, seed) if balanced else Shuffled(len(images), seed)


@dataclass(frozen=True)
class Loader:
    """Batches of a data set, by step.

    Args:
        images: the data set.
        batch: images a step, over all ranks.
        order: row at each position of the stream.
        seed: of the images' own seeds.
        rank, ranks: this process and how many share a batch.
    """

    images: Images
    batch: int
    order: Order
    seed: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise DataError("the data set is empty: there is nothing to train on")
        if self.batch % self.ranks:
            raise DataError(
                f"a batch of {self.batch} cannot be shared by {self.ranks} processes; "
                "take a multiple"
            )

    def __call__(self, step: int) -> Batch:
        """Return this rank's share of the batch of `step`, counted from 0."""
        share = self.batch // self.ranks
        first = step * self.batch + self.rank * share
        positions = range(first, first + share)
        rows = torch.tensor([self.order(position) for position in positions])
        seeds = [mix(self.seed, 4, position) for position in positions]
        return Batch(self.images.read(rows), self.images.labels[rows], seeds, step)
