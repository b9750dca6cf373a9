"""Weights over time for a prediction's loss, one number an example, from the path's scales."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.paths import Scales


@runtime_checkable
class Weighting(Protocol):
    """A weight over time for a prediction's loss."""

    def __call__(self, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return one weight an example, shaped like the scales."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Weight 1 at all times."""

    def __call__(self, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return ones."""
        return torch.ones_like(scales.alpha)


@dataclass(frozen=True)
class VelocitySpace:
    """Turn an x0 error into a velocity error: (alpha' - sigma' alpha / sigma)^2, with a floor.

    On the linear path it is 1 / t^2.

    Args:
        floor: smallest sigma that divides, so that nearly clean examples do not drown the rest.
    """

    floor: float = 0.05

    def __call__(self, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return the squared factor."""
        sigma = scales.sigma.clamp(min=self.floor)
        return ((scales.d_alpha * sigma - scales.d_sigma * scales.alpha) / sigma) ** 2


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, gamma) for an x0 loss (Hang et al., arXiv 2303.09556)."""

    gamma: float = 5.0

    def __call__(self, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return the clamped signal-to-noise ratio."""
        return ((scales.alpha / scales.sigma) ** 2).clamp(max=self.gamma)


@dataclass(frozen=True)
class ScoreToVelocity:
    """Turn an eps or score error into a velocity error: (g / sigma)^2 (SiT's "velocity").

    g = sigma sigma' - sigma^2 alpha' / alpha
    """

    def __call__(self, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return the squared factor."""
        return (_diffusion(scales) / scales.sigma) ** 2


@dataclass(frozen=True)
class Likelihood:
    """g / sigma^2, which bounds the likelihood (SiT's "likelihood"; Song et al., 2101.09258)."""

    def __call__(self, scales: Scales) -> Float[Tensor, "b ..."]:
        """Return the weight."""
        return _diffusion(scales) / scales.sigma**2


def _diffusion(scales: Scales) -> Float[Tensor, "b ..."]:
    return scales.sigma * scales.d_sigma - scales.sigma**2 * scales.d_alpha / scales.alpha
