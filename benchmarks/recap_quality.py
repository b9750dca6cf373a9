"""ReCAP beside full sampling: quality against time of a trained masked model; two seeds each.

    python benchmarks/recap_quality.py emoji-maskgit --bf16            # draws what is missing
    python benchmarks/recap_quality.py emoji-maskgit --bf16 --write    # puts the table into docs/

Time is that of whole images, decoder and all, in turn with a full plan of UNIT stages, in the
precision that the images are drawn in. Where a head takes fewer steps after light passes (MAR's),
rows with one number of steps everywhere tell what that alone is worth. The verdict below the table
is computed from it.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from drawn import job, measured
from kept import kept
from pages import cell, markdown, put
from trials import PRECISION

from mezzotint import bench, config, load
from mezzotint.token_generator import TokenGenerator

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "masked.md"
SEEDS: Final = (0, 1_000_000)
UNIT: Final = 16
TIMED: Final = 16
"""Images of a timing."""
CLOSE: Final = 0.03
WANTED: Final = 1.8
"""How much worse than the best full plan a light one may be, and how much faster it should be."""


@dataclass(frozen=True)
class Row:
    """One plan: stages, light passes after each full one, stages at the start without them."""

    steps: int
    reuse: int = 0
    after: int = 0
    head: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """For files."""
        head = "".join(f"-{name}-{value:g}" for name, value in self.head)
        return f"stages-{self.steps}-reuse-{self.reuse}-after-{self.after}{head}"

    def model(self, made: TokenGenerator) -> TokenGenerator:
        """Return the model under this plan."""
        changes = {"steps": self.steps, "reuse": self.reuse, "after": self.after}
        return made.with_sampling(**changes, head={**made.sampling.head, **dict(self.head)})


FULL: Final = [Row(steps) for steps in (4, 8, 12, 16, 24, 32, 64)]
PLANS: Final = (
    *((8, 1, 0), (16, 1, 0), (16, 1, 8), (32, 1, 0), (32, 1, 16)),
    *((16, 2, 0), (16, 3, 0), (32, 3, 0), (64, 3, 0)),
)
LIGHT: Final = [Row(*plan) for plan in PLANS]


@dataclass(frozen=True)
class Study:
    """The plans of a model, drawn, timed and measured under one protocol."""

    source: str
    root: Path
    count: int
    batch: int
    rounds: int
    bf16: bool

    @cached_property
    def made(self) -> TokenGenerator:
        """The model."""
        found = load(self.source)
        assert isinstance(found, TokenGenerator), f"{self.source}: not a masked model"
        return found.to("cpu", autocast=PRECISION[self.bf16])

    @property
    def rows(self) -> list[Row]:
        """All plans; more where the head has a number of steps of its own after light passes."""
        head = self.made.denoiser.head
        if not hasattr(head, "light"):
            return [*FULL, *LIGHT]
        shorter = (("steps", max(1, int(head.steps * head.light))),)
        others = [Row(steps, head=shorter) for steps in (16, 32, 64)]
        return [
            *FULL,
            *others,
            *LIGHT,
            *(Row(steps, 1, head=(("light", 1.0),)) for steps in (16, 32)),
        ]

    def figures(self, row: Row, seed: int) -> dict[str, float]:
        """Return what is kept of a row, or draw and measure it."""
        made = row.model(self.made)
        of = {"weights": made.digest, "sampling": config.dump(made.sampling)}
        of |= {"seed": seed, "count": self.count, "bf16": self.bf16}
        folder = self.root / Path(self.source).name / f"{row.name}-seed-{seed}"
        title = f"{Path(self.source).name}, {row.name}, seeds from {seed}"
        name = f"recap/{Path(self.source).name}/{row.name}-seed-{seed}"
        found = kept(name, of, lambda: measured(made, title, folder, self.count, seed, self.batch))
        values: dict[str, float] = found["values"]
        return values

    def time(self, row: Row) -> float:
        """Return the time of a row as a multiple of the full plan's of UNIT stages."""
        made, unit = row.model(self.made), Row(UNIT).model(self.made)
        of = {"weights": made.digest, "sampling": config.dump(made.sampling)}
        of |= {"images": TIMED, "rounds": self.rounds, "bf16": self.bf16}

        def ratio() -> dict[str, Any]:
            found = bench.paired(job(made, TIMED), job(unit, TIMED), self.rounds)
            return {"ratio": found, "machine": bench.machine()}

        name = f"recap/{Path(self.source).name}/time-{row.name}"
        return float(kept(name, of, ratio)["ratio"])

    def report(self) -> str:
        """Return the table and the verdict."""
        times = {row: self.time(row) for row in self.rows}
        found = {row: [self.figures(row, seed) for seed in SEEDS] for row in self.rows}
        first = next(iter(found.values()))[0]
        distance = next(name for name in first if name.startswith("FD"))
        shown = [distance, *(n for n in ("precision", "recall", "class accuracy") if n in first)]
        lines = [["stages", "light after each", "after", "head", "full + light", "time", *shown]]
        for row, values in found.items():
            full, light = row.model(self.made).masked.plan.passes
            head = ", ".join(f"{name} {value:g}" for name, value in row.head)
            plan = [str(row.steps), str(row.reuse), str(row.after), head, f"{full} + {light}"]
            cells = (cell([each[name] for each in values]) for name in shown)
            lines.append([*plan, f"{times[row]:.2f}", *cells])
        means = {row: statistics.mean(v[distance] for v in found[row]) for row in found}
        return markdown(lines) + "\n" + "\n".join(verdict(means, times)) + "\n"


