"""The table of docs/systems.md that tells what inheritance and distillation are worth to a LiT.

    python benchmarks/lit_arms.py --train            # trains what is missing; goes on
    python benchmarks/lit_arms.py --write            # draws, measures, writes the table

Four arms of the recipe emoji-lit: from scratch, with emoji-dit's weights, with emoji-dit as the
teacher, with both. The images, their order, times and noise of a seed are the same in all of them.
What counts are the steps to the teacher's held-out loss + 2 %, on the same images and noise; the
arm from scratch has three times the steps of the others to get there.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from kept import kept
from pages import cell, markdown, put
from trials import ALONE, scored, trained

import mezzotint
from mezzotint import config, recipe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "systems.md"
TEACHER = "emoji-dit"
SEEDS = (0, 1)
STEPS, EVERY = 1_500, 50
ABOVE = 1.02
LOOKED_AT = 736
"""Held-out images; all there are of the emoji."""
COUNT = 2_000
SHOWN = (50, 100, 200, 500, 1_000, 1_500)
"""Steps at which the held-out loss is shown."""


@dataclass(frozen=True)
class Arm:
    """What a student is given of its teacher, and how many times the steps of the plan."""

    inherits: bool
    learns: bool
    times: int = 1


ARMS: Mapping[str, Arm] = {
    "scratch": Arm(inherits=False, learns=False, times=3),
    "inheritance": Arm(inherits=True, learns=False),
    "distillation": Arm(inherits=False, learns=True),
    "both": Arm(inherits=True, learns=True),
}


Curve = Mapping[int, tuple[float, float | None]]


@dataclass(frozen=True)
class Plan:
    """How long the runs are, in what precision, and where."""

    root: Path
    steps: int
    every: int
    count: int
    precision: str

    def last(self, name: str) -> int:
        """Return the steps of an arm."""
        return self.steps * ARMS[name].times

    def folder(self, name: str, seed: int) -> Path:
        return self.root / f"{name}-seed-{seed}-{self.last(name)}"

    def tree(self, name: str, seed: int) -> dict[str, Any]:
        """Return the recipe of an arm."""
        settings = [
            f"train.steps={self.last(name)}",
            f"train.seed={seed}",
            f"train.validate_every={self.every}",
            f"train.log_every={self.every}",
            f"train.validate_images={LOOKED_AT}",
            f"train.sample_every={self.last(name)}",
            f"train.precision={self.precision}",
        ]
        if not ARMS[name].learns:
            settings.append("train.teacher=null")
        return config.override(recipe.find("emoji-lit"), settings)

    def train(self, name: str, seed: int) -> Path:
        """Train what is missing; return the folder."""
        source = TEACHER if ARMS[name].inherits else None
        return trained(self.tree(name, seed), self.folder(name, seed), source)

    def curve(self, name: str, seed: int) -> Curve:
        """Return held-out loss and seconds so far of an arm, by step."""
        place = f"lit-arms/{self.folder(name, seed).name}"
        found = kept(
            place, self.tree(name, seed), lambda: {"curve": looked(self.train(name, seed))}
        )
        return {step: (loss, seconds) for step, loss, seconds in found["curve"]}

    def scores(self, name: str, seed: int) -> dict[str, float]:
        """Return what an evaluation says of samples of an arm."""
        return kept(
            f"lit-arms/{self.folder(name, seed).name}-samples",
            {"run": self.tree(name, seed), "count": self.count},
            lambda: scored(self.train(name, seed), self.root, self.count),
        )


def looked(folder: Path) -> list[tuple[int, float, float | None]]:
    """Return step, held-out loss and seconds so far, at every look at held-out images."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [
        (values["step"], values["held_out"], values.get("seconds"))
        for values in lines
        if values.get("held_out") is not None
    ]


def bar(plan: Plan, seed: int) -> float:
    """Return the teacher's held-out loss, on what the students of a seed are looked at with."""
    made = recipe.resolve(plan.tree("scratch", seed))
    teacher = mezzotint.load(TEACHER)
    images = made.data.held_out()
    network = teacher.denoiser.network  # type: ignore[attr-defined]
    return float(made.held_out(network, ALONE.device, images)["held_out"])


def first_at(found: Curve, bound: float) -> int | None:
    """Return the first step at which a loss is within a bound; None if it never is."""
    return next((step for step in sorted(found) if found[step][0] <= bound), None)


