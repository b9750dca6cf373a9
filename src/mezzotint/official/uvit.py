"""U-ViT's release (baofff/U-ViT, arXiv 2209.12152): its noise schedules in its own arithmetic.

The solvers were run on schedules evaluated in float32, where lambda at small t suffers cancellation
(uvit.md, trap 8). `single` switches that arithmetic on; without it the same curves are float64.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.betas import ScaledLinearBetas
from mezzotint.diffusion.paths import Clocked, Scales

SD_STEPS: Final = 1000
LATEST_COSINE: Final = 0.9946  # later, the cosine schedule has no signal left for the solver


@dataclass(frozen=True)
class Rounded(Clocked):
    """A variance-preserving path given by log alpha, evaluated in float32 or float64.

    Args:
        single: compute as the release does, in float32 and without guarding small differences.
    """

    clock: float = 1000.0
    single: bool = True

    def _log_alpha(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        raise NotImplementedError

    def _time_at(self, log_alpha: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        raise NotImplementedError

    def _cast(self, values: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        return values.to(torch.float32 if self.single else torch.float64)

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`; the rates by central differences."""
        log_alpha = self._log_alpha(self._cast(t))
        sigma = torch.sqrt(1 - torch.exp(2 * log_alpha)).double()
        alpha = log_alpha.exp().double()
        step = 1e-4
        ahead, back = (self._log_alpha(t.double() + h) for h in (step, -step))
        d_alpha = alpha * (ahead - back).double() / (2 * step)
        return Scales(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)

    def log_snr(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return lambda as the release computes it: log alpha - log(1 - alpha^2) / 2."""
        log_alpha = self._log_alpha(self._cast(t))
        return log_alpha - 0.5 * torch.log(1 - torch.exp(2 * log_alpha))

    def time_of(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the time at which log(alpha / sigma) equals `log_snr`."""
        log_snr = self._cast(log_snr)
        return self._time_at(-0.5 * torch.logaddexp(-2 * log_snr, torch.zeros_like(log_snr)))


@dataclass(frozen=True)
class DiscreteSD(Rounded):
    """Stable Diffusion's chain of 1000 steps: log alpha is linear between knots and beyond them."""

    @cached_property
    def _knots(self) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        betas = self._cast(ScaledLinearBetas().betas(SD_STEPS))
        times = torch.linspace(0.0, 1.0, SD_STEPS + 1, dtype=betas.dtype)[1:]
        return times, 0.5 * torch.log(1 - betas).cumsum(0)

    def _log_alpha(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        times, values = self._knots
        return _interpolated(t.to(times), times, values)

    def _time_at(self, log_alpha: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        times, values = self._knots
        return _interpolated(log_alpha, values.flip(0), times.flip(0)).double()


@dataclass(frozen=True)
class LinearVP(Rounded):
    """beta(t) = 0.1 + 19.9 t."""

    clock: float = 999.0
    first: float = 0.1
    last: float = 20.0

    def _log_alpha(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        return -0.25 * t**2 * (self.last - self.first) - 0.5 * t * self.first

    def _time_at(self, log_alpha: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        rise = self.last - self.first
        gone = -4 * rise * log_alpha
        return (gone / (torch.sqrt(self.first**2 + gone) + self.first) / rise).double()


@dataclass(frozen=True)
class CosineVP(Rounded):
    """log alpha = log cos((t + s) / (1 + s) pi / 2), less its value at 0; s = 0.008."""

    offset: float = 0.008

    @property
    def _base(self) -> float:
        return math.log(math.cos(self.offset / (1 + self.offset) * math.pi / 2))

    def _log_alpha(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        angle = (t + self.offset) / (1 + self.offset) * math.pi / 2
        return torch.log(torch.cos(angle)) - self._base

    def _time_at(self, log_alpha: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        angle = torch.arccos(torch.exp(log_alpha + self._base))
        return (angle * 2 * (1 + self.offset) / math.pi - self.offset).double()


def _interpolated(
    x: Float[Tensor, "b"], knots: Float[Tensor, "n"], values: Float[Tensor, "n"]
) -> Float[Tensor, "b"]:
    """Return the piecewise linear function through the knots, extended beyond them."""
    high = torch.searchsorted(knots.contiguous(), x.contiguous()).clamp(1, len(knots) - 1)
    low = high - 1
    slope = (values[high] - values[low]) / (knots[high] - knots[low])
    return values[low] + (x - knots[low]) * slope
