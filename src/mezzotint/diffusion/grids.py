"""Grids: which times a sampler visits, as a value: descending float64, from noise to data.

A grid object is called with a path and a number of steps, and returns steps + 1 times.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.paths import DiscreteVP, Path, log_snr
from mezzotint.errors import ConfigError


@runtime_checkable
class Grid(Protocol):
    """A choice of times for a path."""

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:
        """Return `steps` + 1 descending times."""
        ...


@dataclass(frozen=True)
class Respaced:
    """Times of a discrete chain, evenly spaced by index within each of several equal sections.

    Indices accumulate a float stride and are rounded half to even, exactly as ADM's and DiT's
    `space_timesteps` do. Nichol & Dhariwal, arXiv 2102.09672, section 4.

    Args:
        sections: how many times each section keeps, from the clean end on; empty is one section.
    """

    sections: tuple[int, ...] = ()

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:
        """Return the kept times, and 0.

        Raises:
            ConfigError: the path is no discrete chain, a section is too short for its count, or
                `steps` is not what the sections add up to.
        """
        counts = self.sections or (steps,)
        if sum(counts) != steps:
            raise ConfigError(f"steps {steps}: sections {counts} keep {sum(counts)}; say that")
        chain = _chain(path)
        size, longer = divmod(chain.steps, len(counts))
        kept: set[int] = set()
        start = 0
        for index, count in enumerate(counts):
            length = size + (index < longer)
            kept |= {start + offset for offset in _offsets(length, count)}
            start += length
        return _at_indices(chain, kept)


def _offsets(length: int, count: int) -> list[int]:
    """Return `count` offsets spread over `length` indices."""
    if count > length:
        raise ConfigError(f"a section of {length} times cannot keep {count}; take fewer steps")
    stride = 1.0 if count <= 1 else (length - 1) / (count - 1)
    place, offsets = 0.0, []
    for _ in range(count):
        offsets.append(round(place))
        # A sum, not a product: its rounding decides individual times.
        place += stride
    return offsets


@dataclass(frozen=True)
class Strided:
    """Times of a discrete chain at the smallest whole stride that keeps `steps` of them, from 0 on.

    The "ddimN" rule of ADM and DiT: 25 of 1000 are 0, 40, ..., 960.
    """

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:
        """Return the kept times, and 0.

        Raises:
            ConfigError: the path is no discrete chain, or no whole stride keeps `steps` times.
        """
        chain = _chain(path)
        for stride in range(1, chain.steps + 1):
            kept = range(0, chain.steps, stride)
            if len(kept) == steps:
                return _at_indices(chain, set(kept))
        raise ConfigError(f"steps {steps}: no whole stride keeps that many of {chain.steps} times")


def _chain(path: Path) -> DiscreteVP:
    if not isinstance(path, DiscreteVP):
        raise ConfigError(
            f"this grid needs a discrete chain, and the path is {type(path).__name__}; "
            "take another grid, such as even"
        )
    return path


def _at_indices(chain: DiscreteVP, kept: set[int]) -> Float[Tensor, "times"]:
    """Return the times of chain indices, noisiest first, and 0."""
    indices = torch.tensor([*sorted(kept, reverse=True), -1], dtype=torch.float64)
    return (indices + 1) / chain.steps


@dataclass(frozen=True)
class Even:
    """Times at equal distances.

    Args:
        start: the noisy end.
        end: the clean end.
        tail: length of the last step; 0 makes it like the others. SiT's SDE samplers take 0.04.
    """

    start: float = 1.0
    end: float = 0.0
    tail: float = 0.0

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:  # noqa: ARG002
        """Return evenly spaced times."""
        if self.tail <= 0:
            return _between(self.start, self.end, steps)
        body = _between(self.start, self.end + self.tail, steps - 1)
        return torch.cat([body, body.new_tensor([self.end])])


def _between(start: float, end: float, steps: int) -> Float[Tensor, "times"]:
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Shifted:
    """Even times pushed towards noise: t' = s t / (1 + (s - 1) t) (SD3, arXiv 2403.03206, eq. 23).

    Args:
        shift: s; 1 changes nothing, larger spends more steps at high noise.
    """

    shift: float = 3.0

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:  # noqa: ARG002
        """Return shifted times."""
        even = _between(1.0, 0.0, steps)
        return self.shift * even / (1 + (self.shift - 1) * even)


@dataclass(frozen=True)
class Karras:
    """Powers evenly spaced in r = sigma / alpha, then 0: r_i = (a + i / (n - 1) (b - a))^rho.

    Here a and b are high^(1 / rho) and low^(1 / rho). Karras et al., arXiv 2206.00364, eq. 5.

    Args:
        rho: larger spends more steps at low noise.
        low, high: smallest and largest sigma / alpha.
    """

    rho: float = 7.0
    low: float = 0.002
    high: float = 80.0

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:
        """Return the times at those ratios, and 0."""
        high, low = (end ** (1 / self.rho) for end in (self.high, self.low))
        ratios = torch.linspace(high, low, steps, dtype=torch.float64) ** self.rho
        times = path.time_of(-ratios.log()).clamp(0, 1)
        return torch.cat([times, times.new_zeros(1)])


@dataclass(frozen=True)
class LogSNR:
    """Times evenly spaced in lambda = log(alpha / sigma), for solvers that stop before 0.

    Args:
        start: the noisy end; the path must have signal left there.
        end: the clean end, above 0.
    """

    start: float = 1.0
    end: float = 1e-3

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:
        """Return evenly spaced times.

        Raises:
            ConfigError: lambda is infinite at an end.
        """
        ends = torch.tensor([self.start, self.end], dtype=torch.float64)
        low, high = log_snr(path, ends).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ConfigError(
                f"log-snr from {self.start} to {self.end}: infinite there on this path; "
                "take ends inside (0, 1)"
            )
        inner = path.time_of(torch.linspace(low, high, steps + 1, dtype=torch.float64)[1:-1])
        return torch.cat([ends[:1], inner, ends[1:]])
