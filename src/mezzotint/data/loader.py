"""The order in which a run sees its images: a pure function of (seed, position), without end.

Position p of the stream is the same on any number of ranks and after any number of restarts, so a
resumed run needs one integer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from mezzotint.data.images import Images
from mezzotint.errors import DataError
from mezzotint.noise import mix


@dataclass(frozen=True)
class Batch:
    """Labelled images of one step, with a seed each for everything random that is done to them."""

    images: UInt8[Tensor, "b 3 h w"]
    y: Int[Tensor, "b"]
    seeds: Sequence[int]

    def __len__(self) -> int:
        return len(self.seeds)


@lru_cache(maxsize=256)
def _permutation(size: int, seed: int) -> Int[Tensor, "n"]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


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

    def __call__(self, position: int) -> int:
        """Return the row."""
        epoch, place = divmod(position, self.size)
        return int(_permutation(self.size, mix(self.seed, 1, epoch))[place])


@dataclass(frozen=True)
class Balanced:
    """Every class equally often: a round of the classes, and in each class its rows in turn."""

    labels: Int[Tensor, "n"]
    seed: int
    rows: tuple[Int[Tensor, "m"], ...] = field(init=False)

    def __post_init__(self) -> None:
        present = self.labels.unique().tolist()
        rows = tuple((self.labels == each).nonzero()[:, 0] for each in present)
        object.__setattr__(self, "rows", rows)

    def __call__(self, position: int) -> int:
        """Return the row."""
        turn, place = divmod(position, len(self.rows))
        label = int(_permutation(len(self.rows), mix(self.seed, 2, turn))[place])
        rows = self.rows[label]
        epoch, member = divmod(turn, len(rows))
        return int(rows[_permutation(len(rows), mix(self.seed, 3, label, epoch))[member]])


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
        return Batch(self.images.read(rows), self.images.labels[rows], seeds)
