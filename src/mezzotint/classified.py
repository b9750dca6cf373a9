"""What a generator says about a set of images: a table, a report, and a page for the eye.

predictions.csv    an image a row: prediction, certainty, evaluations, and p of every class
report.json        settings, counts, and where labels are known what they say
report.html        the same with curves; one file
"""

import csv
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mezzotint import config
from mezzotint.classifier import Confusion
from mezzotint.classify import DiffusionClassifier
from mezzotint.classify.evidence import Evidence
from mezzotint.classify.posterior import Calibration
from mezzotint.classify.uses import Labelled, strangeness
from mezzotint.errors import DataError
from mezzotint.evaluation.sources import Source
from mezzotint.files import write_text

TABLE: Final = "predictions.csv"
JSON: Final = "report.json"
PAGE: Final = "report.html"
COLUMNS: Final = ("image_0", "image_1", "caption_0", "caption_1")
TOGETHER: Final = 64
"""Images that are classified at a time, between which progress is told."""

Told = Callable[[int, int], None]


def look(
    classifier: DiffusionClassifier,
    source: Source,
    count: int | None = None,
    told: Told | None = None,
) -> Evidence:
    """Return the evidence of the first images of a set.

    Args:
        classifier: fitted.
        source: images.
        count: how many; all by default.
        told: is told how many are done, and of how many.

    Raises:
        DataError: no images, or of another size than the model makes.
    """
    images = source.pictures
    total = len(images) if count is None else min(count, len(images))
    if total == 0:
        raise DataError(f"{source.name}: no images; expected at least one")
    parts = []
    for rows in torch.arange(total).split(TOGETHER):
        parts.append(classifier.evidence(images.read(rows)))
        if told is not None:
            told(int(rows[-1]) + 1, total)
    first = parts[0]
    pairs = [(part.errors, part.kept) for part in parts]
    return Evidence.joined(pairs, first.plan, first.owner, first.elements)


def known_labels(source: Source, classes: tuple[str, ...], count: int) -> list[str]:
    """Return the names of the labels of the first images.

    Raises:
        DataError: the images have no labels, or one that the model does not know.
    """
    images = source.pictures
    if not images.classes:
        raise DataError(
            f"{source.name}: images without labels; give a folder with a folder for each class"
        )
    names = [images.classes[label] for label in images.labels[:count].tolist()]
    for name in dict.fromkeys(names):
        if name not in classes:
            raise DataError(f"{source.name}: no class {name!r}; {config.nearest(name, classes)}")
    return names


