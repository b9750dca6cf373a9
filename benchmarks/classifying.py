"""The tables of docs/classify.md: a generator as a classifier, on held-out images.

    python benchmarks/classifying.py digits --model digits-dit            # goes on
    python benchmarks/classifying.py digits --model digits-dit --write    # into docs/
    python benchmarks/classifying.py emoji --model emoji-dit-tiny --count 200 --write

Every fourth image is set aside: on these the temperature and the learned times are fitted, and all
figures are of the others. All errors of each set of times and draws are measured once and kept, in
blocks of BLOCK images; rows with fewer evaluations, stages and races replay them, so that they
differ in nothing else. Seconds are measured by `--cost`, in turns on the same few images.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept import kept
from pages import markdown, put
from torch import Tensor

import mezzotint
from mezzotint import classifier, config
from mezzotint.checkpoint import read_tensors, write_tensors
from mezzotint.classify.contest import Contest, Draws, Independent, Paired
from mezzotint.classify.defaults import as_trained, times_of
from mezzotint.classify.evidence import Evidence
from mezzotint.classify.inputs import latents
from mezzotint.classify.labelling import Candidates
from mezzotint.classify.learn import learned
from mezzotint.classify.posterior import Calibration, temperature
from mezzotint.classify.schedules import Exhaustive, Official, Plan, Race, Schedule
from mezzotint.classify.times import Even, Times
from mezzotint.data.images import InMemory
from mezzotint.diffusion.predictions import Truth
from mezzotint.generator import Generator

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "classify.md"
EVALUATIONS = (5, 20, 100, 250)
WHOLE = EVALUATIONS[-1]
BLOCK = 20
APART = 4  # every so manieth image is for fitting
LEARNED_FROM = 50  # evaluations behind the learned times
STAGES = {"digits": ((25, 250), (5, 1)), "emoji": ((25, 250), (5, 1))}
HEAD = ["", "evaluations a class", "forwards an image", "accuracy", "NLL", "calibration error"]


@dataclass(frozen=True)
class Bench:
    """A model, held-out images, and where errors are kept."""

    data: str
    model: Generator
    images: Tensor
    y: Tensor
    root: Path

    @classmethod
    def of(cls, data: str, name: str, count: int | None, root: Path) -> "Bench":
        model = mezzotint.load(name)
        held = config.load("data", data).held_out()
        order = torch.randperm(len(held), generator=torch.Generator().manual_seed(0))[:count]
        names = [held.classes[label] for label in held.labels[order].tolist()]
        y = torch.tensor([model.classes.index(each) for each in names])
        folder = root / data / f"{model.digest[:12]}-{len(order)}"
        return cls(data, model, held.read(order), y, folder)

    @property
    def fitting(self) -> Tensor:
        return torch.arange(len(self.y)) % APART == 0

    def contest(self, schedule: Schedule, draws: Draws, batch: int = 512) -> Contest:
        every = torch.arange(len(self.model.classes))
        measure = as_trained(self.model.denoiser.path, self.model.tree)["measure"]
        return Contest(
            self.model.denoiser, Candidates(every, every), schedule, measure, draws, batch
        )

    def evidence(self, name: str, times: Times, draws: Draws) -> Evidence:
        """Return all errors at these times, measuring what is missing."""
        contest = self.contest(Exhaustive(times), draws)
        parts = []
        for first in range(0, len(self.y), BLOCK):
            path = self.root / name / f"{first:05d}.safetensors"
            if not path.exists():
                x = latents(
                    self.images[first : first + BLOCK], self.model.tokenizer, self.model.device
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                write_tensors(path, {"errors": contest(x).errors}, {})
                print(path, flush=True)
            parts.append(read_tensors(path)[0]["errors"])
        errors = torch.cat(parts)
        plan = contest.schedule.plan(self.model.denoiser.path)
        kept_all = torch.ones(len(errors), 1, errors.shape[1], dtype=torch.bool)
        elements = int(np.prod(self.model.tokenizer.spec.shape))
        whole = Plan(plan.t, plan.weights, (len(plan.t),))
        return Evidence(errors, kept_all, whole, torch.arange(errors.shape[1]), elements)

    def row(self, name: str, seen: Evidence) -> list[str]:
        """Return a line of a table."""
        logits = -seen.scores() * seen.elements
        fitting = self.fitting
        warmth = temperature(logits[fitting], self.y[fitting])
        found = Calibration.of(logits[~fitting] / warmth, self.y[~fitting])
        forwards = seen.forwards[~fitting].double().mean()
        each = int(seen.seen.max())
        return [name, str(each), f"{forwards:.0f}", *scored(found)]


def scored(found: Calibration) -> list[str]:
    return [f"{100 * found.accuracy:.1f} %", f"{found.nll:.3f}", f"{100 * found.error:.1f} %"]


def prefix(seen: Evidence, count: int) -> Evidence:
    """Return the first evaluations alone."""
    plan = Plan(seen.plan.t[:count], seen.plan.weights[:count], (count,))
    return Evidence(seen.errors[:, :, :count], seen.kept, plan, seen.owner, seen.elements)


def replayed(schedule: Schedule, seen: Evidence, path: Any) -> Evidence:
    """Return what a schedule would have looked at, and whom it would have kept."""
    plan = schedule.plan(path)
    column = [int((seen.plan.t - t).abs().argmin()) for t in plan.t]
    errors = seen.errors[:, :, column].clone()
    alive = torch.ones(errors.shape[:2], dtype=torch.bool)
    rounds = []
    for first, end in plan.rounds:
        running = alive.sum(1) > 1
        errors[:, :, first:end][~(alive & running[:, None])] = torch.nan
        if bool(running.any()):
            alive[running] = schedule.survivors(
                errors[running, :, :end].double(), alive[running], plan
            )
        rounds.append(alive.clone())
    return Evidence(errors, torch.stack(rounds, 1), plan, seen.owner, seen.elements)


def rows(bench: Bench) -> Iterator[list[str]]:
    """Yield the table of accuracy, line by line."""
    path = bench.model.denoiser.path
    trained = times_of(bench.model.tree, WHOLE)
    sets: dict[str, tuple[Times, Draws]] = {
        "even times, paired": (Even(WHOLE), Paired()),
        "even times, independent": (Even(WHOLE), Independent()),
        "times of training, paired": (trained, Paired()),
    }
    even = bench.evidence("even times, paired", *sets["even times, paired"])
    fitting = bench.fitting
    first = prefix(even, LEARNED_FROM)
    source = Evidence(
        first.errors[fitting], first.kept[fitting], first.plan, first.owner, first.elements
    )
    sets["learned times, paired"] = learned(source, bench.y[fitting], WHOLE), Paired()
    yield HEAD
    for name, (times, draws) in sets.items():
        seen = bench.evidence(name, times, draws)
        for count in EVALUATIONS:
            yield bench.row(name, prefix(seen, count))
    samples, keep = STAGES[bench.data]
    seen = bench.evidence("times of training, paired", *sets["times of training, paired"])
    yield bench.row("official stages, even times", replayed(Official(samples, keep), even, path))
    for error in (0.3, 0.05, 0.01):
        race = Race(Even(WHOLE), error)
        yield bench.row(f"race, even times, error {error}", replayed(race, even, path))
        race = Race(trained, error)
        yield bench.row(f"race, times of training, error {error}", replayed(race, seen, path))
    yield from beside(bench)


def beside(bench: Bench) -> Iterator[list[str]]:
    """Yield a discriminative classifier and a linear model of the same training images."""
    fitting = bench.fitting
    judge = classifier.load(f"{bench.data}-judge")
    logits = judge(bench.images)[:, [judge.classes.index(name) for name in bench.model.classes]]
    warmth = temperature(logits[fitting], bench.y[fitting])
    found = Calibration.of(logits[~fitting] / warmth, bench.y[~fitting])
    yield [f"{bench.data}-judge, discriminative", "", "1", *scored(found)]
    logits = linear(config.load("data", bench.data).train(), bench.images)
    warmth = temperature(logits[fitting], bench.y[fitting])
    found = Calibration.of(logits[~fitting] / warmth, bench.y[~fitting])
    yield ["linear model of pixels", "", "1", *scored(found)]


def linear(training: InMemory, images: Tensor) -> Tensor:
    """Return the logits of a logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    model.fit(training.pixels.flatten(1).numpy(), training.labels.numpy())
    return torch.from_numpy(model.predict_log_proba(images.flatten(1).numpy()))


