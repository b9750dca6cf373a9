"""What a network's outputs mean, and the loss that goes with it.

Each prediction reads raw outputs as an estimate with alpha x0 + sigma eps == x_t, and scores them
against the truth by a mean squared error in its own space, times a weighting.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.config import part
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Scales
from mezzotint.diffusion.transition import Transition
from mezzotint.diffusion.weightings import Uniform, Weighting


class Truth(NamedTuple):
    """What the loss of a training example may look at.

    Attributes:
        x0, eps: the clean image and the noise that were mixed.
        x: alpha x0 + sigma eps.
        scales: of the path at the example's time.
        step: the reverse step to the time before, on a discrete chain; None elsewhere.
    """

    x0: Float[Tensor, "b ..."]
    eps: Float[Tensor, "b ..."]
    x: Float[Tensor, "b ..."]
    scales: Scales
    step: Transition | None = None


@runtime_checkable
class Prediction(Protocol):
    """A reading of raw network outputs."""

    def estimate(self, out: Any, x: Float[Tensor, "b ..."], scales: Scales) -> Estimate:
        """Read outputs as an estimate, in the dtype of `x`."""
        ...

    def loss(self, out: Any, truth: Truth) -> Float[Tensor, "b"]:
        """Score outputs against the truth, one number an example."""
        ...


def per_example(values: Float[Tensor, "b ..."]) -> Float[Tensor, "b"]:
    """Average over everything but the batch."""
    return values.flatten(1).mean(1)


Weight = Annotated[Weighting, part("weighting")]


@dataclass(frozen=True)
class Eps:
    """The network predicts the noise: x0 = (x - sigma eps) / alpha."""

    weighting: Weight = Uniform()

    def estimate(
        self, out: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Read noise as an estimate."""
        eps = out.to(x.dtype)
        return Estimate(scales.clean(x, eps), eps)

    def loss(self, out: Float[Tensor, "b ..."], truth: Truth) -> Float[Tensor, "b"]:
        """Return the weighted mean of (eps - out)^2."""
        error = (truth.eps - out.to(truth.eps.dtype)) ** 2
        return per_example(self.weighting(truth.scales) * error)


