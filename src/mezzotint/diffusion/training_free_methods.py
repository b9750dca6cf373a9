"""The methods of training-free guidance: what each adds to a step of DDIM.

    z = DDIM(x, eps) + strength * gradient of l(x0(x)), in one form or another

l is a critic's log-likelihood of the clean image. Formulas as in the release of TFG (Ye et al.,
arXiv 2409.15761), which has all of them; every gradient is an image's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mezzotint.diffusion.critics import Critic, finite
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.samplers import Point, evaluate
from mezzotint.noise import Noise


@dataclass(frozen=True)
class Place:
    """One step of the walk, as its method sees it.

    Attributes:
        denoiser, critic, y, noise: as handed to the sampler.
        here, there: the scales at both ends.
        spread: deviation of the noise that the step adds.
        weight: of this step in the schedule, 1 on average.
    """

    denoiser: Denoiser
    critic: Critic
    y: Shaped[Tensor, "b ..."]
    noise: Noise
    here: Point
    there: Point
    spread: float
    weight: float

    def estimate(self, x: Float[Tensor, "b ..."]) -> Estimate:
        """Ask the denoiser."""
        return evaluate(self.denoiser, x, self.here.t, self.y)

    def value(self, x0: Float[Tensor, "b ..."]) -> Float[Tensor, "b"]:
        """Ask the critic about clean images."""
        clean = self.denoiser.path.snap(torch.zeros(len(x0), dtype=torch.float64))
        return self.critic(x0, clean, self.y)

    def gradient(
        self, function: Callable[[Tensor], Tensor], x: Float[Tensor, "b ..."]
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b"]]:
        """Return the gradient of a function, a number an image, and its values."""
        with torch.enable_grad():
            free = x.detach().requires_grad_()
            values = function(free)
            (found,) = torch.autograd.grad(values.sum(), free)
        at = torch.full((len(x),), self.here.t, dtype=torch.float64)
        return finite(found, at), values.detach()

    def through(self, x: Float[Tensor, "b ..."]) -> tuple[Tensor, Tensor]:
        """Return the gradient at x of what the critic sees in x0, and its values."""
        return self.gradient(lambda free: self.value(self.estimate(free).x0), x)

    def ddim(self, estimate: Estimate) -> Float[Tensor, "b ..."]:
        """Return DDIM's next state."""
        kept = math.sqrt(max(self.there.sigma**2 - self.spread**2, 0.0))
        state = self.there.alpha * estimate.x0 + kept * estimate.eps
        return state + self.spread * self.noise(state) if self.spread > 0 else state

    def moved(self, x: Float[Tensor, "b ..."], eps: Float[Tensor, "b ..."]) -> Estimate:
        """Return the estimate with another noise."""
        return Estimate((x - self.here.sigma * eps) / self.here.alpha, eps)


class Made(NamedTuple):
    """The next state, and the estimate behind it."""

    state: Float[Tensor, "b ..."]
    estimate: Estimate