@torch.no_grad()
def plain_loop(bench: Bench, x: Tensor) -> Evidence:
    """Return all errors as the release finds them: class by class, 32 evaluations of an image."""
    contest = bench.contest(Exhaustive(Even(WHOLE)), Paired())
    path, classes = bench.model.denoiser.path, len(bench.model.classes)
    times = Even(WHOLE)(path)
    drawn = contest.draws(torch.arange(WHOLE), x)  # the release draws them once, too
    errors = torch.empty(len(x), classes, WHOLE)
    for k, image in enumerate(x):
        for label in range(classes):
            for rows in torch.arange(WHOLE).split(32):
                x0, eps = image.expand(len(rows), *image.shape), drawn[rows]
                scales = path.at(times[rows], x0)
                noisy = scales.alpha * x0 + scales.sigma * eps
                y = torch.full((len(rows),), label)
                estimate = bench.model.denoiser(noisy, times[rows], y)
                errors[k, label, rows] = contest.measure(estimate, Truth(x0, eps, noisy, scales))
    whole = Plan(times, torch.ones_like(times), (WHOLE,))
    every = torch.ones(len(x), 1, classes, dtype=torch.bool)
    return Evidence(errors, every, whole, torch.arange(classes), x[0].numel())


def cost(bench: Bench, count: int) -> Iterator[list[str]]:
    """Yield seconds an image of the plain loop, of stages and of races, one after the other."""
    x = latents(bench.images[:count], bench.model.tokenizer, bench.model.device)
    samples, keep = STAGES[bench.data]
    stages, race = Official(samples, keep), Race(Even(WHOLE))
    trained = Race(times_of(bench.model.tree, WHOLE))
    ways: dict[str, Callable[[], Evidence]] = {
        "plain loop over classes, batches of 32": lambda: plain_loop(bench, x),
        "all evaluations, filled batches": lambda: bench.contest(Exhaustive(Even(WHOLE)), Paired())(
            x
        ),
        "official stages, filled batches": lambda: bench.contest(stages, Paired())(x),
        "race, even times": lambda: bench.contest(race, Paired())(x),
        "race, times of training": lambda: bench.contest(trained, Paired())(x),
    }
    yield ["", "forwards an image", "seconds an image (CPU time)", "accuracy"]
    for name, way in ways.items():

        def made(way: Callable[[], Evidence] = way) -> dict[str, float]:
            started = time.process_time()
            seen = way()
            return {
                "seconds": (time.process_time() - started) / count,
                "forwards": float(seen.forwards.double().mean()),
                "accuracy": float((seen.winners() == bench.y[:count]).double().mean()),
            }

        of = {"model": bench.model.digest, "count": count, "way": name}
        plain = name.replace(" ", "-").replace(",", "")
        found = kept(f"classifying/{bench.data}-{plain}-{count}", of, made)
        share = f"{100 * found['accuracy']:.1f} %"
        yield [name, f"{found['forwards']:.0f}", f"{found['seconds']:.3f}", share]


def main() -> None:
    """Measure what is missing, print the tables, and write them where they belong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=STAGES)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, help="held-out images; all by default")
    parser.add_argument("--cost", type=int, default=0, help="images to measure seconds on")
    parser.add_argument("--only-cost", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "classifying")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    bench = Bench.of(asked.data, asked.model, asked.count, asked.root)
    tables = {}
    name, tested = Path(asked.model).name, int((~bench.fitting).sum())
    if not asked.only_cost:
        rest = len(bench.y) - tested
        told = f"\n{name}: {tested} held-out images; {rest} others to fit on.\n"
        tables[f"classify-{asked.data}"] = markdown(list(rows(bench))) + told
    if asked.cost:
        told = f"\n{name}: {asked.cost} held-out images, one thread.\n"
        table = markdown(list(cost(bench, asked.cost))) + told
        tables[f"classify-cost-{asked.data}"] = table
    for name, table in tables.items():
        print(table)
        if asked.write:
            put(PAGE, name, table)


if __name__ == "__main__":
    main()
