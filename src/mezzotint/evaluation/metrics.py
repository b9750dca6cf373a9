"""Metrics as objects: each says how samples compare with real images, in one feature space.

The same object, given two parts of the real images, says what no sampler need beat: the floor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from mezzotint.data.images import spread
from mezzotint.errors import DataError
from mezzotint.evaluation.extract import Extracted, Group
from mezzotint.evaluation.frechet import frechet
from mezzotint.evaluation.kernel import kernel_distance
from mezzotint.evaluation.moments import Moments
from mezzotint.evaluation.neighbours import density_coverage, precision_recall
from mezzotint.evaluation.record import Score
from mezzotint.evaluation.scores import Shuffled, Splitting, inception_score


@dataclass(frozen=True)
class Side:
    """One set of images as the metrics see it.

    Attributes:
        name: for error messages.
        extracted: the rows; None where a reference file holds statistics alone.
        known: moments that need no rows, by the name of their space: "features", "spatial".
    """

    name: str
    extracted: Extracted | None
    known: dict[str, Moments]

    @classmethod
    def of(cls, name: str, extracted: Extracted, group: Group) -> "Side":
        """Take the moments of every space, each process those of its share of the rows.

        Raises:
            DataError: every feature is constant.
        """
        known = {}
        for space, rows in _spaces(extracted):
            share = rows[group.rank :: group.count]
            known[space] = Moments.of(share).reduced(group.total)
            known[space].check(f"{name}, {space}")
        return cls(name, extracted, known)

    @cached_property
    def rows(self) -> Extracted:
        """The rows.

        Raises:
            DataError: there are only statistics.
        """
        if self.extracted is None:
            raise DataError(f"{self.name}: statistics alone; this metric needs the pictures")
        return self.extracted


def _spaces(extracted: Extracted) -> Iterator[tuple[str, Float[Tensor, "n d"]]]:
    yield "features", extracted.features
    if extracted.spatial is not None:
        yield "spatial", extracted.spatial


class Metric(Protocol):
    """A comparison of samples with real images."""

    def __call__(self, samples: Side, real: Side) -> Iterator[Score]:
        """Yield one score or several that are made together."""
        ...


@dataclass(frozen=True)
class Frechet:
    """The Fréchet distance in one space.

    Attributes:
        name: "FID" and "sFID" for Inception alone, else "FD-" and the extractor.
        space: "features" or "spatial".
    """

    name: str
    space: str = "features"

    def __call__(self, samples: Side, real: Side) -> Iterator[Score]:
        """Yield the distance."""
        value = frechet(samples.known[self.space], real.known[self.space])
        yield Score(self.name, value, lower_is_better=True)


@dataclass(frozen=True)
class Kernel:
    """The kernel distance, with a bootstrap interval.

    Attributes:
        name: "KID" for Inception alone, else "KID-" and the extractor.
        seed: of the bootstrap.
    """

    name: str
    seed: int = 0

    def __call__(self, samples: Side, real: Side) -> Iterator[Score]:
        """Yield the distance."""
        found = kernel_distance(samples.rows.features, real.rows.features, seed=self.seed)
        yield Score(self.name, found.value, low=found.low, high=found.high, lower_is_better=True)


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall by k nearest neighbours.

    Attributes:
        k: which neighbour sets the radius.
        reference: at most this many real images, spread over the set; ADM takes 10,000.
    """

    k: int = 3
    reference: int = 10_000

    def __call__(self, samples: Side, real: Side) -> Iterator[Score]:
        """Yield precision, then recall."""
        some = _some(real, self.reference)
        found = precision_recall(samples.rows.features, some, k=self.k)
        yield Score("precision", found.precision, lower_is_better=False)
        yield Score("recall", found.recall, lower_is_better=False)


@dataclass(frozen=True)
class DensityCoverage:
    """Density and coverage by k nearest neighbours of the real images.

    Attributes:
        k: which neighbour sets the radius.
        reference: at most this many real images, spread over the set.
    """

    k: int = 5
    reference: int = 10_000

    def __call__(self, samples: Side, real: Side) -> Iterator[Score]:
        """Yield density, then coverage."""
        some = _some(real, self.reference)
        found = density_coverage(samples.rows.features, some, k=self.k)
        yield Score("density", found.density, lower_is_better=False)
        yield Score("coverage", found.coverage, lower_is_better=False)


@dataclass(frozen=True)
class InceptionScore:
    """How sure a classifier is of each image and how various it finds them all.

    Attributes:
        name: "IS" for Inception alone, else "IS-" and the extractor.
        splitting: which images are averaged over together.
    """

    name: str
    splitting: Splitting = Shuffled(1)

    def __call__(self, samples: Side, real: Side) -> Iterator[Score]:  # noqa: ARG002 (of one set)
        """Yield the score; it looks at the samples alone."""
        logits = samples.rows.logits
        assert logits is not None, f"{self.name} needs an extractor with logits"
        found = inception_score(logits, self.splitting)
        yield Score(self.name, found.mean, lower_is_better=False, note=str(self.splitting))


def _some(real: Side, count: int) -> Float[Tensor, "m d"]:
    """Return the features of at most `count` real images; a set that is small stays mapped."""
    features = real.rows.features
    return features if len(features) <= count else features[spread(len(features), count)]


__all__ = [
    "DensityCoverage",
    "Frechet",
    "InceptionScore",
    "Kernel",
    "Metric",
    "PrecisionRecall",
    "Side",
]
