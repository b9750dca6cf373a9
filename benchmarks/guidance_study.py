"""The table of docs/guidance.md on guidance: FD-emoji against precision and recall, by who guides.

    python benchmarks/guidance_study.py            # draws and measures what is missing; goes on
    python benchmarks/guidance_study.py --write    # and puts table and curves into docs/
    python benchmarks/guidance_study.py --bf16 --count 2000 --steps 10 --write

emoji-dit: alone, with classifier-free guidance, with it in an interval of noise, and guided away
from emoji-dit-tiny; two seeds. Forwards are those of an image, autoguidance's tiny ones apart.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kept import kept
from pages import cell, markdown, put
from steering import Panel, mean_of
from trials import PRECISION

import mezzotint
from mezzotint import classifier, config
from mezzotint.autoguiding import autoguided
from mezzotint.data.images import Data
from mezzotint.diffusion.scales import Constant, Interval
from mezzotint.evaluation.plots import Series, lines
from mezzotint.files import write_text
from mezzotint.generator import Generator

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guidance.md"
MODEL, WEAKER, JUDGE = "emoji-dit", "emoji-dit-tiny", "emoji-judge"
SEEDS = (0, 1_000_000)
SCALES = (1.5, 2.0, 3.0, 4.0)
LOW, HIGH = 0.16, 0.62
"""Sigma / alpha from 0.19 to 1.61, as published, on the straight line."""


Curves = list[tuple[str, list[dict[str, float]]]]


@dataclass(frozen=True)
class Study:
    """What all cells of the table have in common.

    Args:
        count: images of a cell.
        steps: of the sampler.
        bf16: compute in bfloat16.
    """

    count: int
    steps: int
    bf16: bool

    def loaded(self, name: str) -> Generator:
        return mezzotint.load(name).to("cpu", autocast=PRECISION[self.bf16])

    @cached_property
    def model(self) -> Generator:
        return self.loaded(MODEL).with_sampling(steps=self.steps, guidance=Constant(1.0))

    @cached_property
    def weaker(self) -> Generator:
        return self.loaded(WEAKER)

    @cached_property
    def panel(self) -> Panel:
        tree = config.dump(self.model.tree)["provenance"]["recipe"]["data"]
        data: Data = config.load("data", tree)
        return Panel(classifier.load(JUDGE), data.train())

    def figures(self, arm: str, made: Generator, scale: float, seed: int) -> dict[str, Any]:
        """Return what is kept of a cell, or draw and measure it."""
        of = {
            "model": made.digest,
            "weaker": self.weaker.digest,
            "sampling": config.dump(made.sampling),
            "arm": arm,
            "scale": scale,
            "count": self.count,
            "bf16": self.bf16,
            "real": "all",
            "seed": seed,
        }
        place = f"guidance/{arm.replace(' ', '-')}-{scale:g}-{seed}"
        return kept(place, of, lambda: self.panel.figures(made, self.count, seed))


def plain(study: Study, scale: float) -> Generator:
    return study.model.with_sampling(guidance=Constant(scale))


def interval(study: Study, scale: float) -> Generator:
    return study.model.with_sampling(guidance=Interval(scale, LOW, HIGH))


def away(study: Study, scale: float) -> Generator:
    return autoguided(study.model, study.weaker, scale)


ARMS: Mapping[str, Callable[[Study, float], Generator]] = {
    "classifier-free": plain,
    "in an interval": interval,
    "autoguidance": away,
}


def measured(study: Study) -> tuple[list[list[str]], Curves]:
    """Return the table, and the figures of each arm, scale by scale."""
    names = ("fd", "precision", "recall", "accuracy")
    table = [["guidance", "scale", "FD-emoji", "precision", "recall", "accuracy"]]
    none = [study.figures("none", study.model, 1.0, seed) for seed in SEEDS]
    table.append(["none", "1", *(cell(mean_of(none, name)) for name in names)])
    curves: Curves = []
    for arm, make in ARMS.items():
        points: list[dict[str, float]] = []
        for scale in SCALES:
            made = make(study, scale)
            found = [study.figures(arm, made, scale, seed) for seed in SEEDS]
            print(arm, scale, found, flush=True)
            table.append([arm, f"{scale:g}", *(cell(mean_of(found, name)) for name in names)])
            points.append({name: sum(mean_of(found, name)) / len(found) for name in names})
        curves.append((arm, points))
    return table, curves


def drawn(curves: Curves, name: str) -> str:
    """Draw FD over precision or recall, a curve an arm along its scales."""
    series = []
    for arm, points in curves:
        ordered = sorted(points, key=lambda point: point[name])
        x, y = (tuple(point[each] for point in ordered) for each in (name, "fd"))
        series.append(Series(arm, x, y))
    return lines(series, name, "FD-emoji", f"FD-emoji over {name}")


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("--count", type=int, default=5_000)
    ask.add_argument("--steps", type=int, default=20)
    ask.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    ask.add_argument("--write", action="store_true")
    given = ask.parse_args()
    table, curves = measured(Study(given.count, given.steps, given.bf16))
    how = {True: ", bf16", False: ""}[given.bf16]
    told = f"\n{given.count:,} images a seed, {given.steps} steps{how}; ± is half the difference.\n"
    text = markdown(table) + told
    print(text)
    if given.write:
        put(PAGE, "guidance-study", text)
        for name in ("precision", "recall"):
            place = ROOT / "docs" / "images" / f"guidance-study-{name}.svg"
            write_text(place, drawn(curves, name))


if __name__ == "__main__":
    main()
