"""The tables of docs/evaluation.md: fewer steps, and guidance, of the zoo's models; two seeds each.

    python benchmarks/evaluation.py emoji-dit-tiny            # draws what is missing, and measures
    python benchmarks/evaluation.py emoji-dit-tiny --write    # and puts table and plots into docs/

A stopped run goes on where it was: samples lie in shards, figures are made once and kept in
benchmarks/results. Guidance is swept at GUIDED steps, which the table says.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch
from kept import kept, known
from pages import cell, markdown, put
from trials import PRECISION

import mezzotint
from mezzotint import config
from mezzotint.draws import Draws
from mezzotint.evaluation.choices import Choices, class_shares, trained_on
from mezzotint.evaluation.plots import Level, Logarithmic, Series, lines
from mezzotint.evaluation.sources import Source, open_source
from mezzotint.evaluation.wording import number
from mezzotint.files import write_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evaluation.md"
SEEDS = (0, 1_000_000)
STEPS = (50, 20, 10, 5)
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
GUIDED = 10
COUNT = 5_000
IN_BF16 = {"emoji-dit", "prints-dit"}
"""The models whose network computes in bfloat16 here, 2.4 times faster where the processor can."""


@dataclass(frozen=True)
class Row:
    """One way of sampling a model."""

    kind: str
    value: float

    def change(self, model: mezzotint.Generator) -> mezzotint.Generator:
        if self.kind == "steps":
            return model.with_sampling(steps=int(self.value))
        return model.with_sampling(steps=GUIDED, guidance=self.value)

    def folder(self, root: Path, seed: int) -> Path:
        return root / f"{self.kind}-{self.value:g}-seed-{seed}"


ROWS = [*(Row("steps", s) for s in (20, 10, 5)), *(Row("guidance", g) for g in SCALES)]
ROWS.append(Row("steps", 50))  # the dearest last
"""In the order in which they are made."""


def draws_of(name: str, row: Row, seed: int, root: Path, batch: int) -> Draws:
    """Return the samples of a row, with the classes' shares of the training images."""
    made = row.change(mezzotint.load(name)).to("cpu", autocast=PRECISION[name in IN_BF16])
    shares = class_shares(training_of(name, made.tree), made.classes)
    return Draws(made, name, row.folder(root, seed) / "samples", COUNT, seed, batch, shares)


def draw(draws: Draws) -> Path:
    """Draw what is missing of a row."""
    draws.open()
    for _ in draws.draw():
        pass
    return draws.folder


def training_of(name: str, made: Mapping[str, Any]) -> Source:
    training, _, why = trained_on(made)
    if training is None:
        raise SystemExit(f"{name}: {why}")
    return training


def measure(name: str, row: Row, draws: Draws, root: Path) -> dict[str, Any]:
    """Draw and measure; return what the table and the plots show."""
    samples = open_source(str(draw(draws)))
    evaluator = Choices(cache=root / "features").evaluator(samples, training_of(name, samples.made))
    title = f"{name}, {row.kind} {row.value:g}, seeds from {draws.seed}"
    result = evaluator.report(samples, title=title, command=f"benchmarks/evaluation.py {name}")
    assert result is not None
    report = result[0]
    report.write(row.folder(root, draws.seed), result[1])
    found = {score.name: score.value for score in report.scores}
    if report.memorisation is not None:
        found["memorised"] = report.memorisation.share
    how = report.protocol
    return {
        "steps": how.steps,
        "guidance": how.guidance,
        "against": [how.extractor_digest, how.judge_digest, how.reference_digest],
        "values": found,
        "floors": {score.name: score.floor for score in report.scores},
        "floor_count": report.scores[0].floor_count,
    }


