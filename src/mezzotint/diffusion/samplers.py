"""Samplers: walks from noise to data over a grid of times, a generator of steps each.

    x_s = alpha_s x0 + sigma_s eps

is the move that all of them refine. A sampler keeps what it needs in local variables, is handed its
noise, and calls the network once an evaluation.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Path, Scales
from mezzotint.diffusion.transition import Transition
from mezzotint.noise import Noise


class Step(NamedTuple):
    """What a sampler yields after each step.

    Attributes:
        t: the time that the step has reached.
        x: the state at `t`.
        estimate: the estimate that the step used, made at the time before.
    """

    t: float
    x: Float[Tensor, "b ..."]
    estimate: Estimate


@runtime_checkable
class Sampler(Protocol):
    """A walk along a grid; one without history may be cut into several."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,
    ) -> Iterator[Step]:
        """Yield a step for every move.

        Args:
            denoiser: what to follow.
            x: the state at `grid[0]`.
            y: conditions.
            grid: descending times, float64 on the CPU.
            noise: source of the draws between steps; deterministic samplers leave it alone.
        """
        ...


class Point(NamedTuple):
    """A time and the path's scales there, as float64 numbers: a step has one time for the batch."""

    t: float
    alpha: float
    sigma: float
    d_alpha: float
    d_sigma: float


def points(path: Path, grid: Float[Tensor, "times"]) -> list[Point]:
    """Return the scales at every time of a grid."""
    table = torch.stack([grid.double(), *path.scales(grid)], dim=1)
    return [Point(*row) for row in table.tolist()]


def evaluate(
    denoiser: Denoiser, x: Float[Tensor, "b ..."], t: float, y: Shaped[Tensor, "b ..."]
) -> Estimate:
    """Ask the denoiser about a whole batch at one time."""
    return denoiser(x, torch.full((len(x),), t, dtype=torch.float64), y)


def pushed(estimate: Estimate, here: Point | Scales) -> Estimate:
    """Move eps by -sigma push, and x0 with it, as score-based classifier guidance does.

    Dhariwal & Nichol, arXiv 2105.05233, algorithm 2; x0 is not clamped again.
    """
    if estimate.push is None:
        return estimate
    move = here.sigma * estimate.push
    x0 = estimate.x0 + (here.sigma / here.alpha) * move
    return replace(estimate, x0=x0, eps=estimate.eps - move)


@dataclass(frozen=True)
class DDIM:
    """The implicit sampler; at `eta` 0 it is the Euler step of a flow, on any path.

        x_s = alpha_s x0 + sqrt(sigma_s^2 - d^2) eps + d z
        d = eta (sigma_s / sigma_t) sqrt(sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2)

    Song et al., arXiv 2010.02502, eq. 12 and 16.

    Args:
        eta: 0 is deterministic, 1 has the noise of the ancestral sampler.
        single: work the two deviations out in float32 from alpha^2, as ADM's and DiT's releases
            do, which costs the steps next to data up to 1e-3 of their noise.
    """

    eta: float = 0.0
    single: bool = False

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        for here, there in pairwise(points(denoiser.path, grid)):
            spread, kept = (_single_split if self.single else _split)(here, there, self.eta)
            if self.single:
                here, there = _single(here), _single(there)
            estimate = pushed(evaluate(denoiser, x, here.t, y), here)
            x = there.alpha * estimate.x0 + kept * estimate.eps
            if spread > 0:
                x = x + spread * noise(x)
            yield Step(there.t, x, estimate)


def _single(place: Point) -> Point:
    """Return the scales of a variance-preserving path after rounding alpha^2 to float32."""
    signal = torch.tensor(place.alpha**2, dtype=torch.float32)
    return place._replace(alpha=float(signal.sqrt()), sigma=float((1 - signal).sqrt()))


def _split(here: Point, there: Point, eta: float) -> tuple[float, float]:
    """Return how much of x_s is drawn anew, and how much is the estimated noise."""
    spread = eta * deviation(here, there)
    return spread, math.sqrt(max(there.sigma**2 - spread**2, 0.0))


def _single_split(here: Point, there: Point, eta: float) -> tuple[float, float]:
    """Return the same in the releases' float32, where 1 - alpha_t^2 / alpha_s^2 loses digits."""
    now, after = torch.tensor([here.alpha, there.alpha], dtype=torch.float64).square().float()
    spread = torch.zeros(())
    if eta > 0:
        share = torch.sqrt((1 - now / after).clamp(min=0))
        spread = eta * torch.sqrt((1 - after) / (1 - now)) * share
    return float(spread), float(torch.sqrt((1 - after - spread**2).clamp(min=0)))


