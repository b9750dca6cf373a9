"""Spaces: the quantities in which two estimates can be combined: noise, clean image, velocity."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Scales
from mezzotint.diffusion.predictions import X0, Eps, Velocity


@runtime_checkable
class Space(Protocol):
    """A quantity in which estimates are combined."""

    def of(self, estimate: Estimate, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return the quantity of an estimate."""
        ...

    def estimate(
        self, value: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Return the estimate of a quantity."""
        ...


@dataclass(frozen=True)
class NoiseSpace:
    """Combine the noise."""

    def of(self, estimate: Estimate, scales: Scales) -> Float[Tensor, "b ..."]:  # noqa: ARG002
        """Return eps."""
        return estimate.eps

    def estimate(
        self, value: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Return the estimate of a noise."""
        return Eps().estimate(value, x, scales)


@dataclass(frozen=True)
class ImageSpace:
    """Combine the clean image."""

    def of(self, estimate: Estimate, scales: Scales) -> Float[Tensor, "b ..."]:  # noqa: ARG002
        """Return x0."""
        return estimate.x0

    def estimate(
        self, value: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Return the estimate of a clean image."""
        return X0().estimate(value, x, scales)


@dataclass(frozen=True)
class VelocitySpace:
    """Combine dx/dt = alpha' x0 + sigma' eps."""

    def of(self, estimate: Estimate, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return the velocity."""
        return scales.d_alpha * estimate.x0 + scales.d_sigma * estimate.eps

    def estimate(
        self, value: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Return the estimate of a velocity."""
        return Velocity().estimate(value, x, scales)
