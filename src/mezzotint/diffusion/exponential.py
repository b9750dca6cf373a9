"""What the DPM solvers integrate over lambda, and the weights of its differences.

    integral of exp(-l) (m + l m' + l^2 / 2 m'') dl   for the clean image; exp(l) for the noise

Lu et al., arXiv 2206.00927, eq. 3.4, and 2211.01095, eq. 9.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.samplers import Point


class Gains(NamedTuple):
    """Weights of the target's differences in a move over h: integrals of 1, l and l^2 / 2."""

    first: float
    second: float
    third: float


@runtime_checkable
class Target(Protocol):
    """The quantity that is integrated over lambda."""

    def value(self, estimate: Estimate) -> Float[Tensor, "b ..."]:
        """Return the quantity."""
        ...

    def gains(self, there: Point, h: float) -> Gains:
        """Return the weights for a move over `h` in lambda that ends at `there`."""
        ...


@dataclass(frozen=True)
class Data:
    """Integrate the clean image (DPM-Solver++)."""

    def value(self, estimate: Estimate) -> Float[Tensor, "b ..."]:
        """Return the clean image."""
        return estimate.x0

    def gains(self, there: Point, h: float) -> Gains:
        """Return alpha times the integrals of exp(-h)."""
        one = math.expm1(-h)
        two = one / h + 1
        return Gains(-there.alpha * one, there.alpha * two, -there.alpha * (two / h - 0.5))


@dataclass(frozen=True)
class NoiseTarget:
    """Integrate the noise (the first DPM-Solver)."""

    def value(self, estimate: Estimate) -> Float[Tensor, "b ..."]:
        """Return the noise."""
        return estimate.eps

    def gains(self, there: Point, h: float) -> Gains:
        """Return sigma times the integrals of exp(h)."""
        one = math.expm1(h)
        two = one / h - 1
        return Gains(-there.sigma * one, -there.sigma * two, -there.sigma * (two / h - 0.5))


@runtime_checkable
class Correction(Protocol):
    """How differences of the target correct the first-order move."""

    def second(self, gains: Gains, slope: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return the second-order term; `slope` is the difference over its distance in h."""
        ...

    def third(
        self, gains: Gains, near: tuple[float, Tensor], far: tuple[float, Tensor]
    ) -> Float[Tensor, "b ..."]:
        """Return the third-order term from two (distance, slope) pairs."""
        ...


@dataclass(frozen=True)
class Classic:
    """The terms of the papers' algorithms."""

    def second(self, gains: Gains, slope: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return the second-order term; `slope` is the difference over its distance in h."""
        return gains.first / 2 * slope

    def third(
        self,
        gains: Gains,
        near: tuple[float, Tensor],  # noqa: ARG002, it acted through the far one already
        far: tuple[float, Tensor],
    ) -> Float[Tensor, "b ..."]:
        """Return the third-order term from two (distance, slope) pairs."""
        return gains.second * far[1]


@dataclass(frozen=True)
class Taylor:
    """The terms of a Taylor expansion in lambda."""

    def second(self, gains: Gains, slope: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return the second-order term; `slope` is the difference over its distance in h."""
        return gains.second * slope

    def third(
        self, gains: Gains, near: tuple[float, Tensor], far: tuple[float, Tensor]
    ) -> Float[Tensor, "b ..."]:
        """Return the third-order term from two (distance, slope) pairs."""
        (r1, d1), (r2, d2) = near, far
        gap = r2 - r1
        return gains.second * ((r2 * d1 - r1 * d2) / gap) + gains.third * (2 * (d2 - d1) / gap)
