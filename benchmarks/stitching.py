"""The pictures and tables of docs/accelerate.md: stitching beside fewer steps; two seeds each.

    python benchmarks/stitching.py emoji --pictures     # same seeds, fractions 0 to 1
    python benchmarks/stitching.py emoji                # draws what is missing, and measures
    python benchmarks/stitching.py emoji --write        # and puts the tables into docs/

A stopped run goes on where it was: samples lie in shards, figures are made once and kept in
benchmarks/results. Times are ratios to the whole model, measured in turn with it on this machine,
in float32 and, with --bf16, in bfloat16 as well; the pictures are drawn in bfloat16 then.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from agreement import on_images, on_the_way
from drawn import job, measured
from kept import kept
from pages import cell, markdown, put
from trials import PRECISION

import mezzotint
from mezzotint import bench, config
from mezzotint.data.draw import grid
from mezzotint.data.write import save_png
from mezzotint.diffusion.allocation import Rule
from mezzotint.noise import mix

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "accelerate.md"
PAIRS: Final = {
    "emoji": ("emoji-dit", "emoji-dit-tiny"),
    "emoji-early": ("emoji-dit", "emoji-dit-early"),
    "prints": ("prints-dit", "prints-dit-tiny"),
}
SEEDS = (0, 1_000_000)
STEPS, COUNT = 50, 5_000
PARTS: Final = ("fractions", "order", "agreement", "levels")
PRECISION_NAME: Final = {True: "bf16", False: "fp32"}
FRACTIONS = tuple(k / 10 for k in range(11))
FEWER = (40, 30, 20, 15, 10)
"""Steps of the whole model alone: enough to read off its distance at the time of any fraction."""
CLASSES = ("face", "animal", "flag", "heart", "clock", "plant")


@dataclass(frozen=True)
class Reversed:
    """The large model first, then the small one; fractions are those of the usual order."""

    def __call__(self, fractions: Any, clock: torch.Tensor) -> list[int]:
        count = round(fractions[0] * len(clock))
        return [1] * (len(clock) - count) + [0] * count

    def timesteps(self, num_steps: int) -> torch.Tensor:
        return torch.arange(num_steps, 0, -1.0)


@dataclass(frozen=True)
class Interleaved(Reversed):
    """The small model's steps spread evenly over the whole way."""

    def __call__(self, fractions: Any, clock: torch.Tensor) -> list[int]:
        ends = [int(k * fractions[0]) for k in range(1, len(clock) + 1)]
        return [int(end == before) for before, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True)
class Fading(Reversed):
    """The small model with a probability that falls from 2 r to 0, where r is its fraction."""

    def __call__(self, fractions: Any, clock: torch.Tensor) -> list[int]:
        drawn = torch.rand(len(clock), generator=torch.Generator().manual_seed(mix(len(clock))))
        falling = 2 * fractions[0] * (1 - (torch.arange(len(clock)) + 0.5) / len(clock))
        return (drawn >= falling).int().tolist()


ORDERS: Final[dict[str, Rule | None]] = {
    "small to large": None,
    "probability falling": Fading(),
    "interleaved": Interleaved(),
    "large to small": Reversed(),
}


@dataclass(frozen=True)
class Row:
    """One way of drawing with a pair."""

    fraction: float
    steps: int = STEPS
    order: str = "small to large"

    @property
    def name(self) -> str:
        start = self.order.replace(" ", "-")
        return f"{start}-{self.fraction:g}-steps-{self.steps}"

    def model(self, large: mezzotint.Generator, small: mezzotint.Generator) -> mezzotint.Generator:
        large = large.with_sampling(steps=self.steps)
        if self.fraction == 0:
            return large
        rule = ORDERS[self.order]
        options = {} if rule is None else {"rule": rule}
        return large.stitch_with(small, self.fraction, **options)  # type: ignore[arg-type]


WHOLE = Row(0)
STITCHED = [Row(fraction) for fraction in FRACTIONS]
ALONE = [Row(0, steps=steps) for steps in FEWER]
ORDERED = [Row(0.5, order=order) for order in ORDERS]


