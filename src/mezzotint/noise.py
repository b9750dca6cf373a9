"""Randomness as a value: whoever needs noise is handed it.

Each image owns one generator, seeded by a number of its own, on the CPU. So image k is the same
alone, in a batch, and on any number of ranks or devices.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.errors import DataError

_MASK: Final = (1 << 64) - 1


class Noise(Protocol):
    """A source of standard normal draws, a row an image."""

    def __call__(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Draw noise with the shape, dtype and device of `like`."""
        ...


def mix(*numbers: int) -> int:
    """Hash integers to one 63-bit seed (SplitMix64), so that neighbouring counts share nothing."""
    state = 0
    for number in numbers:
        state = (state + (number & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def one_each(labels: Sequence[int], seeds: Sequence[int]) -> None:
    """Refuse labels and seeds of different numbers.

    Raises:
        DataError: so it is.
    """
    if len(labels) != len(seeds):
        raise DataError(f"{len(labels)} labels, {len(seeds)} seeds: expected one of each an image")


class SeededNoise:
    """Noise with one generator an image; later draws follow from the same seed."""

    def __init__(self, seeds: Iterable[int]) -> None:
        self._generators = [torch.Generator().manual_seed(mix(seed)) for seed in seeds]

    def __len__(self) -> int:
        return len(self._generators)

    def __call__(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Draw standard normal noise shaped like `like`; row k comes from seed k."""
        self._check(len(like))
        rows = [torch.randn(like.shape[1:], generator=each) for each in self._generators]
        return torch.stack(rows).to(like.device, like.dtype)

    def uniform(self) -> Float[Tensor, "b"]:
        """Draw one float64 in [0, 1) an image, on the CPU."""
        rows = [torch.rand((), generator=each, dtype=torch.float64) for each in self._generators]
        return torch.stack(rows)

    def _check(self, rows: int) -> None:
        assert rows == len(self), f"{len(self)} seeds but {rows} images"


def even(like: Float[Tensor, "b ..."], noise: Noise) -> Float[Tensor, "b ..."]:
    """Draw uniform numbers in (-1, 1): erf(z / sqrt 2) of normal z."""
    return torch.erf(noise(like) / math.sqrt(2))


class TapeNoise:
    """Noise that plays back recorded draws in order; for comparing with other implementations."""

    def __init__(self, draws: Sequence[Tensor] | Tensor) -> None:
        self._draws: Iterator[Tensor] = iter(draws)

    def __call__(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return the next recorded draw."""
        return next(self._draws).to(like)


@dataclass(frozen=True)
class _Scaled:
    inner: Noise
    scale: float

    def __call__(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        return self.inner(like) * self.scale


def uniform(noise: Noise, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Draw numbers in (0, 1), float64: Phi(z) of normal draws."""
    return torch.special.ndtr(noise(like.double()))


def gumbel(noise: Noise, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Draw standard Gumbel numbers, float64: -log(-log Phi(z)) of normal draws."""
    return -torch.log(-torch.special.log_ndtr(noise(like.double())))


def scaled(noise: Noise, scale: float) -> Noise:
    """Return noise multiplied by `scale` (a temperature)."""
    return _Scaled(noise, scale)
