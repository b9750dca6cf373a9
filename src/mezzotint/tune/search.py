"""The search: cheap looks first, closer ones at the survivors, fresh seeds in the end.

    stage 0    every trial, few samples          the same seeds for all
    stage 1    the best third, more samples      further seeds
    stage 2    the best third of those, the most, on seeds that chose nothing

Distances are compared within a stage alone, for they fall with the number of samples. Every look is
timed in turn with a yardstick, the whole model on two steps, so that what else the machine does
slows both.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from mezzotint.bench import seconds
from mezzotint.drawing import Drawing
from mezzotint.draws import apportioned
from mezzotint.errors import ConfigError
from mezzotint.evaluation.features import Features
from mezzotint.evaluation.frechet import frechet
from mezzotint.evaluation.moments import Moments
from mezzotint.generator import Generator
from mezzotint.tune.front import Goal, ranked
from mezzotint.tune.log import Log, Look
from mezzotint.tune.propose import proposal
from mezzotint.tune.space import Params, Space

OWN_TRIAL: Final = -1
_YARDSTICK_STEPS: Final = 2
_SEEDS: Final = 10_000_000
"""Distance of the first seeds of two stages."""

Wanted = tuple[list[int], list[int]]
"""Labels and seeds of a batch."""
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Bench:
    """Draws, times and measures settings.

    Args:
        models: loaded, by source, on one device.
        yardstick: the source whose two steps are the unit of time.
        extractor: the feature space.
        real: moments of the real images in it.
        shares: how often each class is drawn; () means equally often.
        batch: images at a time.
        rounds: batches of a look that are timed.
        compiled: the networks are compiled; drawings that are not to be, run as they stand.
    """

    models: Mapping[str, Generator]
    yardstick: str
    extractor: Features
    real: Moments
    shares: tuple[int, ...]
    batch: int
    rounds: int
    compiled: bool = False

    def look(self, drawing: Drawing, count: int, seed: int) -> tuple[float, float]:
        """Return the time of an image over the yardstick's, and the distance of the samples.

        Args:
            drawing: what draws.
            count: samples; the first batch warms up, if there is another.
            seed: of the first.

        Raises:
            ConfigError: it cannot be drawn that way.
        """
        made = self.models[self.yardstick]
        labels = apportioned(self.shares or (1,) * max(len(made.classes), 1), count)
        starts = range(0, count, self.batch)
        warm = int(len(starts) > 1)
        rows, ratios = [], []
        for number, start in enumerate(starts):
            part = slice(start, start + self.batch)
            wanted = (labels[part], [seed + k for k in range(*part.indices(count))])
            images: list[Tensor] = []

            def job(wanted: Wanted = wanted, images: list[Tensor] = images) -> None:
                images.extend(self._drawn(drawing, wanted))

            if warm <= number < warm + self.rounds:
                ratios.append(self._ratio(job, wanted, first=number % 2 == 0))
            else:
                job()
            rows.append(self.extractor(torch.cat(images)).features)
        return statistics.median(ratios), frechet(Moments.of(torch.cat(rows)), self.real)

    def _ratio(self, job: Callable[[], None], wanted: Wanted, *, first: bool) -> float:
        """Time a job beside the yardstick on as many images, in changing order."""
        if first:
            own = seconds(job)
            return own / seconds(lambda: self.rule(wanted))
        unit = seconds(lambda: self.rule(wanted))
        return seconds(job) / unit

    def rule(self, wanted: Wanted) -> None:
        """Run the yardstick once."""
        made = Drawing(source=self.yardstick, sampling={"steps": _YARDSTICK_STEPS})
        self._drawn(made, wanted)

    def _drawn(self, drawing: Drawing, wanted: Wanted) -> list[Tensor]:
        eager = self.compiled and not drawing.compiled
        with torch.compiler.set_stance("force_eager") if eager else nullcontext():
            return list(drawing.of(self.models).stream(*wanted, batch=self.batch))

    def unit(self) -> float:
        """Return the seconds that the yardstick takes for an image."""
        made = self.models[self.yardstick]
        labels = apportioned((1,) * max(len(made.classes), 1), self.batch)
        wanted = (labels, list(range(self.batch)))
        self.rule(wanted)
        runs = [seconds(lambda: self.rule(wanted)) for _ in range(2 * self.rounds + 1)]
        return statistics.median(runs) / self.batch


@dataclass(frozen=True)
class Search:
    """A search that goes on from its log.

    Args:
        bench: measures.
        space: where.
        goal: what for.
        log: open.
        trials: looks of stage 0.
        counts: samples of a look, by stage.
        seed: of the proposals and of the samples.
        watch: told the stage's name, and how many of its looks are made, of how many.
    """

    bench: Bench
    space: Space
    goal: Goal
    log: Log
    trials: int
    counts: tuple[int, ...]
    seed: int
    watch: Watch

    def run(self) -> list[Look]:
        """Look until nothing is left to look at; return the looks of the last stage.

        Raises:
            ConfigError: the model cannot be drawn by its own recipe.
        """
        if "seconds" not in self.log.measured:
            self.log.measured["seconds"] = self.bench.unit()
            self.log.write()
        known = self._all(0, self._points(), self.trials + 1)
        for stage in range(1, len(self.counts)):
            left = [(each.trial, each.params) for each in self._survivors(known)]
            known = self._all(stage, left, len(left))
        return known

    def own(self, looks: Sequence[Look]) -> Look:
        """Return the look at the model's own recipe."""
        return next(each for each in looks if each.trial == OWN_TRIAL)

    def _points(self) -> Iterator[tuple[int, Params]]:
        """Yield the own recipe, the first points, and then what is proposed."""
        yield OWN_TRIAL, {}
        first = list(self.space.first())
        for number in range(self.trials):
            if number < len(first):
                yield number, first[number]
                continue
            made = self.log.find(number, 0)
            before = [each for each in self.log.at(0) if each.trial < number]
            yield number, made.params if made else self._proposal(before, number)

    def _proposal(self, before: Sequence[Look], number: int) -> Params:
        """Return where to look next; every second time among plain settings, for a fair match."""
        axes, plain = self.space.axes(), self.space.plain if number % 2 else {}
        if plain:
            axes = {name: axis for name, axis in axes.items() if name not in plain}
            before = [each for each in before if self.log.plain(each)]
        return proposal(before, axes, seed=self.seed, number=number) | plain

    def _all(self, stage: int, points: Iterable[tuple[int, Params]], total: int) -> list[Look]:
        """Return the looks of a stage, those that are missing made now."""
        found = []
        for trial, params in points:
            made = self.log.find(trial, stage)
            found.append(made or self.log.add(self._look(trial, stage, params)))
            self.watch(f"look {stage + 1} of {len(self.counts)}", len(found), total)
        own = self.own(found)
        if own.distance is None:
            raise ConfigError(f"{self.space.source} cannot be drawn by its own recipe: {own.why}")
        return found

    def _look(self, trial: int, stage: int, params: Params) -> Look:
        count = self.counts[stage]
        drawing = self.space.drawing(params) if params else Drawing(source=self.space.source)
        try:
            found = self.bench.look(drawing, count, self.seed + (stage + 1) * _SEEDS)
        except ConfigError as error:
            return Look(trial, stage, params, drawing, 0.0, None, count, str(error))
        return Look(trial, stage, params, drawing, *found, count)

    def _survivors(self, looks: Sequence[Look]) -> list[Look]:
        """Return the own recipe, and the best third of plain settings and of the others."""
        kept = [self.own(looks)]
        for plain in (True, False):
            group = [e for e in looks if e.trial != OWN_TRIAL and self.log.plain(e) is plain]
            near = [each for each in group if self.goal.near(self.log.timed(each))]
            drawn = sorted(ranked(group), key=lambda each: each.ratio)
            # Where none is near, the fastest says how far away they are.
            kept += ranked(near)[: -(-len(group) // 3)] or drawn[:1]
        return kept


__all__ = ["OWN_TRIAL", "Bench", "Search"]
