"""The loss of a noise-aware classifier: cross-entropy at a time that is drawn for each image.

    -log p(y | x_t),    x_t = alpha x0 + sigma eps

Dhariwal & Nichol, arXiv 2105.05233, section 4.1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mezzotint.config import part
from mezzotint.data.loader import Batch
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.times import Times, UniformTimes
from mezzotint.noise import SeededNoise
from mezzotint.training.objectives import (
    LEVELS,
    Classifying,
    Groups,
    Loss,
    level,
)
from mezzotint.training.plan import ClassifyingPlan


@dataclass(frozen=True)
class TimesBetween:
    """All times of one stretch alike: an expert's own range, (low, high].

    Args:
        low, high: ends of the range, 0 <= low < high <= 1.
    """

    low: Annotated[float, Field(ge=0, lt=1)] = 0.0
    high: Annotated[float, Field(gt=0, le=1)] = 1.0

    def __call__(self, uniform: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Map [0, 1) to (low, high]."""
        return self.high - (self.high - self.low) * uniform


class NoisyPlan(ClassifyingPlan):
    """What a noise-aware classifier's run adds.

    Attributes:
        times: how training times are drawn.
    """

    times: Annotated[Times, part("times")] = UniformTimes()


@dataclass(frozen=True, kw_only=True)
class NoisyClassifying(Classifying):
    """The cross-entropy of a classifier on noised images.

    Args:
        reader: from (x_t, network time) to logits; takes the place of `network`.
        path: on which images are noised, and whose clock the network reads.
        times: how times are drawn.
    """

    reader: Callable[[Tensor, Tensor], Tensor]
    path: Path
    times: Times = UniformTimes()

    @property
    def groups(self) -> Groups:
        """The fifths of the noise levels."""
        return Groups("level", LEVELS)

    def __call__(self, batch: Batch) -> Loss:
        """Change each image and draw its time and noise from its own seed, and score it."""
        noise = SeededNoise(batch.seeds)
        x0 = self.tokenizer.latents(self.tokenizer.encode(batch.images.to(self.device)), noise)
        for augmentation in self.augmentations:
            x0 = augmentation(x0, noise)
        t = self.path.snap(self.times(noise.uniform()))
        scales = self.path.at(t, x0)
        x = scales.alpha * x0 + scales.sigma * noise(x0)
        time = self.path.network_time(t).to(x.device, torch.float32)
        enabled = self.autocast is not None
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=enabled):
            logits = self.reader(x, time)
        each = self.entropy(logits, batch.y)
        return Loss(each.mean(), each.detach(), level(t))


__all__ = ["NoisyClassifying", "NoisyPlan", "TimesBetween"]
