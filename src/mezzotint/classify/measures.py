"""How far an estimate is from the truth, one number an example: what the classes compete in.

    L(c) = mean over (t, eps) of |eps - eps_theta(x_t, t, c)|^2      the smallest one wins

Li et al., arXiv 2303.16203, section 3.2; the other measures are those of its code. All of them are
means over the elements of x, as in the code; the paper's norm is their sum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.predictions import Truth, divergence, per_example, surprise, varied
from mezzotint.errors import ConfigError

View = Callable[[Estimate, Truth], Float[Tensor, "b ..."]]
"""From an estimate and the truth to their difference in some space."""


def noise(estimate: Estimate, truth: Truth) -> Float[Tensor, "b ..."]:
    """Return the error of eps: the published choice."""
    return truth.eps - estimate.eps


def clean(estimate: Estimate, truth: Truth) -> Float[Tensor, "b ..."]:
    """Return the error of x0."""
    return truth.x0 - estimate.x0


def velocity(estimate: Estimate, truth: Truth) -> Float[Tensor, "b ..."]:
    """Return the error of dx/dt = alpha' x0 + sigma' eps: what flow models are trained on."""
    scales = truth.scales
    x0, eps = truth.x0 - estimate.x0, truth.eps - estimate.eps
    return scales.d_alpha * x0 + scales.d_sigma * eps


def on_chain(path: Path) -> bool:
    """Return whether a path is a discrete chain, whose steps have a bound."""
    return path.step(torch.ones(1, dtype=torch.float64)) is not None


@runtime_checkable
class Measure(Protocol):
    """A distance between an estimate and the truth."""

    def __call__(self, estimate: Estimate, truth: Truth) -> Float[Tensor, "b"]:
        """Return one number an example."""
        ...

    def check(self, path: Path) -> None:
        """Refuse a path on which this cannot be measured."""
        ...


@dataclass(frozen=True)
class Elementwise:
    """What measures of single elements share.

    Args:
        view: the space in which the difference is taken: `noise`, `clean` or `velocity`.
    """

    view: View = noise

    def check(self, path: Path) -> None:
        """Accept every path."""

    def __call__(self, estimate: Estimate, truth: Truth) -> Float[Tensor, "b"]:
        """Return the mean over the elements."""
        return per_example(self.of(self.view(estimate, truth)))

    def of(self, difference: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return the measure of each element."""
        raise NotImplementedError


@dataclass(frozen=True)
class Squared(Elementwise):
    """Mean of squares (l2)."""

    def of(self, difference: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return d^2."""
        return difference**2


@dataclass(frozen=True)
class Absolute(Elementwise):
    """Mean of absolute values (l1)."""

    def of(self, difference: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return |d|."""
        return difference.abs()


@dataclass(frozen=True)
class Huber(Elementwise):
    """Mean of d^2 / 2 below 1 and |d| - 1/2 above; the paper writes d^2 below 1."""

    def of(self, difference: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return Huber's function, delta 1."""
        zero = torch.zeros_like(difference)
        return functional.huber_loss(difference, zero, reduction="none")


@dataclass(frozen=True)
class OnChain:
    """What the terms of the variational bound share: they need a discrete chain."""

    def check(self, path: Path) -> None:
        """Refuse a path in continuous time.

        Raises:
            ConfigError: there is no step before, so there is no bound of a step.
        """
        if not on_chain(path):
            raise ConfigError(
                f"measure: the variational bound of a step needs a discrete chain, and this model "
                f"lies on {path!r}; take l2, l1 or huber"
            )


@dataclass(frozen=True)
class Bound(OnChain):
    """KL(q(x_s | x_t, x0) || p(x_s | x_t)) in bits an element (vb), at every step.

    Args:
        mix: the reverse variance of a model that has learned none: 0 is the posterior's, 1 beta.
    """

    mix: float = 0.0

    def __call__(self, estimate: Estimate, truth: Truth) -> Float[Tensor, "b"]:
        """Return the divergence."""
        return per_example(divergence(_ranged(estimate, self.mix, truth), truth)) / math.log(2)


@dataclass(frozen=True)
class Surprise(OnChain):
    """-log p(x0 | x_t) in bits an element; the release stores it, and means it at step 0 only."""

    mix: float = 0.0

    def __call__(self, estimate: Estimate, truth: Truth) -> Float[Tensor, "b"]:
        """Return the negative log-likelihood."""
        return per_example(surprise(_ranged(estimate, self.mix, truth), truth)) / math.log(2)


@dataclass(frozen=True)
class Total:
    """The sum of measures, such as l2 + vb."""

    parts: tuple[Measure, ...]

    def __call__(self, estimate: Estimate, truth: Truth) -> Float[Tensor, "b"]:
        """Return the sum."""
        return torch.stack([part(estimate, truth) for part in self.parts]).sum(0)

    def check(self, path: Path) -> None:
        """Refuse what any part refuses."""
        for part in self.parts:
            part.check(path)


def _ranged(estimate: Estimate, mix: float, truth: Truth) -> Estimate:
    return varied(estimate, mix, truth) if estimate.var_mix is None else estimate


__all__ = [
    "Absolute",
    "Bound",
    "Elementwise",
    "Huber",
    "Measure",
    "Squared",
    "Surprise",
    "Total",
    "View",
    "clean",
    "noise",
    "on_chain",
    "velocity",
]
