"""Classifier guidance: a denoiser pushed uphill along a critic's log-likelihood.

    score + s grad log p(y | x_t),    that is p(x_t) p(y | x_t)^s

The gradient travels in the estimate as `push`, and each sampler applies it in its own way: the
ancestral one moves its mean by variance * push, all others move eps by -sigma push and x0 with it,
without clamping it again. Dhariwal & Nichol, arXiv 2105.05233, algorithms 1 and 2.
"""

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mezzotint.diffusion.critics import Critic, finite, gradient
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate, fit
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.scales import Scale, scale_of


@runtime_checkable
class Look(Protocol):
    """What the critic is shown."""

    def __call__(
        self,
        inner: Denoiser,
        critic: Critic,
        x: Float[Tensor, "b ..."],
        t: Float[Tensor, "b"],
        y: Shaped[Tensor, "b ..."],
        rows: Int[Tensor, "r"],
    ) -> tuple[Estimate, Float[Tensor, "r ..."]]:
        """Return the estimate of all rows, and the gradient with respect to x of some.

        Args:
            inner: the denoiser.
            critic: what is climbed.
            x, t, y: noisy images, times, conditions.
            rows: whose gradient is wanted, at least one.
        """
        ...


@dataclass(frozen=True)
class AtNoisy:
    """The critic sees x_t, as a noise-aware classifier or PPAP's experts must; ADM's form."""

    def __call__(
        self,
        inner: Denoiser,
        critic: Critic,
        x: Float[Tensor, "b ..."],
        t: Float[Tensor, "b"],
        y: Shaped[Tensor, "b ..."],
        rows: Int[Tensor, "r"],
    ) -> tuple[Estimate, Float[Tensor, "r ..."]]:
        """Return the estimate, and the gradient at x_t."""
        there = rows.to(x.device)
        return inner(x, t, y), gradient(critic, x[there], t[rows], y[there])


@dataclass(frozen=True)
class AtEstimate:
    """The critic sees the predicted clean image, and its gradient passes through the denoiser.

    So it may be a classifier that never saw noise (Bansal et al., arXiv 2302.07121, forward
    guidance). About three times the cost of a forward; where x0 is clamped, no gradient passes.
    """

    def __call__(
        self,
        inner: Denoiser,
        critic: Critic,
        x: Float[Tensor, "b ..."],
        t: Float[Tensor, "b"],
        y: Shaped[Tensor, "b ..."],
        rows: Int[Tensor, "r"],
    ) -> tuple[Estimate, Float[Tensor, "r ..."]]:
        """Return the estimate, and the gradient at x_t of what is seen in x0."""
        there = rows.to(x.device)
        clean = inner.path.snap(torch.zeros_like(t[rows]))
        with torch.enable_grad():
            free = x.detach().requires_grad_()
            estimate = inner(free, t, y)
            value = critic(estimate.x0[there], clean, y[there]).sum()
            (found,) = torch.autograd.grad(value, free)
        return estimate.map(Tensor.detach), finite(found[there], t[rows])


@dataclass(frozen=True)
class Steered:
    """A denoiser that a critic steers.

    Where the scale is 0 the critic is not asked; if it is so for all rows, the inner denoiser
    answers alone. Nor is it in pure noise, where alpha is 0 and the push on x0 would be infinite:
    the first evaluation of a flow is its own. Around classifier-free guidance both see the
    condition. Unconditional models want about ten times the scale of conditional ones (published:
    10 and 1 at 256 px).

    Args:
        inner: the denoiser.
        critic: log p(y | x_t).
        scale: s, a number or a function of time; 0 is no steering.
        look: what the critic sees.
    """

    inner: Denoiser
    critic: Critic
    scale: Scale | float
    look: Look = AtNoisy()
    _scale: Scale = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scale", scale_of(self.scale))

    @property
    def path(self) -> Path:
        """The path of the inner denoiser."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate, with the push of the critic.

        Raises:
            NumericError: the critic's gradient is not finite.
        """
        scale = self._scale(t)
        signal = self.path.scales(t).alpha > 0
        rows = ((scale != 0) & signal).nonzero()[:, 0]
        if len(rows) == 0:
            return self.inner(x, t, y)
        estimate, found = self.look(self.inner, self.critic, x, t, y, rows)
        found = found.to(x.dtype)
        push = torch.zeros_like(x) if estimate.push is None else estimate.push.clone()
        push[rows.to(x.device)] += fit(scale[rows], found) * found
        return replace(estimate, push=push)


__all__ = ["AtEstimate", "AtNoisy", "Look", "Steered"]
