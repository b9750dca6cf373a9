"""Training with a teacher: the student's own loss, and how far it is from a frozen network.

    loss + noise |mean_T - mean_S|^2 + variance |v_T - v_S|^2

LiT, arXiv 2501.12976, with weights 0.5 and 0.05; v are the raw variance channels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mezzotint.config import Config
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.predictions import (
    FixedRange,
    Leading,
    LearnedRange,
    Prediction,
    Truth,
)
from mezzotint.training.distillation import WEIGHTS, variance_term
from mezzotint.training.objectives import Denoising


class Teacher(Config):
    """Whom a run learns from, beside the data.

    Attributes:
        source: a zoo name, a run or model folder, or a .safetensors file.
        noise: weight of the difference of the means, 0 or more.
        variance: weight of the difference of the variance channels; nothing where none are learned.
        digest: of the teacher's weights and architecture; filled in when a recipe is resolved, so
            that a run cannot go on with another one.
        parameters, multiply_adds: what the teacher costs an evaluation of one image; filled in.
        seen: images that it had seen in its own training; filled in, None where nobody knows.
    """

    source: str
    noise: float = Field(default=WEIGHTS[0], ge=0)
    variance: float = Field(default=WEIGHTS[1], ge=0)
    digest: str | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    seen: int | None = None


@dataclass(frozen=True, kw_only=True)
class Distilled(Denoising):
    """The loss of a denoiser, and its distance from a teacher at the same x_t, t and y.

    The distance of the means is the student's own loss with the teacher's estimate in the place
    of the truth: for noise, weighted uniformly, that is the published squared difference; for any
    other prediction it is in the space and weighting of the loss it is added to, so that its
    weight means the same. A difference of the noise itself would grow without bound towards t = 0
    for a network that predicts the clean image.

    Args:
        teacher: frozen; on the student's path, of its classes and latents.
        noise: weight of the means' distance.
        variance: weight of the distance of the variance channels, where there are some.
    """

    teacher: NetworkDenoiser
    noise: float = WEIGHTS[0]
    variance: float = WEIGHTS[1]

    def score(
        self, out: Any, truth: Truth, t: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Add the teacher's terms to the student's own loss."""
        with torch.no_grad():
            taught = self.teacher.outputs(truth.x, t, y)
            estimate = self.teacher.prediction.estimate(taught, truth.x, truth.scales)
        own = self.denoiser.prediction
        shown = truth._replace(x0=estimate.x0, eps=estimate.eps)
        channels = truth.x.shape[1]
        loss = super().score(out, truth, t, y)
        if isinstance(own, LearnedRange):
            loss = loss + self.variance * variance_term(out, taught, channels)
        return loss + self.noise * mean_of(own).loss(_leading(own, out, channels), shown)


def mean_of(prediction: Prediction) -> Prediction:
    """Return how the mean alone is read: a prediction without its variance or bound."""
    if isinstance(prediction, LearnedRange | FixedRange):
        return mean_of(prediction.mean)
    return mean_of(prediction.inner) if isinstance(prediction, Leading) else prediction


def _leading(prediction: Prediction, out: Any, channels: int) -> Any:
    return out[:, :channels] if isinstance(prediction, LearnedRange | Leading) else out


__all__ = ["Distilled", "Teacher", "mean_of"]
