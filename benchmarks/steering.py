"""What the studies of guidance share: samples judged by a classifier that never steered."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mezzotint.classifier import Classifier
from mezzotint.data.images import Images, spread
from mezzotint.diffusion.critics import Critic
from mezzotint.diffusion.paths import Path
from mezzotint.draws import apportioned
from mezzotint.evaluation.frechet import frechet_rows
from mezzotint.evaluation.neighbours import precision_recall
from mezzotint.generator import Generator
from mezzotint.noise import SeededNoise, mix

LEVELS = 5


@dataclass(frozen=True)
class Panel:
    """A judge, and real images to compare with.

    Args:
        judge: another network than whatever steered.
        real: labelled images, all of the generator's training set.
    """

    judge: Classifier
    real: Images

    @cached_property
    def features(self) -> Tensor:
        rows = torch.arange(len(self.real))
        return torch.cat([self.judge.features(self.real.read(part)) for part in rows.split(256)])

    def figures(self, made: Generator, count: int, seed: int) -> dict[str, float]:
        """Draw `count` images with the classes' real shares; return what the judge says of them."""
        real = torch.bincount(self.real.labels, minlength=len(self.real.classes)).tolist()
        labels = apportioned([real[self.real.classes.index(k)] for k in made.classes], count)
        names = [self.judge.classes.index(name) for name in made.classes]
        features, right = [], []
        done = 0
        for images in made.stream(labels, range(seed, seed + count)):
            found, logits = self.judge.read(images)
            wanted = torch.tensor([names[k] for k in labels[done : done + len(images)]])
            features.append(found)
            right.append(logits.argmax(1) == wanted)
            done += len(images)
        rows = torch.cat(features)
        shares = precision_recall(rows, self.features)
        return {
            "accuracy": float(torch.cat(right).double().mean()),
            "fd": frechet_rows(self.features, rows),
            "precision": shares.precision,
            "recall": shares.recall,
        }


def by_noise(
    critic: Critic, path: Path, images: Images, count: int, classes: int, seed: int = 0
) -> list[float]:
    """Return a critic's accuracy on labelled images noised within each fifth of time."""
    rows = spread(len(images), count)
    found = []
    for level in range(LEVELS):
        right = []
        for part in rows.split(64):
            noise = SeededNoise([mix(seed, level, int(row)) for row in part])
            x0 = images.read(part).float() / 127.5 - 1
            t = path.snap((level + 1 - noise.uniform()) / LEVELS)
            scales = path.at(t, x0)
            x = scales.alpha * x0 + scales.sigma * noise(x0)
            with torch.no_grad():
                each = [critic(x, t, torch.full((len(x),), k)) for k in range(classes)]
            right.append(torch.stack(each, 1).argmax(1) == images.labels[part])
        found.append(float(torch.cat(right).double().mean()))
    return found


def mean_of(figures: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Return one figure of several seeds."""
    return [each[name] for each in figures]
