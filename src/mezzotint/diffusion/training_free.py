"""Training-free guidance: a critic of clean images steers on the predicted x0, with no training.

    z = DDIM(x, eps) + what the method adds,      x = renoise(z),      some times over

With the gradient at x_t instead, a `Steered` denoiser under `DDIM` is all that is needed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mezzotint.diffusion.critics import Critic
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.samplers import Point, Step, deviation, points
from mezzotint.diffusion.training_free_methods import TFG, Made, Method, Place
from mezzotint.noise import Noise


class Weights(Protocol):
    """How strong the steps are, relative to each other."""

    def __call__(self, ratio: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
        """Return a weight a step, given alpha_t^2 / alpha_s^2 of each."""
        ...


@dataclass(frozen=True)
class Increasing:
    """More and more towards the clean end: alpha_t^2 / alpha_s^2."""

    def __call__(self, ratio: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
        """Return a weight a step."""
        return ratio


@dataclass(frozen=True)
class Decreasing:
    """Less and less towards the clean end: 1 - alpha_t^2 / alpha_s^2."""

    def __call__(self, ratio: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
        """Return a weight a step."""
        return 1 - ratio


@dataclass(frozen=True)
class Level:
    """The same for all steps."""

    def __call__(self, ratio: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
        """Return a weight a step."""
        return torch.ones_like(ratio)


@dataclass(frozen=True)
class TrainingFree:
    """A sampler: DDIM with a method's additions, each step taken some times with fresh noise.

    Back-propagates through the denoiser (about three forwards a step), but for MPGD.

    Args:
        critic: log p(y | x0) of clean images.
        method: how a step is made.
        weights: relative strength of the steps; scaled to be 1 on average.
        repeats: times each step is taken; between them the state is noised again.
        eta: of DDIM.
    """

    critic: Critic
    method: Method = TFG()
    weights: Weights = Increasing()
    repeats: int = 1
    eta: float = 1.0

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        for place in self.places(denoiser, y, grid, noise):
            made = self.step(place, x)
            x = made.state
            yield Step(place.there.t, x, made.estimate)

    def places(
        self,
        denoiser: Denoiser,
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,
    ) -> Iterator[Place]:
        """Yield what the method sees at each interval of a grid."""
        ends = points(denoiser.path, grid)
        signal = torch.tensor([place.alpha for place in ends], dtype=torch.float64) ** 2
        relative = self.weights(signal[:-1] / signal[1:])
        relative = relative / relative.mean()
        for (here, there), weight in zip(pairwise(ends), relative.tolist(), strict=True):
            spread = self.eta * deviation(here, there)
            yield Place(denoiser, self.critic, y, noise, here, there, spread, weight)

    def step(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Take one step, as often as is wanted."""
        made = self.method(place, x)
        for _ in range(self.repeats - 1):
            made = self.method(place, renoised(made.state, place.here, place.there, place.noise))
        return made


def renoised(
    state: Float[Tensor, "b ..."], here: Point, there: Point, noise: Noise
) -> Float[Tensor, "b ..."]:
    """Return a state at `there` with the noise that it has at `here`."""
    fade = here.alpha / there.alpha
    variance = here.sigma**2 - (fade * there.sigma) ** 2
    return fade * state + math.sqrt(max(variance, 0.0)) * noise(state)
