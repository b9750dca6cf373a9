"""The reverse stochastic equation, with its diffusion chosen after training.

    dx = (v - D score) dt + sqrt(2 D) dw,   v = alpha' x0 + sigma' eps,   score = -eps / sigma

walked from t = 1 to 0; any D(t) >= 0 has the same marginals. SiT, arXiv 2401.08740, eq. 5 (there
w = 2 D); D = sbdm at norm 1 is the equation of Song et al., arXiv 2011.13456, which U-ViT walks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor

from mezzotint.config import part
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.samplers import Point, Step, evaluate, points, pushed
from mezzotint.errors import ConfigError
from mezzotint.noise import Noise


@runtime_checkable
class Rate(Protocol):
    """A diffusion coefficient D over time."""

    def __call__(self, here: Point) -> float:
        """Return D at a point of the path."""
        ...

    def pull(self, here: Point) -> float:
        """Return D / sigma, the weight of the estimated noise in the drift."""
        ...


class Pulling:
    """What most coefficients share: the pull is the quotient, and 0 where D is."""

    def __call__(self, here: Point) -> float:
        """Return D at a point of the path."""
        raise NotImplementedError

    def pull(self, here: Point) -> float:
        """Return D / sigma, the weight of the estimated noise in the drift."""
        rate = self(here)
        return rate / here.sigma if rate else 0.0


@dataclass(frozen=True)
class ConstantRate(Pulling):
    """D = `norm`; at 0 the equation is the deterministic one."""

    norm: float = 1.0

    def __call__(self, here: Point) -> float:  # noqa: ARG002
        """Return D at a point of the path."""
        return self.norm


@dataclass(frozen=True)
class SBDMRate(Pulling):
    """D = `norm` (sigma sigma' - sigma^2 alpha' / alpha), that of score-based diffusion models.

    Infinite where alpha is 0: a flow must then start a little below t = 1.
    """

    norm: float = 1.0

    def __call__(self, here: Point) -> float:
        """Return D at a point of the path."""
        if here.alpha == 0:
            raise ConfigError(
                f"diffusion sbdm is infinite at t = {here.t:g} on this path; "
                "start the grid below it, or take sigma"
            )
        fall = here.d_alpha / here.alpha * here.sigma**2
        return self.norm * (here.sigma * here.d_sigma - fall)


@dataclass(frozen=True)
class SigmaRate(Pulling):
    """D = `norm` sigma."""

    norm: float = 1.0

    def __call__(self, here: Point) -> float:
        """Return D at a point of the path."""
        return self.norm * here.sigma

    def pull(self, here: Point) -> float:  # noqa: ARG002, also where sigma is 0
        """Return D / sigma, the weight of the estimated noise in the drift."""
        return self.norm


@dataclass(frozen=True)
class LinearRate(Pulling):
    """D = `norm` t."""

    norm: float = 1.0

    def __call__(self, here: Point) -> float:
        """Return D at a point of the path."""
        return self.norm * here.t


@dataclass(frozen=True)
class DecreasingRate(Pulling):
    """D = (1 - `norm` cos(pi t))^2 / 4: 1 at the noisy end for norm 1, 0 at the clean one."""

    norm: float = 1.0

    def __call__(self, here: Point) -> float:
        """Return D at a point of the path."""
        return (1 - self.norm * math.cos(math.pi * here.t)) ** 2 / 4


@dataclass(frozen=True)
class IncreasingDecreasingRate(Pulling):
    """D = `norm` sin(pi t)^2."""

    norm: float = 1.0

    def __call__(self, here: Point) -> float:
        """Return D at a point of the path."""
        return self.norm * math.sin(math.pi * here.t) ** 2


@dataclass(frozen=True)
class Reverse:
    """The reverse equation of one denoiser.

    Args:
        denoiser: what to follow.
        y: conditions.
        rate: the diffusion coefficient.
    """

    denoiser: Denoiser
    y: Shaped[Tensor, "b ..."]
    rate: Rate

    def estimate(self, x: Float[Tensor, "b ..."], here: Point) -> Estimate:
        """Ask the denoiser."""
        return pushed(evaluate(self.denoiser, x, here.t, self.y), here)

    def drift(self, estimate: Estimate, here: Point) -> Float[Tensor, "b ..."]:
        """Return -v + D score: the drift for a clock that runs from noise to data."""
        by_eps = here.d_sigma + self.rate.pull(here)
        return -(here.d_alpha * estimate.x0 + by_eps * estimate.eps)

    def kick(
        self, x: Float[Tensor, "b ..."], here: Point, there: Point, noise: Noise
    ) -> Float[Tensor, "b ..."]:
        """Return sqrt(2 D dt) times a draw."""
        return math.sqrt(2 * self.rate(here) * (here.t - there.t)) * noise(x)


@runtime_checkable
class SDEStep(Protocol):
    """One step of the reverse equation."""

    def __call__(
        self, sde: Reverse, x: Float[Tensor, "b ..."], here: Point, there: Point, noise: Noise
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Return the state at `there`, and the estimate made at `here`."""
        ...


