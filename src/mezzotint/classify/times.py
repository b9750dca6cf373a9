"""At which times a classifier looks, and in which order.

    t_j = (floor((j + 1/2) T / N) + 1) / T,    j = 0, ..., N - 1,    T = 1000

are the published ones wherever N divides T: index T/N // 2 and every (T/N)-th after it. A stage of
n of them takes every (N/n)-th. Where N does not divide T, all of the range is covered all the same,
which the release does not do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mezzotint.diffusion.paths import Path
from mezzotint.errors import ConfigError

STEPS: Final = 1000
"""Length T of the published chain, on which times lie; other chains take their nearest step."""


@runtime_checkable
class Times(Protocol):
    """Times with weights, in the order in which they are looked at."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def __call__(self, path: Path) -> Float[Tensor, "n"]:
        """Return the times in (0, 1], float64 on the CPU."""
        ...

    def weights(self, path: Path) -> Float[Tensor, "n"]:
        """Return how much the errors at these times count; only their ratios matter."""
        ...


def even(count: int, steps: int = STEPS) -> Int[Tensor, "n"]:
    """Return `count` evenly spaced indices of a chain, 0-based and rising."""
    return (2 * torch.arange(count) + 1) * steps // (2 * count)


def at(path: Path, index: Int[Tensor, "n"], steps: int = STEPS) -> Float[Tensor, "n"]:
    """Return the times of indices of a chain, where a path has them.

    Args:
        path: whose times are wanted.
        index: 0-based.
        steps: length of the chain that the indices are of.
    """
    return path.snap((index + 1).double() / steps)


def spread_order(count: int) -> Int[Tensor, "n"]:
    """Return 0, ..., count - 1 so that every beginning of it covers the range evenly.

    The order of the bit-reversed counters (van der Corput), started in the middle.
    """
    bits = max(count - 1, 1).bit_length()
    reversed_ = [int(f"{k:0{bits}b}"[::-1], 2) for k in range(1 << bits)]
    middle = [(place + (1 << bits) // 2) % (1 << bits) for place in reversed_]
    return torch.tensor([place for place in middle if place < count])


@dataclass(frozen=True)
class Even:
    """Evenly spaced times, each looked at once; the published choice.

    Args:
        count: how many, from 1 to 1000.
        spread: in an order whose every beginning covers the range; else from clean to noisy.

    Raises:
        ConfigError: more times than the chain has.
    """

    count: int = 100
    spread: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.count <= STEPS:
            raise ConfigError(
                f"times: {self.count} evaluations a class; expected 1 to {STEPS}, and for more "
                "of them trials"
            )

    def __call__(self, path: Path) -> Float[Tensor, "n"]:
        """Return the times."""
        index = even(self.count)
        return at(path, index[spread_order(self.count)] if self.spread else index)

    def weights(self, path: Path) -> Float[Tensor, "n"]:  # noqa: ARG002 (all times count alike)
        """Return ones."""
        return torch.ones(self.count, dtype=torch.float64)


@dataclass(frozen=True)
class Strided:
    """Every so manieth index, from the middle of the first stretch on: the release's for DiT.

    Args:
        interval: between indices (`t_interval`; 4 is published, 1 looks at all of them).
        steps: length of the chain.

    Raises:
        ConfigError: an interval that leaves no index.
    """

    interval: int = 4
    steps: int = STEPS

    def __post_init__(self) -> None:
        if self.interval < 1 or self.count < 1:
            raise ConfigError(
                f"times: an interval of {self.interval} in {self.steps} steps; expected 1 to "
                f"{self.steps}"
            )

    @property
    def _index(self) -> range:
        return range(self.interval // 2, self.steps, self.interval)

    @property
    def count(self) -> int:
        """How many times there are."""
        return len(self._index)

    def __call__(self, path: Path) -> Float[Tensor, "n"]:
        """Return the times, from clean to noisy."""
        return at(path, torch.tensor(self._index), self.steps)

    def weights(self, path: Path) -> Float[Tensor, "n"]:  # noqa: ARG002 (all times count alike)
        """Return ones."""
        return torch.ones(self.count, dtype=torch.float64)


@dataclass(frozen=True)
class Quantiles:
    """Times as training drew them: the quantiles of its distribution.

    Args:
        of: from uniform numbers to times, such as a recipe's `times`.
        count: how many.
    """

    of: Callable[[Float[Tensor, "b"]], Float[Tensor, "b"]]
    count: int = 100

    def __call__(self, path: Path) -> Float[Tensor, "n"]:
        """Return the times, in an order whose every beginning covers the distribution."""
        uniform = (torch.arange(self.count, dtype=torch.float64) + 0.5) / self.count
        return path.snap(self.of(uniform[spread_order(self.count)]))

    def weights(self, path: Path) -> Float[Tensor, "n"]:  # noqa: ARG002 (they come as often)
        """Return ones."""
        return torch.ones(self.count, dtype=torch.float64)


@dataclass(frozen=True)
class Listed:
    """Times that are given one by one, such as learned ones.

    Args:
        values: times in (0, 1]; one may come several times.
        counts: weights of the errors there; all alike by default.

    Raises:
        ConfigError: a time outside (0, 1], no time, or weights that are not as many or not above 0.
    """

    values: tuple[float, ...]
    counts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.values or not all(0 < value <= 1 for value in self.values):
            raise ConfigError("times: expected numbers in (0, 1], at least one")
        if self.counts and (len(self.counts) != len(self.values) or min(self.counts) <= 0):
            raise ConfigError(
                f"times: {len(self.counts)} weights for {len(self.values)} times; expected as "
                "many, all above 0"
            )

    @property
    def count(self) -> int:
        """How many times there are."""
        return len(self.values)

    def __call__(self, path: Path) -> Float[Tensor, "n"]:
        """Return the times."""
        return path.snap(torch.tensor(self.values, dtype=torch.float64))

    def weights(self, path: Path) -> Float[Tensor, "n"]:  # noqa: ARG002 (they are given)
        """Return the weights."""
        return torch.tensor(self.counts or (1.0,) * self.count, dtype=torch.float64)


__all__ = ["STEPS", "Even", "Listed", "Quantiles", "Strided", "Times", "at", "even", "spread_order"]
