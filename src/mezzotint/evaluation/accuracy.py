"""Whether samples show the class that was asked for, as a named classifier judges.

A judge is never the guide: samples that a classifier has steered please that classifier.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mezzotint.classifier import Confusion
from mezzotint.config import nearest
from mezzotint.errors import DataError, NumericError
from mezzotint.evaluation.frechet import frechet, frechet_rows
from mezzotint.evaluation.moments import Moments

BLOCK: Final = 16384
"""Rows of logits that are read at once."""


def accuracy(
    logits: Float[Tensor, "n k"], asked: Int64[Tensor, "n"], classes: Sequence[str]
) -> Confusion:
    """Count which classes a judge assigns to samples; the lowest id wins a tie.

    Args:
        logits: the judge's scores, a row a sample; may be memory-mapped.
        asked: the class each sample was drawn for, in the judge's numbers, see `judged`.
        classes: the judge's K names.

    Raises:
        DataError: there are no samples, or a label or name has no column.
        NumericError: a score is NaN.
    """
    count = logits.shape[1]
    if len(classes) != count:
        raise DataError(f"judge: {len(classes)} class names for {count} logits; one each expected")
    if not len(asked):
        raise DataError("class accuracy: no samples to judge; give at least one")
    if asked.min() < 0 or asked.max() >= count:
        wrong = int(asked.min() if asked.min() < 0 else asked.max())
        raise DataError(
            f"label {wrong}: expected 0 to {count - 1}, the judge's numbers; see judged()"
        )
    assigned = torch.cat([_assigned(block) for block in logits.split(BLOCK)])
    return Confusion.counted(asked, assigned, count)


def judged(
    labels: Int64[Tensor, "n"], names: Sequence[str], judge: Sequence[str]
) -> Int64[Tensor, "n"]:
    """Translate labels into the numbers that a judge has for the same class names.

    Args:
        labels: class ids in 0..len(names) - 1.
        names: the classes of the samples.
        judge: the classes of the judge, in any order; it may know more.

    Raises:
        DataError: a class that occurs among the labels is unknown to the judge.
    """
    if not names:
        raise DataError("class accuracy: the images have no labels; take --judge none")
    places = {name: place for place, name in enumerate(judge)}
    for used in labels.unique().tolist():
        if names[used] not in places:
            raise DataError(
                f"class {names[used]!r}: unknown to the judge; {nearest(names[used], judge)} "
                "(or take --judge none)"
            )
    return torch.tensor([places.get(name, -1) for name in names], dtype=torch.int64)[labels]


def cheaper(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """Return the Fréchet distance, by the rows where they are few and by the moments else."""
    if len(a) * len(b) <= a.shape[1] ** 2:
        return frechet_rows(a, b)
    return frechet(Moments.of(a), Moments.of(b))


def per_class_distance(
    samples: Float[Tensor, "n d"],
    asked: Int64[Tensor, "n"],
    reference: Float[Tensor, "m d"],
    labels: Int64[Tensor, "m"],
    *,
    classes: int,
    distance: Callable[[Tensor, Tensor], float] = cheaper,
) -> tuple[float | None, ...]:
    """Measure the distance between samples and reference within each class.

    A class has few rows, and the Fréchet distance of few rows is too large; so compare a class
    with itself under another model at the same counts, not with another class or the whole set.

    Args:
        samples, asked: features, and the class each was drawn for.
        reference, labels: features of real images, and their classes, in the same numbers.
        classes: how many there are.
        distance: of two sets of at least 2 rows each.

    Returns:
        One number a class; None where either side has fewer than 2 rows.
    """
    found: list[float | None] = []
    for each in range(classes):
        ours, theirs = samples[asked == each], reference[labels == each]
        enough = min(len(ours), len(theirs)) >= 2
        found.append(distance(ours, theirs) if enough else None)
    return tuple(found)


def _assigned(logits: Float[Tensor, "b k"]) -> Int64[Tensor, "b"]:
    if logits.isnan().any():
        raise NumericError("judge: a class score is NaN; look for broken images or weights")
    return logits.argmax(1)


__all__ = ["accuracy", "cheaper", "judged", "per_class_distance"]