def verdict(means: Mapping[Row, float], times: Mapping[Row, float]) -> Iterator[str]:
    """Say how the light plans stand to the full ones of the same head."""
    full = [row for row in means if not row.reuse and not row.head]
    light = [row for row in means if row.reuse and not row.head]
    best = min(full, key=lambda row: means[row])
    yield f"Best full plan: {best.steps} stages, {means[best]:.3f} in time {times[best]:.2f}."
    near = [row for row in light if means[row] <= (1 + CLOSE) * means[best]]
    if near:
        quick = min(near, key=lambda row: times[row])
        speed = times[best] / times[quick]
        said = "reached" if speed >= WANTED else "missed"
        yield (
            f"Fastest light plan within {CLOSE:.0%} of it: {quick.steps} stages, {quick.reuse} "
            f"light after each, after {quick.after}: {speed:.2f} times as fast ({WANTED:g} wanted: "
            f"{said})."
        )
    else:
        closest = min(light, key=lambda row: means[row])
        yield (
            f"No light plan comes within {CLOSE:.0%} of it; the nearest, {closest.steps} stages, "
            f"{closest.reuse} light after each, has {means[closest]:.3f} at "
            f"{times[best] / times[closest]:.2f} times the speed ({WANTED:g} wanted: missed)."
        )
    under = sum(means[row] <= at(full, means, times, times[row]) for row in light)
    yield f"{under} of {len(light)} light plans are no worse than full sampling of the same time."


def at(
    full: Sequence[Row], means: Mapping[Row, float], times: Mapping[Row, float], time: float
) -> float:
    """Return the distance of full sampling at a time, between its plans along log time."""
    places = sorted(full, key=lambda row: times[row])
    x = [np.log(times[row]) for row in places]
    return float(np.interp(np.log(time), x, [means[row] for row in places]))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "recap")
    parser.add_argument("--count", type=int, default=2_000, help="samples of a row")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="of each pair of timings")
    parser.add_argument("--bf16", action="store_true", help="networks compute in bfloat16")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    about = (asked.count, asked.batch, asked.rounds, asked.bf16)
    text = Study(asked.model, asked.root, *about).report()
    print(text)
    if asked.write:
        put(PAGE, f"recap-{Path(asked.model).name}", text)


if __name__ == "__main__":
    main()
