"""Priors of codes: from a code to a more likely one, for Langevin chains.

    R(h) - h is about sigma^2 d log p(h) / dh

Alain & Bengio, arXiv 1211.4246: what a denoiser does to h tells the slope of log p.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.errors import ConfigError


class Once:
    """A generator that keeps its last answer, so that prior and critic share one pass.

    Args:
        generator: from codes to images.
    """

    def __init__(self, generator: Callable[[Tensor], Tensor]) -> None:
        self.generator = generator
        self._codes: Tensor | None = None
        self._images: Tensor | None = None

    def __call__(self, codes: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return images; for the very same tensor the same ones again."""
        images = self._images
        graph = torch.is_grad_enabled() and codes.requires_grad
        if images is None or codes is not self._codes or (graph and not images.requires_grad):
            images = self.generator(codes)
            self._codes, self._images = codes, images
        return images


@dataclass(frozen=True)
class Reconstruction:
    """R(h) = E(G(h)): the generator and a frozen encoder are the denoising autoencoder.

    Args:
        generator: G, from codes to images.
        encoder: E, from images to codes.
    """

    generator: Callable[[Tensor], Tensor]
    encoder: Callable[[Tensor], Tensor]

    def __call__(self, codes: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Encode what is made of the codes."""
        return self.encoder(self.generator(codes))


@dataclass(frozen=True)
class DenoiserPrior:
    """Any denoiser at one low noise level: R(h) = x0(alpha h, t, y).

    A code is taken for a clean one plus noise of deviation `sigma` = sigma(t) / alpha(t).

    Args:
        denoiser: of a generator whose latents the codes are.
        t: its noise level, in (0, 1).
        y: class that it is asked for; the null class for a prior without one.
    """

    denoiser: Denoiser
    t: float
    y: int

    def __post_init__(self) -> None:
        if not 0 < self.t < 1:
            raise ConfigError(f"the prior's noise level t is {self.t:g}, expected 0 < t < 1")

    @property
    def sigma(self) -> float:
        """Deviation of the noise that it takes away, on the scale of codes."""
        at = self.denoiser.path.at(self._times(1), torch.ones(1, 1, dtype=torch.float64))
        return float(at.sigma / at.alpha)

    def __call__(self, codes: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return the codes with that noise taken away."""
        t = self._times(len(codes))
        y = torch.full((len(codes),), self.y, dtype=torch.int64, device=codes.device)
        return self.denoiser(self.denoiser.path.at(t, codes).alpha * codes, t, y).x0

    def _times(self, count: int) -> Float[Tensor, "b"]:
        return self.denoiser.path.snap(torch.full((count,), self.t, dtype=torch.float64))


__all__ = ["DenoiserPrior", "Once", "Reconstruction"]
