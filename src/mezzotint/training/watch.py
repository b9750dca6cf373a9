"""What a run is watched by: the loss by group, and what held-out images say.

The groups are fifths of the noise levels for a denoiser, and the classes for a classifier.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mezzotint.classifier import Classifier, Confusion
from mezzotint.data.images import Images, spread
from mezzotint.data.loader import Batch
from mezzotint.noise import SeededNoise, mix
from mezzotint.training.loop import State
from mezzotint.training.objectives import LEVELS, Denoising, Groups, level


def by_group(each: Float[Tensor, "b"], group: Int[Tensor, "b"], count: int) -> list[float | None]:
    """Return the mean loss in each of `count` groups; None where no image fell."""
    inside = [each[group == index] for index in range(count)]
    return [float(rows.mean()) if len(rows) else None for rows in inside]


@dataclass
class Window:
    """Sums since the last log line; small enough to travel in a checkpoint.

    Attributes:
        sums, counts: of the losses in each group.
    """

    sums: list[float]
    counts: list[int]
    steps: int = 0
    skipped: int = 0
    loss: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, count: int) -> "Window":
        """Return an empty one for `count` groups."""
        return cls([0.0] * count, [0] * count)

    def add(self, state: State) -> None:
        """Take a step in; a skipped one is counted and no more."""
        self.skipped += state.skipped
        if state.skipped:
            return
        self.steps += 1
        self.loss += state.loss
        for name, value in state.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value
        for index in range(len(self.sums)):
            rows = state.each[state.group == index]
            self.sums[index] += float(rows.sum())
            self.counts[index] += len(rows)

    def summary(self, groups: Groups) -> dict[str, Any]:
        """Return the means."""
        means = [s / n if n else None for s, n in zip(self.sums, self.counts, strict=True)]
        loss = self.loss / self.steps if self.steps else None
        parts = {f"loss_{name}": value / self.steps for name, value in self.parts.items()}
        return {"loss": loss, **parts, f"loss_by_{groups.by}": means, "skipped": self.skipped}


@dataclass(frozen=True)
class HeldOut:
    """The loss on images that are never trained on, at times and noise that never change.

    The times are spread evenly over the law by which the run draws its own, so that this loss and
    the training loss can be compared.

    Args:
        images: the held-out images.
        count: how many are looked at, spread over the set.
        batch: images at a time.
        seed: of the noise.
    """

    images: Images
    count: int
    batch: int
    seed: int

    @torch.no_grad()
    def loss(self, objective: Denoising) -> dict[str, Any]:
        """Return the mean loss and that of each fifth of the noise levels."""
        rows = spread(len(self.images), self.count)
        count = len(rows)
        times = objective.times(torch.arange(count, dtype=torch.float64) * 0.6180339887498949 % 1)
        parts = [
            self._part(objective, rows[first : first + self.batch], times[first:], first)
            for first in range(0, count, self.batch)
        ]
        each = torch.cat([part for part, _ in parts])
        t = torch.cat([t for _, t in parts])
        by_level = by_group(each, level(t), LEVELS)
        return {"held_out": float(each.mean()), "held_out_by_level": by_level}

    def _part(
        self,
        objective: Denoising,
        rows: Int[Tensor, "b"],
        times: Float[Tensor, "n"],
        first: int,
    ) -> tuple[Tensor, Tensor]:
        seeds = [mix(self.seed, 5, first + k) for k in range(len(rows))]
        batch = Batch(self.images.read(rows), self.images.labels[rows], seeds)
        t = objective.denoiser.path.snap(times[: len(rows)])
        loss = objective.at(batch, t, batch.y, SeededNoise(seeds))
        return loss.each.float().cpu(), t


def accuracy(classifier: Classifier, images: Images, count: int) -> dict[str, Any]:
    """Return how a classifier does on up to `count` held-out images, as it will judge."""
    table = Confusion.of(classifier, images, spread(len(images), count))
    return {
        "held_out": table.loss,
        "held_out_accuracy": table.accuracy,
        "held_out_mean_accuracy": table.mean_accuracy,
        "held_out_by_class": table.by_class,
    }