def deviation(here: Point, there: Point) -> float:
    """Return the standard deviation of x_s given x_t and x0."""
    variance = here.sigma**2 - (here.alpha / there.alpha * there.sigma) ** 2
    return there.sigma / here.sigma * math.sqrt(max(variance, 0.0))


@dataclass(frozen=True)
class Ancestral:
    """The reverse chain of DDPM: x_s drawn from a Gaussian around the posterior mean.

    The log variance lies between the posterior's and log beta: where the network says, if it
    learned to, else at `mix`. No noise is added by the step that ends at t = 0. A push moves the
    mean by variance * push. Paths that do not preserve variance are walked in x over its norm.
    Ho et al., arXiv 2006.11239, algorithm 2; Nichol & Dhariwal, arXiv 2102.09672, eq. 15.

    Args:
        mix: 0 takes the posterior variance, 1 the upper bound beta.
    """

    mix: float = 0.0

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        chain = transitions(denoiser.path, grid)
        places = points(denoiser.path, grid)
        for index, (here, there) in enumerate(pairwise(places)):
            estimate = evaluate(denoiser, x, here.t, y)
            mean, deviation = self.reverse(x, estimate, here, there, chain[index])
            x = mean if there.sigma == 0 else mean + deviation * noise(x)
            yield Step(there.t, x, estimate)

    def reverse(
        self,
        x: Float[Tensor, "b ..."],
        estimate: Estimate,
        here: Point,
        there: Point,
        step: Transition,
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "..."]]:
        """Return the mean of x_s, push included, and its standard deviation."""
        before, after = (math.hypot(at.alpha, at.sigma) for at in (here, there))
        variance, deviation = self.spread(estimate, step)
        mean = after * step.mean(estimate.x0, x / before)
        if estimate.push is not None:
            mean = mean + after**2 * variance * estimate.push
        return mean, after * deviation

    def spread(
        self, estimate: Estimate, step: Transition
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Return the reverse variance and its root; fixed ones at mix 0 end at exactly 0."""
        if estimate.var_mix is not None:
            logged = step.log_variance(estimate.var_mix)
            return logged.exp(), (0.5 * logged).exp()
        upper = torch.where(step.last, step.log_posterior.exp(), step.beta)
        variance = step.posterior ** (1 - self.mix) * upper**self.mix
        return variance, variance.sqrt()


def transitions(path: Path, grid: Float[Tensor, "times"]) -> Transition:
    """Return the reverse steps of a grid, those of x / sqrt(alpha^2 + sigma^2).

    The posterior variance of the step that ends at t = 0 is 0; the step before lends its own where
    a logarithm is taken, and a chain of one step takes beta.
    """
    scales = path.scales(grid)
    signal = scales.alpha**2 / (scales.alpha**2 + scales.sigma**2)
    if len(grid) > 2:
        floor = Transition.floor(signal[-2], signal[-3])
    else:
        floor = 1 - signal[-2] / signal[-1]
    return Transition.between(signal[:-1], signal[1:], floor)


@dataclass(frozen=True)
class Heun:
    """The trapezoidal rule along the probability-flow ODE dx = x0 d alpha + eps d sigma.

        x' = alpha_s x0 + sigma_s eps
        x_s = x_t + (alpha_s - alpha_t) (x0 + x0') / 2 + (sigma_s - sigma_t) (eps + eps') / 2

    On the linear path it is the usual rule in t. Nothing is asked at t = 0: the step that ends
    there takes x0. Second order; two evaluations a step.
    Karras et al., arXiv 2206.00364, algorithm 1.
    """

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,  # noqa: ARG002, a deterministic sampler
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        for here, there in pairwise(points(denoiser.path, grid)):
            first = pushed(evaluate(denoiser, x, here.t, y), here)
            ahead = there.alpha * first.x0 + there.sigma * first.eps
            if there.sigma > 0:
                second = pushed(evaluate(denoiser, ahead, there.t, y), there)
                by_alpha = (there.alpha - here.alpha) / 2 * (first.x0 + second.x0)
                by_sigma = (there.sigma - here.sigma) / 2 * (first.eps + second.eps)
                ahead = x + by_alpha + by_sigma
            x = ahead
            yield Step(there.t, x, first)