class Method(Protocol):
    """How the next state is made."""

    def __call__(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Return the next state, one step less noisy, and the estimate behind it."""
        ...


@dataclass(frozen=True)
class DPS:
    """DDIM(x, eps) + s grad_x l(x0(x)) / |l(x0(x))| (Chung et al., arXiv 2209.14687).

    Args:
        strength: s. The authors' own code divides by a norm over the whole batch; not here.
    """

    strength: float = 1.0

    def __call__(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Return the next state and the estimate behind it."""
        (found, values), estimate = place.through(x), place.estimate(x)
        size = values.abs().view(-1, *(1,) * (x.dim() - 1))
        return Made(place.ddim(estimate) + self.strength * found / size, estimate)


@dataclass(frozen=True)
class LGD:
    """DPS on the mean likelihood of noised x0 (Song et al., ICML 2023, Monte Carlo form).

        DDIM(x, eps) + s grad_x log sum_j exp l(x0(x) + sigma n_j) / n

    Args:
        strength: s.
        samples: n. The gradient of a log mean is divided by n once more, as in the release.
    """

    strength: float = 1.0
    samples: int = 3

    def __call__(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Return the next state and the estimate behind it."""
        estimate = place.estimate(x)
        state = place.ddim(estimate)
        draws = [place.noise(x) for _ in range(self.samples)]

        def value(free: Tensor) -> Tensor:
            x0 = place.estimate(free).x0
            seen = [place.value(x0 + place.here.sigma * draw) for draw in draws]
            return torch.stack(seen).logsumexp(0)

        found, _ = place.gradient(value, x)
        return Made(state + self.strength * found / self.samples, estimate)


@dataclass(frozen=True)
class FreeDoM:
    """DDIM(x, eps) + rho_t grad_x l(x0(x)), rho_t = s times the schedule (Yu et al., 2303.09833).

    Args:
        strength: s.
    """

    strength: float = 1.0

    def __call__(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Return the next state and the estimate behind it."""
        (found, _), estimate = place.through(x), place.estimate(x)
        return Made(place.ddim(estimate) + self.strength * place.weight * found, estimate)


@dataclass(frozen=True)
class UGD:
    """Universal guidance, forward and backward (Bansal et al., arXiv 2302.07121).

        eps' = eps - s sigma grad_x l(x0(x)) - (alpha / sigma) (z0 - x0)
        z0: from x0, some times z0 + s grad l(z0)

    Args:
        strength: s.
        backward: steps on the clean image; 0 is forward guidance alone.
        bound: of x0 where the backward steps begin, or None.
    """

    strength: float = 1.0
    backward: int = 2
    bound: float | None = 1.0

    def __call__(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Return the next state and the estimate behind it."""
        estimate, (found, _) = place.estimate(x), place.through(x)
        x0 = z0 = bounded(estimate.x0, self.bound)
        for _ in range(self.backward):
            z0 = z0 + self.strength * place.gradient(place.value, z0)[0]
        alpha, sigma = place.here.alpha, place.here.sigma
        eps = estimate.eps - self.strength * sigma * found - alpha / sigma * (z0 - x0)
        return Made(place.ddim(place.moved(x, eps)), estimate)


@dataclass(frozen=True)
class MPGD:
    """x0 + s grad l(x0) beside the old eps (He et al., arXiv 2311.16424): no gradient of the model.

    Args:
        strength: s.
        bound: of x0, or None.
    """

    strength: float = 1.0
    bound: float | None = 1.0

    def __call__(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Return the next state and the estimate behind it."""
        estimate = place.estimate(x)
        x0 = bounded(estimate.x0, self.bound)
        found, _ = place.gradient(place.value, x0)
        state = place.ddim(Estimate(x0 + self.strength * found, estimate.eps))
        return Made(state, estimate)


@dataclass(frozen=True)
class TFG:
    """The unified form (Ye et al., arXiv 2409.15761), the one to begin with.

        l~(z) = log sum_j exp l(z + spread sigma n_j)
        DDIM(x, eps of the bounded x0) + (alpha_s / alpha_t) rho_t grad_x l~(x0(x)) + alpha_s D0

    D0 is what some steps mu_t grad l~(z0) add to x0. Published for labels: CIFAR-10 rho 1, mu 0.25,
    spread 0.001, 50 steps; ImageNet-256 rho 2, mu 0.5, spread 0.1, 100 steps; 4 iterations, eta 1.

    Args:
        rho: strength of the gradient through the model.
        mu: strength of each step on the clean image.
        spread: of the Monte Carlo noise, in units of sigma.
        samples: n.
        iterations: steps on the clean image.
        bound: of x0, or None; gradients pass only where it is not touched.
    """

    rho: float = 1.0
    mu: float = 0.25
    spread: float = 0.001
    samples: int = 1
    iterations: int = 4
    bound: float | None = 1.0

    def __call__(self, place: Place, x: Float[Tensor, "b ..."]) -> Made:
        """Return the next state and the estimate behind it."""
        deviation = self.spread * place.here.sigma
        draws = [place.noise(x) for _ in range(self.samples)]

        def smooth(x0: Tensor) -> Tensor:
            return torch.stack([place.value(x0 + deviation * draw) for draw in draws]).logsumexp(0)

        found, _ = place.gradient(
            lambda free: smooth(bounded(place.estimate(free).x0, self.bound)), x
        )
        x0 = z0 = bounded(place.estimate(x).x0, self.bound)
        for _ in range(self.iterations):
            z0 = z0 + self.mu * place.weight * place.gradient(smooth, z0)[0]
        eps = (x - place.here.alpha * x0) / place.here.sigma
        estimate = Estimate(x0, eps)
        back = self.rho * place.weight * place.there.alpha / place.here.alpha
        added = back * found + place.there.alpha * (z0 - x0)
        return Made(place.ddim(estimate) + added, estimate)


def bounded(x0: Float[Tensor, "b ..."], bound: float | None) -> Float[Tensor, "b ..."]:
    """Clamp a clean image to [-bound, bound], or leave it."""
    return x0 if bound is None else x0.clamp(-bound, bound)