@dataclass(frozen=True)
class Study:
    """The rows of a pair, drawn and measured under one protocol.

    Attributes:
        pair: of PAIRS.
        root: where samples and features lie.
        count: samples of a row.
        batch: images at a time.
        bf16: compute in bfloat16.
        compiled: draw with compiled networks; times are of plain ones.
        timed: images of a timing, in one batch.
    """

    pair: str
    root: Path
    count: int = COUNT
    batch: int = 64
    bf16: bool = False
    compiled: bool = False
    timed: int = 16

    @cached_property
    def models(self) -> list[mezzotint.Generator]:
        """What draws."""
        found = [made.to("cpu", autocast=PRECISION[self.bf16]) for made in loaded(self.pair)]
        return [made.compiled() for made in found] if self.compiled else found

    def owner(self, row: Row) -> str:
        """Return whose row it is: the large model's where it draws alone, as with any other."""
        return self.pair if row.fraction else PAIRS[self.pair][0]

    def plain(self, row: Row, *, bf16: bool) -> mezzotint.Generator:
        return row.model(*loaded(self.pair)).to("cpu", autocast=PRECISION[bf16])

    def figures(self, row: Row, seed: int) -> dict[str, Any]:
        """Return what is kept of a row, or draw and measure it."""
        made = row.model(*self.models)
        of = {
            "weights": made.digest,
            "sampling": config.dump(made.sampling),
            "order": row.order,
            "seed": seed,
            "count": self.count,
            "bf16": self.bf16,
            "compiled": self.compiled,
        }
        name = f"{row.name}-seed-{seed}"
        folder, title = self.root / self.owner(row) / name, f"{self.pair}, {name}"
        return kept(
            f"stitching/{self.owner(row)}/{name}",
            of,
            lambda: measured(made, title, folder, self.count, seed, self.batch),
        )

    def time(self, row: Row, rounds: int, *, bf16: bool) -> float:
        """Return the time of a row as a part of the whole model's, measured in pairs."""
        made, whole = self.plain(row, bf16=bf16), self.plain(WHOLE, bf16=bf16)
        of = {"weights": made.digest, "sampling": config.dump(made.sampling), "bf16": bf16}
        of |= {"batch": self.timed, "rounds": rounds}

        def ratio() -> dict[str, Any]:
            found = bench.paired(job(made, self.timed), job(whole, self.timed), rounds)
            return {"ratio": found, "machine": bench.machine()}

        images = "" if self.timed == Study.timed else f"-images-{self.timed}"
        name = f"stitching/{self.owner(row)}/time-{PRECISION_NAME[bf16]}-{row.name}{images}"
        return float(kept(name, of, ratio)["ratio"])

    def table(self, rows: list[Row], rounds: int) -> Iterator[list[str]]:
        """Yield the lines of a table."""
        kinds = (False, True)[: 1 + self.bf16]
        timed = {row: [self.time(row, rounds, bf16=kind) for kind in kinds] for row in rows}
        found = {row: [self.figures(row, seed)["values"] for seed in SEEDS] for row in rows}
        first = found[rows[0]][0]
        shown = [n for n in first if n.startswith("FD") or n in {"precision", "recall"}]
        shown += ["class accuracy"] if "class accuracy" in first else []
        faster = [f"speed-up, {PRECISION_NAME[kind]}" for kind in kinds]
        yield ["", "fraction", "steps", *faster, *shown]
        for row, values in found.items():
            yield [
                row.order if row.fraction else "large alone",
                f"{row.fraction:g}",
                str(row.steps),
                *(f"{1 / part:.2f}" for part in timed[row]),
                *(cell([each[name] for each in values]) for name in shown),
            ]


def loaded(pair: str) -> list[mezzotint.Generator]:
    return [mezzotint.load(name) for name in PAIRS[pair]]


def pictures(pair: str, steps: int) -> Path:
    """Draw the same seeds with fractions 0 to 1, a row a class and a column a fraction."""
    models = loaded(pair)
    first = models[0]
    classes = [name for name in CLASSES if name in first.classes] or list(first.classes[:6])
    columns = [
        replace(row, steps=steps).model(*models).sample(classes, seeds=3) for row in STITCHED
    ]
    images = torch.stack(columns, dim=1).flatten(0, 1)
    path = ROOT / "docs" / "images" / f"stitching-{pair}.png"
    save_png(path, grid(images, columns=len(columns), names=classes, magnify=2))
    return path


def main() -> None:
    """Make the rows of a pair, print their tables, and write them into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pair", choices=PAIRS)
    parser.add_argument("--pictures", action="store_true", help="only draw the trajectory pictures")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/")
    parser.add_argument("--part", choices=PARTS, help="one table")
    parser.add_argument("--fractions", help="these alone in the table, as 0,0.4,1")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "stitching")
    parser.add_argument("--count", type=int, default=COUNT, help="samples of a row")
    parser.add_argument("--steps", type=int, default=20, help="of the pictures")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="of each pair of timings")
    parser.add_argument("--timed", type=int, default=16, help="images of a timing, in one batch")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--compile", action="store_true", help="draw with compiled networks")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.pictures:
        print(pictures(asked.pair, asked.steps))
        return
    options = {"bf16": asked.bf16, "compiled": asked.compile, "timed": asked.timed}
    study = Study(asked.pair, asked.root, asked.count, asked.batch, **options)
    rows = [*STITCHED, *ALONE]
    if asked.fractions:
        rows = [Row(float(each)) for each in asked.fractions.split(",")]
    parts = {
        "fractions": lambda: list(study.table(rows, asked.rounds)),
        "order": lambda: list(study.table([WHOLE, *ORDERED], asked.rounds)),
        "agreement": lambda: list(on_the_way(tuple(loaded(asked.pair)), STEPS)),
        "levels": lambda: list(on_images(tuple(loaded(asked.pair)))),
    }
    for part, lines in parts.items():
        if asked.part in {None, part}:
            text = markdown(lines())
            print(text, flush=True)
            if asked.write:
                put(PAGE, f"stitching-{asked.pair}-{part}", text)


if __name__ == "__main__":
    main()
