"""Langevin steps in code space: plug-and-play generation (PPGN).

    h <- h + e1 (R(h) - h) + e2 d log p(y | h) / dh + e3 z

R draws a code towards likely ones, the critic towards its condition, z is noise. Nguyen et al.,
"Plug & Play Generative Networks", arXiv 1612.00005, eq. 5 and 11. Without a step of acceptance.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mezzotint.diffusion.critics import Critic
from mezzotint.diffusion.estimate import fit
from mezzotint.diffusion.strides import (
    MeanAbs,
    Plain,
    Restart,
    Stride,
    magnitude,
)
from mezzotint.errors import NumericError
from mezzotint.noise import Noise

Prior = Callable[[Tensor], Tensor]
"""R: from codes to more likely ones; R(h) - h is about sigma^2 d log p(h) / dh."""
Bounds = tuple[float | Tensor, float | Tensor]


@dataclass(frozen=True)
class Weights:
    """What the three terms of a step are multiplied by.

    Args:
        prior: e1, of R(h) - h.
        condition: e2, of the gradient of log p(y | h).
        noise: e3, a standard deviation.
    """

    prior: float
    condition: float = 1.0
    noise: Annotated[float, Field(ge=0)] = 0.0

    @classmethod
    def langevin(cls, step: float, sigma: float) -> Self:
        """Return those of an unadjusted Langevin step, from the step and R's noise level.

            e1 = step / sigma^2    e2 = step    e3 = sqrt(2 step)

        Args:
            step: size of the step, above 0.
            sigma: deviation of the noise that R takes away.
        """
        return cls(step / sigma**2, step, math.sqrt(2 * step))


# Published coefficients. Only the first is certain for its equation; NOISELESS and those of
# its uses stand in the released scripts, which normalise the step; the others are from memory.
DGN_AM: Final = Weights(0.0, 1.0, 0.0)
NOISELESS: Final = Weights(1e-5, 1.0, 1e-17)
PLACES: Final = Weights(1e-7, 1.0, 1e-17)
CAPTIONS: Final = Weights(1e-3, 1.0, 1e-17)
INPAINTING: Final = Weights(1e-5, 1.0, 0.0)
PPGN_H: Final = Weights(1e-5, 1.0, 1e-5)
PPGN_X: Final = Weights(1.0, 1e5, 17.5)


class Link(NamedTuple):
    """A step of a chain; every term belongs to the code before it.

    Attributes:
        step: its number, from 0.
        codes: h before the step.
        pull: R(h) - h; zeros without a prior.
        push: the gradient of log p(y | h).
        log_prob: log p(y | h).
        after: h after the step.
    """

    step: int
    codes: Float[Tensor, "b ..."]
    pull: Float[Tensor, "b ..."]
    push: Float[Tensor, "b ..."]
    log_prob: Float[Tensor, "b"]
    after: Float[Tensor, "b ..."]

    @property
    def x(self) -> Float[Tensor, "b ..."]:
        """h after the step, by the name that samplers' steps have for it."""
        return self.after

    @property
    def norms(self) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Mean magnitudes of pull and push: weights mean something only relative to these."""
        return magnitude(self.pull), magnitude(self.push)


@dataclass(frozen=True)
class Langevin:
    """A chain in code space; chains of a batch do not know each other.

    Args:
        prior: R, or None for a chain without one (DGN-AM).
        critic: judges codes; `Through(generator, critic)` judges what is made of them.
        weights: e1, e2, e3.
        stride: how far a step goes.
        bounds: least and largest value of a code, numbers or tensors; None is none.
        restart: when a code is drawn anew.
        balance: rho; e1 is then chosen at each step so that |e1 pull| = rho |e2 push|.
        enough: log p(y | h) at which a chain has arrived, and rests.
    """

    prior: Prior | None
    critic: Critic
    weights: Weights
    stride: Stride = Plain()
    bounds: Bounds | None = None
    restart: Restart | None = None
    balance: float | None = None
    enough: float = math.inf

    def __call__(
        self, h: Float[Tensor, "b ..."], y: Int[Tensor, "b"], steps: int, noise: Noise
    ) -> Iterator[Link]:
        """Yield every step of a chain towards one condition.

        Args:
            h: codes to start from.
            y: what the critic is asked for.
            steps: number of steps.
            noise: a draw a step if e3 is above 0, and what restarts need.

        Raises:
            NumericError: a term is not finite.
        """
        return self.walk(h, lambda _: y, steps, noise)

    def tour(
        self, h: Float[Tensor, "b ..."], labels: Int[Tensor, "m b"], each: int, noise: Noise
    ) -> Iterator[Link]:
        """Yield every step of a chain that goes on from one condition to the next.

        As in the released code the first condition gets `each` + 1 steps, the others `each`; the
        step's number, on which size and restarts depend, runs through.
        """
        steps = len(labels) * each + 1
        return self.walk(h, lambda step: labels[max(step - 1, 0) // each], steps, noise)

    @torch.no_grad()
    def walk(
        self,
        h: Float[Tensor, "b ..."],
        asked: Callable[[int], Int[Tensor, "b"]],
        steps: int,
        noise: Noise,
    ) -> Iterator[Link]:
        """Yield every step, towards what is asked for at its number; ends when all chains rest."""
        e1 = h.new_full((len(h),), self.weights.prior)
        resting = torch.zeros(len(h), dtype=torch.bool, device=h.device)
        for step in range(steps):
            leaf = h.detach().requires_grad_()
            t = torch.zeros(len(h), dtype=torch.float64)
            log_prob, push = _ascent(self.critic, leaf, t, asked(step).to(h.device))
            # The critic comes first, so that a shared generator keeps what its gradient needs.
            pull = torch.zeros_like(h) if self.prior is None else self.prior(leaf) - h
            direction = self._direction(self._balanced(e1, pull, push), pull, push, noise)
            _check(direction, log_prob, step)
            resting = resting | (magnitude(direction) == 0) | (log_prob >= self.enough)
            after = self._bounded(h + self.stride(direction, step))
            if self.restart is not None and self.restart.due(step):
                after, e1 = self.restart.draw(h, noise)
            after = torch.where(fit(resting, h), h, after)
            yield Link(step, h, pull, push, log_prob, after)
            if resting.all():
                return
            h = after

    def _balanced(
        self, e1: Float[Tensor, "b"], pull: Float[Tensor, "b ..."], push: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        if self.balance is None:
            return e1
        ratio = magnitude(push) / magnitude(pull).clamp_min(torch.finfo(pull.dtype).tiny)
        return self.balance * abs(self.weights.condition) * ratio

    def _direction(
        self,
        e1: Float[Tensor, "b"],
        pull: Float[Tensor, "b ..."],
        push: Float[Tensor, "b ..."],
        noise: Noise,
    ) -> Float[Tensor, "b ..."]:
        direction = fit(e1, pull) * pull + self.weights.condition * push
        if self.weights.noise > 0:
            direction = direction + self.weights.noise * noise(pull)
        return direction

    def _bounded(self, h: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        if self.bounds is None:
            return h
        low, high = (torch.as_tensor(each, dtype=h.dtype, device=h.device) for each in self.bounds)
        return h.clamp(low, high)


def _ascent(
    critic: Critic, leaf: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Int[Tensor, "b"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b ..."]]:
    """Return what a critic says of codes, and its gradient in them."""
    with torch.enable_grad():
        log_prob = critic(leaf, t, y)
        (push,) = torch.autograd.grad(log_prob.sum(), leaf)
    return log_prob.detach(), push


def _check(direction: Float[Tensor, "b ..."], log_prob: Float[Tensor, "b"], step: int) -> None:
    sound = direction.flatten(1).isfinite().all(1) & log_prob.isfinite()
    if not sound.all():
        row = int((~sound).nonzero()[0])
        raise NumericError(
            f"step {step}: the direction of chain {row} is not finite; lower the weights or the "
            "stride, or look at the condition network's gradient"
        )


__all__ = [
    "CAPTIONS",
    "DGN_AM",
    "INPAINTING",
    "NOISELESS",
    "PLACES",
    "PPGN_H",
    "PPGN_X",
    "Bounds",
    "Langevin",
    "Link",
    "MeanAbs",
    "Plain",
    "Prior",
    "Restart",
    "Stride",
    "Weights",
    "magnitude",
]
