"""What a run is watched by: loss by noise level, and the loss on held-out images at fixed noise."""

from dataclasses import dataclass, field
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mezzotint.data.images import Images
from mezzotint.data.loader import Batch
from mezzotint.noise import SeededNoise, mix
from mezzotint.training.loop import State
from mezzotint.training.objectives import Denoising

BINS: Final = 5


def _bin(t: Float[Tensor, "b"]) -> Int[Tensor, "b"]:
    return (t * BINS).ceil().long().clamp(1, BINS) - 1


def by_level(each: Float[Tensor, "b"], t: Float[Tensor, "b"]) -> list[float | None]:
    """Return the mean loss in each fifth of (0, 1], from clean to noisy; None where none fell."""
    place = _bin(t)
    inside = [each[place == index] for index in range(BINS)]
    return [float(rows.mean()) if len(rows) else None for rows in inside]


@dataclass
class Window:
    """Sums since the last log line; small enough to travel in a checkpoint."""

    steps: int = 0
    skipped: int = 0
    loss: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0] * BINS)
    counts: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, state: State) -> None:
        """Take a step in; a skipped one is counted and no more."""
        self.skipped += state.skipped
        if state.skipped:
            return
        self.steps += 1
        self.loss += state.loss
        place = _bin(state.t)
        for index in range(BINS):
            rows = state.each[place == index]
            self.sums[index] += float(rows.sum())
            self.counts[index] += len(rows)

    def summary(self) -> dict[str, Any]:
        """Return the means."""
        levels = [s / n if n else None for s, n in zip(self.sums, self.counts, strict=True)]
        loss = self.loss / self.steps if self.steps else None
        return {"loss": loss, "loss_by_level": levels, "skipped": self.skipped}


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
        count = min(self.count, len(self.images))
        rows = torch.arange(count) * len(self.images) // max(count, 1)
        spread = torch.arange(count, dtype=torch.float64) * 0.6180339887498949 % 1
        times = objective.times(spread)
        parts = [
            self._part(objective, rows[first : first + self.batch], times[first:], first)
            for first in range(0, count, self.batch)
        ]
        each = torch.cat([part for part, _ in parts])
        t = torch.cat([t for _, t in parts])
        return {"held_out": float(each.mean()), "held_out_by_level": by_level(each, t)}

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
