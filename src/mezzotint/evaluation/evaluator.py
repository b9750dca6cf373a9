"""One protocol for every number.

Samples and real images go through the same extractor; every metric stands beside its floor; the
samples are looked for among the training images; and how it was done is written down with it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from mezzotint.data.draw import grid, picture
from mezzotint.data.images import spread
from mezzotint.errors import DataError
from mezzotint.evaluation.by_class import by_class
from mezzotint.evaluation.extract import Alone, Extracted, Group, Progress, extract
from mezzotint.evaluation.features import Features
from mezzotint.evaluation.judge import Judge
from mezzotint.evaluation.memorisation import Memorisation, Nearness, nearness
from mezzotint.evaluation.metrics import Metric, Side
from mezzotint.evaluation.moments import Moments
from mezzotint.evaluation.pictures import PairPicture, Pictures
from mezzotint.evaluation.plots import Values
from mezzotint.evaluation.provenance import protocol
from mezzotint.evaluation.record import Score
from mezzotint.evaluation.report import Report
from mezzotint.evaluation.sources import Source

Watch = Callable[[str], Progress | None]
"""Asked for a progress before a set is read, with words for what is read."""

_ROWS, _COLUMNS = 20, 10
"""Classes and samples of each in the grid of a report."""
_SIDE = 48
_REST = 50_000
"""Real images that the first part is compared with at most; they are held in memory."""
_CHANCE = 3.0  # standard deviations of chance above which memorisation is reported


def quiet(what: str) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Evaluator:
    """Measures sets of samples against the same real images.

    Args:
        extractor: the feature space.
        metrics: what is computed in it.
        reference: the real images, or a file of their statistics.
        cache: folder for feature rows, which all processes see.
        judge: a classifier that knows the samples' classes; never one that steered them.
        training: what the model was trained on, where samples are looked for; None is unknown.
        held_out: real images outside the training set.
        group: processes that share the reading; the first one does the rest.
        watch: told what is being read.
        remarks: further notes for the report.
    """

    extractor: Features
    metrics: Sequence[Metric]
    reference: Source
    cache: Path
    judge: Judge | None = None
    training: Source | None = None
    held_out: Source | None = None
    group: Group = field(default_factory=Alone)
    watch: Watch = quiet
    remarks: tuple[str, ...] = ()

    def apart(self) -> "Evaluator":
        """Return it without training images, which what comes back is meant to be near."""
        return replace(self, training=None, held_out=None)

    def report(
        self, samples: Source, count: int | None = None, title: str = "", command: str = ""
    ) -> tuple[Report, Pictures] | None:
        """Measure a set of samples; None on every process but the first.

        Args:
            samples: what is measured.
            count: how many of them, spread over the set; all by default.
            title, command: of the report.

        Raises:
            DataError: fewer samples than asked for, or sets that do not compare.
        """
        chosen = _chosen(samples, count)
        ours = self._read(samples, self.extractor, chosen)
        side = Side.of(samples.name, ours, self.group)
        real = self.real()
        seen = self._read(samples, self.judge, chosen) if self.judge else None
        unseen = self._judged()
        known = self._read(self.training, self.extractor) if self.training else None
        others = self._read(self.held_out, self.extractor) if self.held_out else None
        if self.group.rank:
            return None
        halves = _halves(real, len(ours))
        scores = [s for metric in self.metrics for s in _floored(metric, side, real, halves)]
        classes = by_class(samples.pictures, self.reference.images, ours, real, halves)
        classes = classes.judged(self.judge, seen, unseen) if self.judge and seen else classes
        memory, pictures = None, Pictures()
        if known is not None and self.training is not None:
            unseen_features = known.features[:0] if others is None else others.features
            near = nearness(ours.features, known.features, unseen_features)
            memory = near.memorisation()
            pictures = _neighbours(samples, chosen, self.training, memory)
            pictures = replace(pictures, distances=_distances(near))
        report = Report(
            title=title or samples.name,
            protocol=protocol(samples, len(ours), self.reference, self.extractor, self.judge),
            scores=(*scores, *classes.scores),
            classes=classes.rows,
            confusion=classes.confusion,
            confusion_names=classes.confusion_names,
            memorisation=memory,
            command=command,
            notes=tuple(self._notes(ours, real, halves)),
            warnings=tuple(_warnings(ours, memory)),
        )
        return report, _with_grid(pictures, samples, chosen)

    def _read(
        self, source: Source, extractor: Features, rows: Int64[Tensor, "n"] | None = None
    ) -> Extracted:
        return extract(
            source.pictures,
            extractor,
            self.cache,
            rows=rows,
            group=self.group,
            progress=self.watch(f"reading {source.name} for {extractor.distance}"),
        )

    def real(self) -> Side:
        """Read the reference, or take its statistics.

        Raises:
            DataError: statistics of another feature space.
        """
        source, ours = self.reference, (self.extractor.digest, self.extractor.distance)
        side = Side(source.name, None, {})
        if source.images is not None:
            side = Side.of(source.name, self._read(source, self.extractor), self.group)
            if not source.made_by(*ours):
                return side
        source.check_extractor(*ours)
        names = {"features": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
        known = {
            space: Moments.published(
                source.statistics[mean], source.statistics[covariance], name=source.name
            )
            for space, (mean, covariance) in names.items()
            if mean in source.statistics
        }
        # ADM's reference files: the statistics are those of more pictures than the file holds.
        return replace(side, known=side.known | known)

    def _judged(self) -> tuple[Source, Extracted] | None:
        """Read real images for the judge: those it never saw, where there are any."""
        real = self.held_out or self.reference
        if self.judge is None or real.images is None:
            return None
        classes = set(real.images.classes)
        if not classes or not classes <= set(self.judge.classes):
            return None
        return real, self._read(real, self.judge)

    def _notes(
        self, ours: Extracted, real: Side, halves: tuple[Side, Side] | None
    ) -> Iterator[str]:
        yield from self.remarks
        ours_made = self.reference.made_by(self.extractor.digest, self.extractor.distance)
        if real.extracted is not None and ours_made:
            yield (
                f"Fréchet distances are to the statistics that {real.name} holds, everything else "
                f"to its {len(real.extracted):,} pictures."
            )
        elif real.extracted is not None and self.reference.statistics:
            yield f"{real.name} holds statistics of another extractor: they were not used."
        if real.extracted is None:
            yield (
                f"{real.name} holds statistics alone: no floor, no kernel distance, no precision "
                "and recall, nothing by class; give the pictures for these."
            )
        elif halves is not None and len(halves[0].rows) < len(ours):
            yield (
                f"The floor was computed at {len(halves[0].rows):,} images, half of "
                f"{real.name}; at {len(ours):,} it would be lower."
            )
        if self.training is not None and self.held_out is None:
            yield "No held-out images are known: training images stood in, each left out once."


def _chosen(samples: Source, count: int | None) -> Int64[Tensor, "n"]:
    there = len(samples.pictures)
    if count is not None and there < count:
        raise DataError(
            f"{samples.name}: {there} samples, {count} were asked for; draw more, or give "
            f"--count {there}"
        )
    if there < 2:
        raise DataError(f"{samples.name}: {there} image; expected at least 2")
    return spread(there, count or there)


def _halves(real: Side, count: int) -> tuple[Side, Side] | None:
    """Return two disjoint random parts of the real images, each with its share of every class.

    The first has as many as there are samples, or half of all; the second has the rest, so that
    the floor has the bias of the score beside it.
    """
    if real.extracted is None or len(real.extracted) < 4:
        return None
    rows = _mixed(real.extracted.labels)
    size = min(count, len(rows) // 2)
    parts = (rows[:size], rows[size:][: max(size, _REST)])
    first, second = (
        Side.of(f"part of {real.name}", real.extracted.only(part), Alone()) for part in parts
    )
    return first, second


def _mixed(labels: Int64[Tensor, "n"]) -> Int64[Tensor, "n"]:
    """Return all rows in random order, every stretch with its share of each class."""
    drawn = torch.rand(len(labels), generator=torch.Generator().manual_seed(0))
    place = torch.empty(len(labels))
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        order = drawn[rows].argsort().argsort()
        place[rows] = (order + drawn[rows]) / len(rows)  # one row in each n-th of the stretch
    return place.argsort()


def _floored(
    metric: Metric, samples: Side, real: Side, halves: tuple[Side, Side] | None
) -> Iterator[Score]:
    found = metric(samples, real)
    if halves is None:
        yield from found
        return
    size = len(halves[0].rows)
    for score, floor in zip(found, metric(*halves), strict=True):
        yield replace(score, floor=floor.value, floor_count=size)


def _neighbours(
    samples: Source, chosen: Int64[Tensor, "n"], training: Source, found: Memorisation
) -> Pictures:
    ours = samples.pictures.read(chosen[[pair.sample for pair in found.pairs]])
    theirs = training.pictures.read(torch.tensor([pair.training for pair in found.pairs]))
    pairs = zip(found.pairs, ours, theirs, strict=True)
    return Pictures(neighbours=tuple(PairPicture(p, picture(a), picture(b)) for p, a, b in pairs))


def _distances(near: Nearness) -> tuple[Values, Values]:
    """Return the nearest distances to the training images, of samples and of unseen images."""
    names = ("held-out images", "training images, each left out once")
    return (
        Values("samples", tuple(near.ours.distances[:, 0].tolist())),
        Values(names[near.leave_one_out], tuple(near.real.distances[:, 0].tolist())),
    )


def _warnings(ours: Extracted, memory: Memorisation | None) -> Iterator[str]:
    count, width = ours.features.shape
    if count < width:
        yield (
            f"{count} samples in a space of {width} dimensions: the Fréchet distance is biased "
            "upwards; compare it at this number of samples alone, and read the kernel distance."
        )
    if memory and memory.share > memory.level + _CHANCE * memory.noise:
        yield (
            f"{memory.share:.1%} of the samples are nearer to a training image than "
            f"{1 - memory.level:.0%} of unseen real images are: look at the neighbours."
        )
    if memory and memory.copies:
        yield f"{memory.copies} samples equal a training image in every feature."


def _with_grid(pictures: Pictures, samples: Source, chosen: Int64[Tensor, "n"]) -> Pictures:
    images = samples.pictures
    labels = images.labels[chosen]
    shown = [k for k in range(max(len(images.classes), 1)) if (labels == k).any()][:_ROWS]
    columns = min(_COLUMNS, *(int((labels == k).sum()) for k in shown))
    rows = torch.cat([chosen[labels == k][:columns] for k in shown])
    names = tuple(images.classes[k] for k in shown) if images.classes else ()
    magnify = max(1, _SIDE // images.size)
    sheet = grid(images.read(rows), columns=columns, names=names, magnify=magnify)
    return replace(pictures, grid=sheet, grid_names=names)


__all__ = ["Evaluator", "Watch", "quiet"]
