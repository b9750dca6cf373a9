"""Objectives: what a batch costs. Denoising draws a time and noise, and scores the prediction."""

from dataclasses import dataclass, replace
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from torch import Tensor

from mezzotint.data.loader import Batch
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.predictions import Truth
from mezzotint.noise import Noise, SeededNoise
from mezzotint.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Loss:
    """What a batch costs.

    Attributes:
        total: the number to minimise.
        each: cost of each image, without gradient.
        t: the time drawn for each image.
    """

    total: Float[Tensor, ""]
    each: Float[Tensor, "b"]
    t: Float[Tensor, "b"]


class Objective(Protocol):
    """A function from a batch to its loss."""

    def __call__(self, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        ...


@runtime_checkable
class Times(Protocol):
    """How training times are drawn."""

    def __call__(self, uniform: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Turn uniform numbers in [0, 1) into times in (0, 1]."""
        ...


@dataclass(frozen=True)
class UniformTimes:
    """All times alike."""

    def __call__(self, uniform: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Map [0, 1) to (0, 1]."""
        return 1 - uniform


@dataclass(frozen=True)
class LogitNormalTimes:
    """logit(t) is normal: most of the training in the middle (Esser et al., arXiv 2403.03206)."""

    mean: float = 0.0
    deviation: Annotated[float, Field(gt=0)] = 1.0

    def __call__(self, uniform: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Map uniform numbers through the normal quantile and the sigmoid."""
        z = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
        return torch.sigmoid(self.mean + self.deviation * z)


@dataclass(frozen=True)
class Denoising:
    """The loss of a denoiser on noised images, with labels dropped at random.

    Args:
        denoiser: the denoiser to train.
        tokenizer: from images to latents.
        times: how times are drawn.
        drop: share of labels replaced by the null class, so that the model can be guided.
        null: the null class.
        flip: mirror half of the images.
    """

    denoiser: NetworkDenoiser
    tokenizer: Tokenizer
    times: Times
    drop: float
    null: int
    flip: bool = False

    def __call__(self, batch: Batch) -> Loss:
        """Draw time, dropped labels, mirroring and noise from each image's seed, and score."""
        noise = SeededNoise(batch.seeds)
        t = self.denoiser.path.snap(self.times(noise.uniform()))
        dropped = noise.uniform() < self.drop
        y = torch.where(dropped, self.null, batch.y)
        if self.flip:
            batch = replace(batch, images=_mirrored(batch.images, noise.uniform() < 0.5))
        return self.at(batch, t, y, noise)

    def at(
        self,
        batch: Batch,
        t: Float[Tensor, "b"],
        y: Int[Tensor, "b"],
        noise: Noise,
    ) -> Loss:
        """Score a batch at given times and labels."""
        device = next(self.denoiser.parameters()).device
        codes = self.tokenizer.encode(batch.images.to(device))
        x0 = self.tokenizer.latents(codes, noise)
        eps = noise(x0)
        path = self.denoiser.path
        scales = path.at(t, x0)
        x = scales.alpha * x0 + scales.sigma * eps
        step = path.step(t)
        truth = Truth(x0, eps, x, scales, None if step is None else step.like(x))
        out = self.denoiser.outputs(x, t, y.to(device))
        each = self.denoiser.prediction.loss(out, truth)
        return Loss(each.mean(), each.detach(), t)


def _mirrored(
    images: UInt8[Tensor, "b 3 h w"], which: Bool[Tensor, "b"]
) -> UInt8[Tensor, "b 3 h w"]:
    return torch.where(which[:, None, None, None], images.flip(3), images)