def reached(steps: Sequence[int | None], last: int) -> str:
    """Say at which step each seed reached the bound."""
    return ", ".join(f"more than {last:,}" if step is None else f"{step:,}" for step in steps)


@dataclass(frozen=True)
class Way:
    """How an arm came to the bound, a seed each.

    Attributes:
        steps: until it was reached; None where it never was.
        seconds: until then, or of the whole run.
    """

    steps: Sequence[int | None]
    seconds: Sequence[float]

    @classmethod
    def of(cls, curves: Sequence[Curve], bounds: Sequence[float]) -> "Way":
        steps = [first_at(each, bound) for each, bound in zip(curves, bounds, strict=True)]
        seconds = [
            curve[max(curve) if step is None else step][1] or math.nan
            for curve, step in zip(curves, steps, strict=True)
        ]
        return cls(steps, seconds)

    def share(self, whole: "Way") -> str:
        """Return its time as a part of another's, trained on the same machine."""
        bound = ">" * (None in self.steps) or "<" * (None in whole.steps)
        parts = (own / other for own, other in zip(self.seconds, whole.seconds, strict=True))
        return f"{bound if self is not whole else ''}{statistics.mean(parts):.2f}"


def rows(plan: Plan) -> Iterator[list[str]]:
    """Yield the table of the arms."""
    bounds = [ABOVE * bar(plan, seed) for seed in SEEDS]
    whole = None
    for name in ARMS:
        curves = [plan.curve(name, seed) for seed in SEEDS]
        way = Way.of(curves, bounds)
        whole = whole or way
        scores = [plan.scores(name, seed) for seed in SEEDS]
        names = [n for n in scores[0] if n.startswith("FD") or n == "class accuracy"]
        if name == next(iter(ARMS)):
            yield ["", "steps", f"steps to {ABOVE:g} of the teacher's loss",
                   "time to it, of scratch's", "held-out loss at the end", *names]  # fmt: skip
        yield [
            name,
            f"{plan.last(name):,}",
            reached(way.steps, plan.last(name)),
            way.share(whole),
            cell([each[max(each)][0] for each in curves]),
            *(cell([each[n] for each in scores]) for n in names),
        ]


def by_step(plan: Plan) -> Iterator[list[str]]:
    """Yield the held-out losses on the way, a row an arm."""
    shown = [step for step in SHOWN if step <= plan.steps and step % plan.every == 0]
    shown = shown if plan.steps in shown else [*shown, plan.steps]
    yield ["held-out loss at step", *(f"{step:,}" for step in shown)]
    for name in ARMS:
        curves = [plan.curve(name, seed) for seed in SEEDS]
        yield [name, *(cell([each[step][0] for each in curves]) for step in shown)]


def told(plan: Plan) -> str:
    """Return both tables, and what the teacher is."""
    made = mezzotint.load(TEACHER)
    provenance, cost = made.tree["provenance"], made.cost()
    losses = cell([bar(plan, seed) for seed in SEEDS])
    began = f", {provenance['inherited'][0]}" if provenance.get("inherited") else ""
    head = (
        f"The teacher, {TEACHER}: {cost['parameters'] / 1e6:.2f} M parameters, "
        f"{cost['multiply_adds'] / 1e6:.0f} M multiply-adds, {provenance['seen']:,} images seen in "
        f"{provenance['seconds'] / 3600:.1f} h{began}, held-out loss {losses}. Its own training "
        "is not counted in the rows.\n\n"
    )
    return head + markdown(list(rows(plan))) + "\n" + markdown(list(by_step(plan)))


def main() -> None:
    """Train what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="only train and measure")
    parser.add_argument("--only", choices=ARMS, help="one arm; implies --train")
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "lit-arms")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--every", type=int, default=EVERY, help="steps between held-out looks")
    parser.add_argument("--count", type=int, default=COUNT, help="samples that are measured")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    plan = Plan(asked.root, asked.steps, asked.every, asked.count, asked.precision)
    for name in [asked.only] if asked.only else ARMS:
        for seed in SEEDS:
            plan.curve(name, seed)
            plan.scores(name, seed)
    if asked.train or asked.only:
        return
    table = told(plan)
    print(table)
    if asked.write:
        put(asked.page, "lit-arms", table)


if __name__ == "__main__":
    main()