@dataclass(frozen=True)
class X0:
    """The network predicts the clean image: eps = (x - alpha x0) / sigma."""

    weighting: Weight = Uniform()

    def estimate(
        self, out: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Read a clean image as an estimate."""
        x0 = out.to(x.dtype)
        return Estimate(x0, (x - scales.alpha * x0) / scales.sigma)

    def loss(self, out: Float[Tensor, "b ..."], truth: Truth) -> Float[Tensor, "b"]:
        """Return the weighted mean of (x0 - out)^2."""
        error = (truth.x0 - out.to(truth.x0.dtype)) ** 2
        return per_example(self.weighting(truth.scales) * error)


@dataclass(frozen=True)
class Velocity:
    """The network predicts dx/dt = alpha' x0 + sigma' eps.

    Args:
        towards_data: the network's velocity points from noise to data, as SiT's does.
    """

    weighting: Weight = Uniform()
    towards_data: bool = False

    @property
    def _sign(self) -> float:
        return -1.0 if self.towards_data else 1.0

    def estimate(
        self, out: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Solve the two linear equations for x0 and eps."""
        velocity = self._sign * out.to(x.dtype)
        alpha, sigma, d_alpha, d_sigma = scales
        det = alpha * d_sigma - sigma * d_alpha
        x0 = (d_sigma * x - sigma * velocity) / det
        return Estimate(x0, (alpha * velocity - d_alpha * x) / det)

    def loss(self, out: Float[Tensor, "b ..."], truth: Truth) -> Float[Tensor, "b"]:
        """Return the weighted mean of (v - out)^2."""
        velocity = truth.scales.d_alpha * truth.x0 + truth.scales.d_sigma * truth.eps
        error = (velocity - self._sign * out.to(velocity.dtype)) ** 2
        return per_example(self.weighting(truth.scales) * error)


@dataclass(frozen=True)
class Score:
    """The network predicts grad log p(x_t) = -eps / sigma."""

    weighting: Weight = Uniform()

    def estimate(
        self, out: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Read a score as an estimate."""
        return Eps().estimate(-scales.sigma * out.to(x.dtype), x, scales)

    def loss(self, out: Float[Tensor, "b ..."], truth: Truth) -> Float[Tensor, "b"]:
        """Return the weighted mean of (sigma out + eps)^2 (SiT)."""
        error = (truth.scales.sigma * out.to(truth.eps.dtype) + truth.eps) ** 2
        return per_example(self.weighting(truth.scales) * error)


@dataclass(frozen=True)
class Leading:
    """Read only the first channels of a network that puts out more, as SiT's release does."""

    inner: Annotated[Prediction, part("prediction")]

    def estimate(
        self, out: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Read the first channels."""
        return self.inner.estimate(out[:, : x.shape[1]], x, scales)

    def loss(self, out: Float[Tensor, "b ..."], truth: Truth) -> Float[Tensor, "b"]:
        """Score the first channels."""
        return self.inner.loss(out[:, : truth.x.shape[1]], truth)


@dataclass(frozen=True)
class LearnedRange:
    """Half of the channels predict the mean, half the place of the log variance in its range.

        log var = f log(beta) + (1 - f) log(posterior variance),   f = (v + 1) / 2, not clamped

    The loss is `simple` mse + `bound` vb, where vb is the variational bound of the step in bits a
    dimension; its gradient reaches the variance channels alone unless `bound_mean`.
    Nichol & Dhariwal, arXiv 2102.09672; in DiT, simple = bound = 1.

    Args:
        mean: how the first half is read.
        simple: weight of the mean's own loss.
        bound: weight of the variational bound.
        bound_mean: let the bound train the mean too.
    """

    mean: Annotated[Prediction, part("prediction")] = Eps()
    simple: float = 1.0
    bound: float = 1.0
    bound_mean: bool = False

    def estimate(
        self, out: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Read the mean and the variance."""
        mean, variance = out.to(x.dtype).chunk(2, dim=1)
        return replace(self.mean.estimate(mean, x, scales), var_mix=(variance + 1) / 2)

    def loss(self, out: Float[Tensor, "b ..."], truth: Truth) -> Float[Tensor, "b"]:
        """Return `simple` mse + `bound` vb."""
        mean, variance = out.to(truth.x.dtype).chunk(2, dim=1)
        free = mean if self.bound_mean else mean.detach()
        estimate = self.estimate(torch.cat([free, variance], dim=1), truth.x, truth.scales)
        return self.simple * self.mean.loss(mean, truth) + self.bound * bound(estimate, truth)


@dataclass(frozen=True)
class FixedRange:
    """A mean alone, trained on the variational bound under a fixed reverse variance.

    Args:
        mean: how the outputs are read.
        mix: 0 takes the posterior variance, 1 the upper bound beta.
        simple: weight of the mean's own loss.
        bound: weight of the variational bound in bits a dimension.
    """

    mean: Annotated[Prediction, part("prediction")] = Eps()
    mix: float = 0.0
    simple: float = 0.0
    bound: float = 1.0

    def estimate(
        self, out: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], scales: Scales
    ) -> Estimate:
        """Read the mean; the variance mix is the same everywhere."""
        estimate = self.mean.estimate(out, x, scales)
        return replace(estimate, var_mix=torch.full_like(x, self.mix))

    def loss(self, out: Float[Tensor, "b ..."], truth: Truth) -> Float[Tensor, "b"]:
        """Return `simple` mse + `bound` vb."""
        estimate = varied(self.mean.estimate(out, truth.x, truth.scales), self.mix, truth)
        return self.simple * self.mean.loss(out, truth) + self.bound * bound(estimate, truth)


def varied(estimate: Estimate, mix: float, truth: Truth) -> Estimate:
    """Give an estimate a fixed reverse variance: at mix 0 the posterior's, at 1 the upper bound.

    At the last step it is that of the step before, whatever the mix, as in the release.
    """
    assert truth.step is not None, "a reverse variance needs a discrete chain"
    return replace(estimate, var_mix=torch.full_like(truth.x, mix) * ~truth.step.last)


def bound(estimate: Estimate, truth: Truth) -> Float[Tensor, "b"]:
    """Return the variational bound of one reverse step, in bits a dimension.

    KL(q(x_s | x_t, x0) || p(x_s | x_t)), or at the last step (s = 0) the negative log-likelihood
    of x0 under a Gaussian over 255 bins. DDPM, arXiv 2006.11239, eq. 5 and 13.
    """
    assert truth.step is not None, "the variational bound needs a discrete chain"
    terms = torch.where(truth.step.last, surprise(estimate, truth), divergence(estimate, truth))
    return per_example(terms) / math.log(2)


def _reverse(estimate: Estimate, truth: Truth) -> tuple[Transition, Tensor, Tensor]:
    """Return the reverse step, and the mean and log variance that an estimate gives it."""
    step = truth.step
    assert step is not None, "the variational bound needs a discrete chain"
    assert estimate.var_mix is not None, "the variational bound needs a variance"
    return step, step.mean(estimate.x0, truth.x), step.log_variance(estimate.var_mix)


def divergence(estimate: Estimate, truth: Truth) -> Float[Tensor, "b ..."]:
    """Return KL(q(x_s | x_t, x0) || p(x_s | x_t)) of every element, in nats.

    At the last step, whose posterior variance is 0, it is taken with that of the step before.
    """
    step, mean, log_variance = _reverse(estimate, truth)
    gap = step.log_posterior - log_variance
    square = (step.mean(truth.x0, truth.x) - mean) ** 2
    return 0.5 * (-1 - gap + gap.exp() + square * (-log_variance).exp())


def surprise(estimate: Estimate, truth: Truth) -> Float[Tensor, "b ..."]:
    """Return -log p(x0 | x_t) of every element under a Gaussian over 255 bins, in nats.

    It belongs to a bound at the last step only, where x_s is x0.
    """
    _, mean, log_variance = _reverse(estimate, truth)
    return -_discretised_log_likelihood(truth.x0, mean, 0.5 * log_variance)


def _discretised_log_likelihood(
    x0: Float[Tensor, "b ..."], mean: Float[Tensor, "b ..."], log_scale: Float[Tensor, "b ..."]
) -> Float[Tensor, "b ..."]:
    """Return log p of x0 in [-1, 1] under a Gaussian over bins of half-width 1/255."""
    inverse = (-log_scale).exp()
    above = _normal_cdf(inverse * (x0 - mean + 1 / 255))
    below = _normal_cdf(inverse * (x0 - mean - 1 / 255))
    tiny = 1e-12
    inside = (above - below).clamp(min=tiny).log()
    lowest, highest = above.clamp(min=tiny).log(), (1 - below).clamp(min=tiny).log()
    return torch.where(x0 < -0.999, lowest, torch.where(x0 > 0.999, highest, inside))


def _normal_cdf(u: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Return the approximation that the releases use, not the exact function."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
