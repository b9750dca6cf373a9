"""Paths from data to noise: x_t = alpha(t) x0 + sigma(t) eps, with t = 0 clean and t = 1 noise.

A path owns the scales, their rates, and the clock that the network reads. Time is float64 on the
CPU; only `at` and `network_time` move anything to a device. A discrete chain of N steps puts its
index k at t = (k + 1) / N, so t = 0 is the clean end with alpha 1.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.config import part
from mezzotint.diffusion.betas import LinearBetas, Schedule
from mezzotint.diffusion.transition import Transition

CLEAN: Final = 1e-5
"""Least time of training in continuous time; SiT's for its variance-preserving path."""


class Scales(NamedTuple):
    """alpha, sigma and their rates d/dt at some times; those that `at` returns broadcast with x."""

    alpha: Float[Tensor, "..."]
    sigma: Float[Tensor, "..."]
    d_alpha: Float[Tensor, "..."]
    d_sigma: Float[Tensor, "..."]

    def like(self, x: Float[Tensor, "b ..."]) -> "Scales":
        """Return the scales shaped (b, 1, ...), in the dtype and on the device of `x`."""
        shape = (-1, *(1,) * (x.dim() - 1))
        exact = (*self, 1 / self.alpha, self.sigma / self.alpha)
        *four, inverse, ratio = (each.view(shape).to(x.device, x.dtype) for each in exact)
        rounded = Rounded(*four)
        rounded.inverse, rounded.ratio = inverse, ratio
        return rounded

    def clean(
        self, x: Float[Tensor, "b ..."], eps: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b ..."]:
        """Return x0 = x / alpha - (sigma / alpha) eps."""
        return x / self.alpha - self.sigma / self.alpha * eps


class Rounded(Scales):
    """Scales in the dtype of x, whose quotients were rounded once, as the releases' are.

    Near the noisy end of a chain 1 / alpha is above 100, and carries a rounding of alpha along.

    Attributes:
        inverse, ratio: 1 / alpha and sigma / alpha.
    """

    inverse: Float[Tensor, "..."]
    ratio: Float[Tensor, "..."]

    def clean(
        self, x: Float[Tensor, "b ..."], eps: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b ..."]:
        """Return x0 = x / alpha - (sigma / alpha) eps."""
        return self.inverse * x - self.ratio * eps


@runtime_checkable
class Path(Protocol):
    """How data turns into noise, and what the network is told about it."""

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`, in float64 on the CPU."""
        ...

    def at(self, t: Float[Tensor, "b"], like: Float[Tensor, "b ..."]) -> Scales:
        """Return the scales at `t`, broadcast with `like`, in its dtype and on its device."""
        ...

    def network_time(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return what the network reads as time."""
        ...

    def time_of(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the time at which log(alpha / sigma) equals `log_snr`."""
        ...

    def snap(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the times that training may use: of the chain's steps, or `t` itself."""
        ...

    def step(self, t: Float[Tensor, "b"]) -> Transition | None:
        """Return the reverse step from `t` to the time before, where the path is a chain."""
        ...


class Scaled:
    """What all paths share: scales broadcast with x."""

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`, in float64 on the CPU."""
        raise NotImplementedError

    def at(self, t: Float[Tensor, "b"], like: Float[Tensor, "b ..."]) -> Scales:
        """Return the scales at `t`, broadcast with `like`, in its dtype and on its device."""
        return self.scales(t).like(like)

    def snap(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return `t`, kept off the clean end, where rates and signal-to-noise are infinite."""
        return t.clamp(min=CLEAN)

    def step(self, t: Float[Tensor, "b"]) -> Transition | None:  # noqa: ARG002 (a chain's business)
        """Return None: in continuous time there is no time before."""
        return None


def log_snr(path: Path, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Return lambda(t) = log(alpha / sigma), the half log signal-to-noise ratio."""
    scales = path.scales(t)
    return scales.alpha.log() - scales.sigma.log()


@dataclass(frozen=True)
class Clocked(Scaled):
    """A path in continuous time whose network reads a multiple of t, or of 1 - t.

    Args:
        clock: network time at the noisy end; the clean end is 0.
        reverse_clock: swap the ends, so that network time is `clock` (1 - t); SiT reads 1 - t.
    """

    clock: float = 1000.0
    reverse_clock: bool = False

    def network_time(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return `clock` t, or `clock` (1 - t) under a reversed clock."""
        return self.clock * (1 - t.double() if self.reverse_clock else t.double())


@dataclass(frozen=True)
class DiscreteVP(Scaled):
    """The variance-preserving chain of DDPM: alpha^2 = prod(1 - beta), sigma^2 = 1 - alpha^2.

    Between its steps log alpha is linear in t, and so it is beyond the first one.

    Args:
        schedule: the variances.
        steps: length N of the chain.
        clock_shift: the network reads k + `clock_shift` at index k: 0 for DiT, 1 for latent U-ViT.
    """

    schedule: Annotated[Schedule, part("schedule")] = LinearBetas()
    steps: int = 1000
    clock_shift: float = 0.0

    def __post_init__(self) -> None:
        with torch.device("cpu"):  # a config may be read where nothing has values
            betas = self.schedule.betas(self.steps)
        if self.steps < 1 or not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError(
                f"a chain of {self.steps} steps has variances outside (0, 1]; take more steps"
            )

    @cached_property
    def signal(self) -> Float[Tensor, "edges"]:
        """alpha^2 at t = 0, 1/N, ..., 1, in float64 (the field's alphas_cumprod after a 1)."""
        betas = self.schedule.betas(self.steps)
        return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])

    @cached_property
    def log_alphas(self) -> Float[Tensor, "edges"]:
        """log alpha at t = 0, 1/N, ..., 1, in float64."""
        return self.signal.log() / 2

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`, in float64 on the CPU."""
        place = self._place(t)
        low = place.floor().clamp(0, self.steps - 1).long()
        slope = self.log_alphas[low + 1] - self.log_alphas[low]
        log_alpha = self.log_alphas[low] + (place - low) * slope
        return _variance_preserving(log_alpha, slope * self.steps)

    def _place(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return t N, exact where t is a quotient k / N that lost its last bits."""
        place = t.double() * self.steps
        return torch.where((place - place.round()).abs() < 1e-9, place.round(), place)

    def snap(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the first time of the chain that is not before `t`."""
        return self._place(t).ceil().clamp(1, self.steps) / self.steps

    def step(self, t: Float[Tensor, "b"]) -> Transition:
        """Return the reverse step from `t` to the time before."""
        index = self._place(t).long()
        floor = Transition.floor(self.signal[1], self.signal[2]) if self.steps > 1 else 0.0
        return Transition.between(self.signal[index], self.signal[index - 1], floor)

    def network_time(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the index of `t` in the chain, k + `clock_shift`; fractional between steps."""
        return self._place(t) - 1 + self.clock_shift

    def time_of(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the time at which log(alpha / sigma) equals `log_snr`."""
        wanted = -torch.nn.functional.softplus(-2 * log_snr.double()) / 2
        # log alpha falls with t; searching its negative gives the step that holds `wanted`.
        high = torch.searchsorted(-self.log_alphas, -wanted).clamp(1, self.steps)
        low = high - 1
        slope = self.log_alphas[high] - self.log_alphas[low]
        return (low + (wanted - self.log_alphas[low]) / slope) / self.steps


@dataclass(frozen=True)
class ContinuousVP(Clocked):
    """The variance-preserving process with beta(t) = `first` + t (`last` - `first`).

    log alpha = -(t^2 (last - first) / 4 + t first / 2). Song et al., arXiv 2011.13456, eq. 33.

    Args:
        first: rate at the clean end.
        last: rate at the noisy end.
    """

    clock: float = 999.0
    first: float = 0.1
    last: float = 20.0

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`, in float64 on the CPU."""
        t = t.double()
        log_alpha = -(t**2 * (self.last - self.first) / 4 + t * self.first / 2)
        return _variance_preserving(log_alpha, -(t * (self.last - self.first) + self.first) / 2)

    def time_of(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the time at which log(alpha / sigma) equals `log_snr`."""
        rise = self.last - self.first
        gone = 2 * rise * torch.nn.functional.softplus(-2 * log_snr.double())
        return gone / (torch.sqrt(self.first**2 + gone) + self.first) / rise


@dataclass(frozen=True)
class Linear(Clocked):
    """The straight line: alpha = 1 - t, sigma = t (rectified flow, SiT's linear path)."""

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`, in float64 on the CPU."""
        t = t.double()
        one = torch.ones_like(t)
        return Scales(1 - t, t, -one, one)

    def time_of(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the time at which log(alpha / sigma) equals `log_snr`."""
        return torch.sigmoid(-log_snr.double())


@dataclass(frozen=True)
class Cosine(Clocked):
    """The quarter circle: alpha = cos(pi t / 2), sigma = sin(pi t / 2) (SiT's GVP path)."""

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`, in float64 on the CPU."""
        half_pi = math.pi / 2
        angle = t.double() * half_pi
        # cos(pi / 2) rounds to 6e-17; the sine of the complement keeps alpha(1) = 0 exactly.
        alpha, sigma = torch.sin((1 - t.double()) * half_pi), torch.sin(angle)
        return Scales(alpha, sigma, -half_pi * sigma, half_pi * alpha)

    def time_of(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the time at which log(alpha / sigma) equals `log_snr`."""
        return torch.atan(torch.exp(-log_snr.double())) * (2 / math.pi)


def _variance_preserving(log_alpha: Float[Tensor, "b"], d_log_alpha: Float[Tensor, "b"]) -> Scales:
    """Complete log alpha and its rate to the scales with alpha^2 + sigma^2 = 1."""
    alpha = log_alpha.exp()
    sigma = torch.sqrt(-torch.expm1(2 * log_alpha))
    d_alpha = alpha * d_log_alpha
    # sigma' = -alpha alpha' / sigma; at the clean end it is infinite, and nobody asks for it.
    return Scales(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)