@dataclass(frozen=True)
class EulerStep:
    """Euler-Maruyama: x + dt drift + sqrt(2 D dt) z."""

    def __call__(
        self, sde: Reverse, x: Float[Tensor, "b ..."], here: Point, there: Point, noise: Noise
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Return the state at `there`, and the estimate made at `here`."""
        after, estimate = MeanStep()(sde, x, here, there, noise)
        return after + sde.kick(x, here, there, noise), estimate


@dataclass(frozen=True)
class HeunStep:
    """Stochastic Heun: the kick first, then the trapezoidal rule; two evaluations."""

    def __call__(
        self, sde: Reverse, x: Float[Tensor, "b ..."], here: Point, there: Point, noise: Noise
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Return the state at `there`, and the estimate made at `here`."""
        x = x + sde.kick(x, here, there, noise)
        dt = here.t - there.t
        estimate = sde.estimate(x, here)
        first = sde.drift(estimate, here)
        ahead = x + dt * first
        second = sde.drift(sde.estimate(ahead, there), there)
        return x + dt / 2 * (first + second), estimate


@dataclass(frozen=True)
class MeanStep:
    """The mean of an Euler-Maruyama step: x + dt drift."""

    def __call__(
        self,
        sde: Reverse,
        x: Float[Tensor, "b ..."],
        here: Point,
        there: Point,
        noise: Noise,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Return the state at `there`, and the estimate made at `here`."""
        estimate = sde.estimate(x, here)
        return x + (here.t - there.t) * sde.drift(estimate, here), estimate


@dataclass(frozen=True)
class DriftStep:
    """An Euler step of the deterministic equation; what SiT calls the Euler last step."""

    def __call__(
        self, sde: Reverse, x: Float[Tensor, "b ..."], here: Point, there: Point, noise: Noise
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Return the state at `there`, and the estimate made at `here`."""
        still = Reverse(sde.denoiser, sde.y, ConstantRate(0.0))
        return MeanStep()(still, x, here, there, noise)


@dataclass(frozen=True)
class TweedieStep:
    """Take the estimate of the clean image."""

    def __call__(
        self,
        sde: Reverse,
        x: Float[Tensor, "b ..."],
        here: Point,
        there: Point,  # noqa: ARG002
        noise: Noise,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Return the clean image, and the estimate made at `here`."""
        estimate = sde.estimate(x, here)
        return estimate.x0, estimate


@dataclass(frozen=True)
class EulerMaruyama:
    """Walk the reverse equation.

    SiT's release takes the grid even(tail=0.04) of 250 steps and the diffusion sbdm or sigma;
    U-ViT's takes sbdm on a continuous-vp path and even(tail=0.001) of 1000.

    Args:
        diffusion: the coefficient D.
        step: how each interval is walked.
        last: how the interval that ends at t = 0 is walked.
    """

    diffusion: Annotated[Rate, part("diffusion")] = SigmaRate()
    step: Annotated[SDEStep, part("sde-step")] = EulerStep()
    last: Annotated[SDEStep, part("sde-step")] = MeanStep()

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        sde = Reverse(denoiser, y, self.diffusion)
        for here, there in pairwise(points(denoiser.path, grid)):
            move = self.last if there.t == 0 else self.step
            x, estimate = move(sde, x, here, there, noise)
            yield Step(there.t, x, estimate)
