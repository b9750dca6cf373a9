"""What a judge sees in the samples of each class, and how far each class is from the real one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mezzotint.classifier import Confusion
from mezzotint.data.images import Images
from mezzotint.evaluation.accuracy import accuracy, judged, per_class_distance
from mezzotint.evaluation.extract import Extracted
from mezzotint.evaluation.judge import Judge
from mezzotint.evaluation.metrics import Side
from mezzotint.evaluation.record import ClassScore, Score
from mezzotint.evaluation.sources import Source


@dataclass(frozen=True)
class ByClass:
    """A line a class, and what the judge adds to it.

    Attributes:
        names: of the samples' classes.
        rows: count, distance and floor of each; accuracy once a judge has been heard.
        scores: the class accuracy, once a judge has been heard.
        confusion: counts; rows are the classes asked for, columns those assigned.
        confusion_names: of both.
    """

    names: tuple[str, ...]
    rows: tuple[ClassScore, ...] = ()
    scores: tuple[Score, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    confusion_names: tuple[str, ...] = ()

    def judged(
        self, judge: Judge, seen: Extracted, unseen: tuple[Source, Extracted] | None
    ) -> "ByClass":
        """Return the same with what a judge says.

        Args:
            judge: the classifier.
            seen: its readings of the samples.
            unseen: real images and its readings of them: the floor.

        Raises:
            DataError: a class that the judge does not know.
        """
        if not self.names:
            return self
        found = _accuracy(judge, seen, self.names)
        floor, size, note = None, None, "mean over classes"
        if unseen is not None:
            source, readings = unseen
            floor = _accuracy(judge, readings, source.pictures.classes).mean_accuracy
            size, note = len(readings), f"mean over classes; floor: the judge on {source.name}"
        shares = dict(zip(judge.classes, found.by_class, strict=True))
        score = Score(
            "class accuracy",
            found.mean_accuracy,
            floor=floor,
            floor_count=size,
            lower_is_better=False,
            note=note,
        )
        return replace(
            self,
            rows=tuple(replace(row, accuracy=shares.get(row.name)) for row in self.rows),
            scores=(score,),
            confusion=tuple(tuple(row) for row in found.table.tolist()),
            confusion_names=judge.classes,
        )


def by_class(
    samples: Images,
    reference: Images | None,
    ours: Extracted,
    real: Side,
    halves: tuple[Side, Side] | None,
) -> ByClass:
    """Measure the distance of each class of samples to the real images of that class.

    Args:
        samples: the pictures measured.
        reference: the real pictures, None if there are none.
        ours, real: their features.
        halves: two parts of the real ones, for the floor.
    """
    names = samples.classes
    if not names:
        return ByClass(())
    counts = torch.bincount(ours.labels, minlength=len(names)).tolist()
    distances: Sequence[tuple[float | None, float | None]] = [(None, None)] * len(names)
    known = set(reference.classes) if reference is not None else set()
    if real.extracted and reference and halves and set(names) <= known:
        asked = judged(ours.labels, names, reference.classes)
        kinds = len(reference.classes)
        theirs, (one, other) = real.extracted, (half.rows for half in halves)
        found = per_class_distance(
            ours.features, asked, theirs.features, theirs.labels, classes=kinds
        )
        floors = per_class_distance(
            one.features, one.labels, other.features, other.labels, classes=kinds
        )
        places = [reference.classes.index(name) for name in names]
        distances = [(found[place], floors[place]) for place in places]
    rows = tuple(
        ClassScore(name, count, distance=distance, floor=floor)
        for name, count, (distance, floor) in zip(names, counts, distances, strict=True)
    )
    return ByClass(names, rows)


def _accuracy(judge: Judge, seen: Extracted, names: Sequence[str]) -> Confusion:
    assert seen.logits is not None, "a judge has logits"
    return accuracy(seen.logits, judged(seen.labels, names, judge.classes), judge.classes)


__all__ = ["ByClass", "by_class"]