@dataclass(frozen=True)
class Kept:
    """The figures of one row and seed."""

    name: str
    row: Row
    seed: int
    root: Path
    batch: int

    @cached_property
    def draws(self) -> Draws:
        return draws_of(self.name, self.row, self.seed, self.root, self.batch)

    @property
    def of(self) -> dict[str, Any]:
        """All that the figures depend on."""
        return config.dump(self.draws.manifest())

    @property
    def place(self) -> str:
        return f"evaluation/{self.name}/{self.row.folder(Path(), self.seed)}"

    def there(self) -> bool:
        """Tell whether nothing need be drawn any more."""
        return known(self.place, self.of) is not None or not self.draws.missing()

    def figures(self) -> dict[str, Any]:
        return kept(
            self.place, self.of, lambda: measure(self.name, self.row, self.draws, self.root)
        )


def table(found: Mapping[Row, Sequence[Mapping[str, Any]]]) -> str:
    """Return the Markdown table of a model."""
    first = next(iter(found.values()))[0]
    if any(each["against"] != first["against"] for row in found.values() for each in row):
        raise SystemExit("rows of another judge or reference; remove them from benchmarks/results")
    hidden = ("density", "coverage", "IS")
    shown = [name for name in first["values"] if not name.startswith(hidden)]
    body = [["", "steps", "guidance", *shown]]
    for row in sorted(found, key=lambda r: (r.kind != "steps", r.value)):
        each = found[row][0]
        cells = [cell([seed["values"][name] for seed in found[row]]) for name in shown]
        body.append([row.kind, str(each["steps"]), str(each["guidance"]), *cells])
    real = [number(first["floors"].get(name, 0.05)) for name in shown]
    body.append([f"real data against itself, n = {first['floor_count']:,}", "", "", *real])
    return markdown(body)


def plots(
    name: str, found: Mapping[Row, Sequence[Mapping[str, Any]]], metric: str
) -> dict[str, str]:
    """Return the figures of a model as SVG, by file name."""
    drawn = {}
    for kind, label in (("steps", "sampling steps"), ("guidance", "guidance scale")):
        rows = sorted((r for r in found if r.kind == kind), key=lambda r: r.value)
        if len(rows) < 2:
            continue
        sets = [[each["values"][metric] for each in found[row]] for row in rows]
        series = Series(
            name,
            tuple(row.value for row in rows),
            tuple(statistics.mean(each) for each in sets),
            tuple(min(each) for each in sets),
            tuple(max(each) for each in sets),
        )
        first = found[rows[0]][0]
        level = [Level(f"real data, n = {first['floor_count']}", first["floors"][metric] or 0.0)]
        title = f"{name}: {metric} against {label}"
        scale = {"x_scale": Logarithmic()} if kind == "steps" else {}
        drawn[f"evaluation-{name}-{kind}.svg"] = lines(
            [series], label, metric, title, levels=level, **scale
        )
    return drawn


def main() -> None:
    """Make the rows of one model, print its table, and write it into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--write", action="store_true", help="put table and plots into docs/")
    parser.add_argument("--draw", action="store_true", help="only draw the samples")
    parser.add_argument("--only", choices=("steps", "guidance"), help="rows of one kind")
    parser.add_argument("--done", action="store_true", help="only rows whose samples are all there")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "eval")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    root = asked.root / asked.model
    rows = [row for row in ROWS if asked.only in {None, row.kind}]
    if asked.draw:
        for row, seed in product(rows, SEEDS):
            each = Kept(asked.model, row, seed, root, asked.batch)
            if not each.there():
                print(draw(each.draws), flush=True)
        return
    found: dict[Row, list[dict[str, Any]]] = {}
    for row in rows:
        cells = [Kept(asked.model, row, seed, root, asked.batch) for seed in SEEDS]
        if asked.done and not all(each.there() for each in cells):
            continue
        found[row] = [each.figures() for each in cells]
        print(row.kind, row.value, found[row][0]["values"], flush=True)
    text = table(found)
    print(text)
    if asked.write:
        put(PAGE, asked.model, text)
        metric = next(iter(next(iter(found.values()))[0]["values"]))
        for file, drawing in plots(Path(asked.model).name, found, metric).items():
            write_text(ROOT / "docs" / "images" / file, drawing)


if __name__ == "__main__":
    main()