def read_pairs(
    table: Path, source: Source, number: Callable[[str], int]
) -> tuple[Int[Tensor, "n 2"], Int[Tensor, "n 2"]]:
    """Read which images and captions are to be matched.

    Args:
        table: CSV with the columns image_0, image_1, caption_0, caption_1.
        source: the images, whose file names or numbers stand in the table.
        number: from a caption, a class name, to its condition.

    Raises:
        DataError: a missing file, column, image or class.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(table.read_text("utf-8"))))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table}: cannot be read ({error})") from None
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise DataError(f"{table}: expected the columns {', '.join(COLUMNS)}, and at least one row")
    there = {name: k for k, name in enumerate(source.names)}
    there |= {str(k): k for k in range(len(source.pictures))}
    for row in rows:
        for column in COLUMNS[:2]:
            if row[column] not in there:
                wanted = config.nearest(str(row[column]), there)
                raise DataError(f"{table}: no image {row[column]!r} in {source.name}; {wanted}")
    images = [[there[row[column]] for column in COLUMNS[:2]] for row in rows]
    captions = [[number(row[column]) for column in COLUMNS[2:]] for row in rows]
    return torch.tensor(images), torch.tensor(captions)


@dataclass(frozen=True)
class Classified:
    """What was found.

    Attributes:
        title: what was classified, and by what.
        settings: how, as plain data.
        classifier: who says so.
        evidence: why.
        names: of the images.
        labels: that they came with, or () where they are not to be looked at.
        strange: share of reference images that the model explains better, or None.
        seconds: that it took.
    """

    title: str
    settings: Mapping[str, Any]
    classifier: DiffusionClassifier
    evidence: Evidence
    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    strange: Float[Tensor, "n"] | None = None
    seconds: float = 0.0
    pictures: UInt8[Tensor, "m 3 h w"] | None = field(default=None, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that were looked at."""
        return tuple(str(name) for name in self.classifier.classes_)

    @property
    def probabilities(self) -> Float[Tensor, "n k"]:
        """p(c | x)."""
        return torch.from_numpy(self.classifier.predict_proba(self.evidence))

    @property
    def places(self) -> Int[Tensor, "n"]:
        """The labels, as places among the classes."""
        return self.classifier.places(np.array(self.labels), len(self.evidence))

    @property
    def calibration(self) -> Calibration | None:
        """What the probabilities are worth on these labels."""
        if not self.labels:
            return None
        logits = torch.from_numpy(self.classifier.predict_log_proba(self.evidence))
        return Calibration.of(logits, self.places)

    @property
    def confusion(self) -> Confusion | None:
        """What images of each class were taken for."""
        if not self.labels:
            return None
        taken = self.probabilities.argmax(1)
        return Confusion.counted(self.places, taken, len(self.classes))

    @property
    def labelled(self) -> Labelled | None:
        """What the model thinks of the labels."""
        if not self.labels:
            return None
        return Labelled.of(self.classifier, self.evidence, np.array(self.labels))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row an image."""
        p, certainty = self.probabilities, self.evidence.certainty()
        named = self.classifier.predict(self.evidence)
        thinks = self.labelled
        doubted = None if thinks is None else thinks.doubted()
        found = []
        for k, name in enumerate(self.names):
            row: dict[str, Any] = {"image": name}
            if thinks is not None and doubted is not None:
                row |= {"label": self.labels[k], "log_p_label": _short(thinks.log_p[k])}
                row |= {"label_doubted": bool(doubted[k])}
            row |= {"prediction": str(named[k]), "certainty": _short(certainty[k])}
            row |= {"evaluations": int(self.evidence.forwards[k])}
            if self.strange is not None:
                row |= {"strangeness": _short(self.strange[k])}
            row |= {f"p({c})": _short(p[k, i]) for i, c in enumerate(self.classes)}
            found.append(row)
        return found

    def tree(self) -> dict[str, Any]:
        """Return plain data, without a row an image."""
        images = len(self.evidence)
        fitted, calibration = self.classifier.calibration_, self.calibration
        found: dict[str, Any] = {
            "title": self.title,
            "settings": dict(self.settings),
            "classes": list(self.classes),
            "images": images,
            "evaluations_per_image": float(self.evidence.forwards.double().mean()),
            "seconds_per_image": self.seconds / images,
            "temperature": self.classifier.temperature_,
            "temperature_fit": None if fitted is None else fitted.tree(),
        }
        if calibration is not None and self.confusion is not None and self.labelled is not None:
            found |= {"scores": calibration.tree(), "confusion": self.confusion.table.tolist()}
            suspects = self.labelled.suspects().tolist()
            found |= {"suspects": [self.names[k] for k in suspects]}
            found |= {
                "most_typical": [self.names[k] for k in self.labelled.ranking()[:20].tolist()]
            }
        if self.strange is not None:
            order = self.strange.argsort(descending=True, stable=True)[:20].tolist()
            found |= {"strangest": [self.names[k] for k in order]}
        return found

    def write(self, folder: Path, page: str) -> dict[str, str]:
        """Write table, report and page; return where they are."""
        rows = self.rows()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(folder / TABLE, text.getvalue())
        config.write_json(folder / JSON, self.tree() | {"predictions": rows})
        write_text(folder / PAGE, page)
        return {name: str(folder / name) for name in (TABLE, JSON, PAGE)}


def _short(value: Tensor) -> float | None:
    """Return a number with six digits; JSON knows no infinity."""
    number = float(value)
    return float(f"{number:.6g}") if np.isfinite(number) else None


def classified(
    classifier: DiffusionClassifier,
    source: Source,
    title: str,
    settings: Mapping[str, Any],
    *,
    count: int | None = None,
    labels: tuple[str, ...] = (),
    reference: Evidence | None = None,
    told: Told | None = None,
) -> Classified:
    """Classify the first images of a set.

    Args:
        classifier: fitted.
        source: images.
        title: stands on the page.
        settings: how, as plain data, for the report.
        count: how many; all by default.
        labels: to compare with, one an image.
        reference: of held-out images of the training distribution, to tell strange images by.
        told: is told how many are done, and of how many.
    """
    started = time.monotonic()
    evidence = look(classifier, source, count, told)
    seconds = time.monotonic() - started
    numbered = tuple(str(k) for k in range(len(evidence)))
    return Classified(
        title=title,
        settings=settings,
        classifier=classifier,
        evidence=evidence,
        names=source.names[: len(evidence)] or numbered,
        labels=labels,
        strange=None if reference is None else strangeness(evidence, reference),
        seconds=seconds,
        pictures=source.pictures.read(torch.arange(min(len(evidence), 6))),
    )


__all__ = ["Classified", "classified", "known_labels", "look", "read_pairs"]
