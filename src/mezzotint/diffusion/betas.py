"""The variances of discrete chains, step by step; what a chain makes of them is in `paths`."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Schedule(Protocol):
    """The variances beta_k of a discrete chain, from the least noisy step on."""

    def betas(self, steps: int) -> Float[Tensor, "n"]:
        """Return `steps` variances in float64."""
        ...


@dataclass(frozen=True)
class LinearBetas:
    """beta from `first` to `last`, scaled so that any number of steps ends equally noisy (DDPM)."""

    first: float = 1e-4
    last: float = 0.02

    def betas(self, steps: int) -> Float[Tensor, "n"]:
        """Return `steps` variances in float64."""
        scale = 1000 / steps
        return torch.linspace(self.first * scale, self.last * scale, steps, dtype=torch.float64)


@dataclass(frozen=True)
class ScaledLinearBetas:
    """sqrt(beta) linear from sqrt(`first`) to sqrt(`last`) (latent diffusion)."""

    first: float = 0.00085
    last: float = 0.012

    def betas(self, steps: int) -> Float[Tensor, "n"]:
        """Return `steps` variances in float64."""
        ends = math.sqrt(self.first), math.sqrt(self.last)
        return torch.linspace(*ends, steps, dtype=torch.float64) ** 2


@dataclass(frozen=True)
class CosineBetas:
    """abar(u) = cos^2((u + 0.008) / 1.008 pi / 2), each beta capped at `cap` (improved DDPM)."""

    cap: float = 0.999

    def betas(self, steps: int) -> Float[Tensor, "n"]:
        """Return `steps` variances in float64."""
        edges = ((k / steps + 0.008) / 1.008 * math.pi / 2 for k in range(steps + 1))
        # By `math`, as the release: torch.cos may differ in the last bit, which 1 - ratio enlarges.
        signal = torch.tensor([math.cos(edge) ** 2 for edge in edges], dtype=torch.float64)
        return (1 - signal[1:] / signal[:-1]).clamp(max=self.cap)
