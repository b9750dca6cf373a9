"""Masking in training: how many tokens of an image are masked, and which.

    count = round(curve(u) length)      u uniform in [0, 1)

Every published lineage draws the ratio in its own way; all then mask tokens at random.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from mezzotint.config import part
from mezzotint.masked.plan import Cosine, Curve
from mezzotint.noise import Noise, uniform


@runtime_checkable
class Rounding(Protocol):
    """How a share of the tokens becomes a number of them."""

    def __call__(self, tokens: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Round."""
        ...


@dataclass(frozen=True)
class Up:
    """To the next whole number above (MaskGIT, MAGE)."""

    def __call__(self, tokens: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Round."""
        return tokens.ceil()


@dataclass(frozen=True)
class Nearest:
    """To the nearest whole number, halves to the even one (TiTok, NAT)."""

    def __call__(self, tokens: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Round."""
        return tokens.round()


@runtime_checkable
class Masking(Protocol):
    """Which tokens are masked, and which of those an encoder does not even see."""

    def __call__(
        self, batch: int, length: int, noise: Noise
    ) -> tuple[Bool[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Draw masks.

        Args:
            batch: images.
            length: tokens of each.
            noise: a row an image.

        Returns:
            Where tokens are masked, and where they are dropped; dropped ones are masked.
        """
        ...


def smallest(rank: Float[Tensor, "b l"], counts: Int[Tensor, "b"]) -> Bool[Tensor, "b l"]:
    """Return where the `counts` smallest of each row stand."""
    place = rank.argsort(dim=1, stable=True).argsort(dim=1)
    return place < counts[:, None]


def _draws(batch: int, *shape: int) -> Float[Tensor, "b ..."]:
    return torch.empty(batch, *shape, dtype=torch.float64)


@dataclass(frozen=True)
class Ratio:
    """As many as a curve of a uniform number says, at least one (MaskGIT, TiTok).

    Args:
        curve: from u to the share of tokens that is masked.
        rounding: of the number of tokens.
    """

    curve: Annotated[Curve, part("curve")] = Cosine()
    rounding: Annotated[Rounding, part("rounding")] = Up()

    def counts(self, u: Float[Tensor, "b"], length: int) -> Int[Tensor, "b"]:
        """Return how many tokens are masked where `u` was drawn."""
        shares = torch.tensor([self.curve(float(each), length) for each in u], dtype=torch.float64)
        return self.rounding(shares * length).long().clamp(1, length)

    def __call__(
        self, batch: int, length: int, noise: Noise
    ) -> tuple[Bool[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Draw a ratio for each image, and the tokens; none is dropped."""
        counts = self.counts(uniform(noise, _draws(batch)), length)
        masked = smallest(noise(_draws(batch, length)), counts)
        return masked, torch.zeros_like(masked)


@dataclass(frozen=True)
class Each:
    """Every token by itself, with the probability that a curve of one uniform number says (Halton).

    Args:
        curve: from u to the probability.
    """

    curve: Annotated[Curve, part("curve")] = Cosine()

    def __call__(
        self, batch: int, length: int, noise: Noise
    ) -> tuple[Bool[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Draw a ratio for each image, and decide about each token; none is dropped."""
        u = uniform(noise, _draws(batch))
        shares = torch.tensor([self.curve(float(each), length) for each in u], dtype=torch.float64)
        masked = uniform(noise, _draws(batch, length)) < shares[:, None]
        return masked, torch.zeros_like(masked)


@dataclass(frozen=True)
class Beta:
    """A ratio from Beta(a, b), rounded to the nearest, at least one token (AutoNAT).

    Args:
        a, b: of the distribution; whole numbers.
    """

    a: Annotated[int, Field(ge=1)] = 12
    b: Annotated[int, Field(ge=1)] = 3

    def __call__(
        self, batch: int, length: int, noise: Noise
    ) -> tuple[Bool[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Draw a ratio for each image, and the tokens; none is dropped."""
        # The a-th smallest of a + b - 1 uniform numbers is distributed so.
        shares = uniform(noise, _draws(batch, self.a + self.b - 1)).sort(dim=1).values
        counts = (shares[:, self.a - 1] * length).round().long().clamp(1, length)
        masked = smallest(noise(_draws(batch, length)), counts)
        return masked, torch.zeros_like(masked)


@dataclass(frozen=True)
class TruncatedNormal:
    """A ratio from a normal cut off at both ends; the encoder never sees the smallest share (MAGE).

    The release draws one ratio for each batch and process; here the first image's seed decides it,
    if it is `shared`, and each image's own if not.

    Args:
        mean, deviation: of the normal.
        low, high: where it is cut off; `low` is the share that is dropped.
        shared: one ratio for the whole batch, as in the release.
    """

    mean: float = 0.55
    deviation: Annotated[float, Field(gt=0)] = 0.25
    low: Annotated[float, Field(ge=0, lt=1)] = 0.5
    high: Annotated[float, Field(gt=0, le=1)] = 1.0
    shared: bool = False

    def counts(self, ratio: Float[Tensor, "b"], length: int) -> tuple[Int[Tensor, "b"], int]:
        """Return how many tokens are masked at some ratios, and how many are dropped."""
        masked = (ratio.double() * length).ceil().long().clamp(1, length)
        dropped = math.ceil(length * self.low)
        return masked.clamp(min=dropped), dropped

    def ratio(self, u: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the ratios at which the distribution function is `u`."""
        ends = torch.tensor([self.low, self.high], dtype=torch.float64)
        first, last = torch.special.ndtr((ends - self.mean) / self.deviation)
        z = torch.special.ndtri(first + (last - first) * u.double())
        return (self.mean + self.deviation * z).clamp(self.low, self.high)

    def __call__(
        self, batch: int, length: int, noise: Noise
    ) -> tuple[Bool[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Draw ratios, and one map of noise: its smallest are dropped, its next masked."""
        ratio = self.ratio(uniform(noise, _draws(batch)))
        ratio = ratio[:1].expand(batch) if self.shared else ratio
        counts, dropped = self.counts(ratio, length)
        rank = noise(_draws(batch, length))
        return smallest(rank, counts), smallest(rank, torch.full_like(counts, dropped))


__all__ = [
    "Beta",
    "Each",
    "Masking",
    "Nearest",
    "Ratio",
    "Rounding",
    "TruncatedNormal",
    "Up",
    "smallest",
]
