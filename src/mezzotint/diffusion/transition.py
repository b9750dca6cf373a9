"""One reverse step of a variance-preserving chain, from t to s < t.

    q(x_s | x_t, x0) = N(coef_x0 x0 + coef_x x_t, posterior)

with beta = 1 - alpha_t^2 / alpha_s^2 and posterior = beta (1 - alpha_s^2) / (1 - alpha_t^2).
DDPM, arXiv 2006.11239, eq. 6 and 7.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Transition:
    """The coefficients and variances of reverse steps; tensors broadcast with x.

    Attributes:
        coef_x0, coef_x: weights of the clean image and of x_t in the posterior mean.
        beta: the upper variance.
        posterior: the lower variance, 0 at the last step.
        log_beta: log of beta.
        log_posterior: log of the posterior variance, finite at the last step, where it is that of
            the step before it.
        last: whether s = 0.
    """

    coef_x0: Float[Tensor, "..."]
    coef_x: Float[Tensor, "..."]
    beta: Float[Tensor, "..."]
    posterior: Float[Tensor, "..."]
    log_beta: Float[Tensor, "..."]
    log_posterior: Float[Tensor, "..."]
    last: Bool[Tensor, "..."]

    @classmethod
    def between(
        cls,
        signal: Float[Tensor, "..."],
        before: Float[Tensor, "..."],
        floor: Float[Tensor, ""] | float,
    ) -> "Transition":
        """Work a step out in float64.

        Args:
            signal: alpha^2 at t.
            before: alpha^2 at s < t; 1 at the last step.
            floor: posterior variance that stands in for the last step's 0 under a logarithm.
        """
        signal, before = signal.double(), before.double()
        beta = 1 - signal / before
        posterior = beta * (1 - before) / (1 - signal)
        last = before >= 1
        logged = torch.where(last, torch.as_tensor(floor, dtype=torch.float64), posterior)
        return cls(
            coef_x0=beta * before.sqrt() / (1 - signal),
            coef_x=(1 - before) * (1 - beta).sqrt() / (1 - signal),
            beta=beta,
            posterior=posterior,
            log_beta=beta.log(),
            log_posterior=logged.log(),
            last=last,
        )

    @staticmethod
    def floor(first: Float[Tensor, ""], second: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Return the posterior variance from the second time of a chain to the first.

        Args:
            first: alpha^2 at the chain's least noisy time.
            second: alpha^2 at the time after it.
        """
        return (1 - second / first) * (1 - first) / (1 - second)

    def like(self, x: Float[Tensor, "b ..."]) -> "Transition":
        """Return the step shaped (b, 1, ...), in the dtype and on the device of `x`."""
        shape = (-1, *(1,) * (x.dim() - 1))

        def fit(each: Tensor) -> Tensor:
            dtype = x.dtype if each.is_floating_point() else each.dtype
            return each.reshape(shape).to(x.device, dtype)

        return Transition(*(fit(getattr(self, name)) for name in self.__dataclass_fields__))

    def __getitem__(self, index: int) -> "Transition":
        """Return one step of several; its numbers are 0-dimensional and broadcast with any x."""
        return Transition(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def mean(self, x0: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return the mean of x_s given x0 and x_t."""
        return self.coef_x0 * x0 + self.coef_x * x

    def log_variance(self, mix: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Interpolate the log variance: 0 is the posterior's, 1 is log beta."""
        return mix * self.log_beta + (1 - mix) * self.log_posterior
