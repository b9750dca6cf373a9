"""The table of docs/accelerate.md: what `mezzotint tune` chooses for three budgets.

    python benchmarks/tuning.py prints            # searches, then measures both with other seeds
    python benchmarks/tuning.py prints --write    # and puts the table into docs/

One folder for three budgets: the first looks are shared, for they are of models and machine. What
was chosen and the best plain setting are measured again on seeds that no search saw. A stopped run
goes on where it was.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kept import kept
from pages import cell, markdown, put
from stitching import PAIRS

import mezzotint
from mezzotint import config
from mezzotint.evaluation.report import Report
from mezzotint.evaluation.wording import number

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "accelerate.md"
BUDGETS: Final = {"emoji": ("25ms", "50ms", "100ms"), "prints": ("10ms", "20ms", "40ms")}
SEEDS = (2_000_000, 3_000_000)
"""First seeds of the last measurement."""
ALSO: Final = ("class accuracy", "precision", "recall")
ROWS: Final = {"own recipe": "own", "best plain": "best_plain", "chosen": "chosen"}


def verb(*arguments: object) -> None:
    """Run `mezzotint` in a process of its own."""
    subprocess.run([sys.executable, "-m", "mezzotint", *map(str, arguments)], check=True)


@dataclass(frozen=True)
class Tuning:
    """Searches of a pair, and what they found, measured again.

    Attributes:
        pair: of PAIRS.
        root: where searches and samples lie.
        trials, count, final: options of `tune`.
        again: samples of a last measurement.
        compiled: try compiled networks as well.
    """

    pair: str
    root: Path
    trials: int
    count: int
    final: int
    again: int
    compiled: bool

    def figures(self, budget: str) -> dict[str, Any]:
        """Return what is kept of a budget, or search and measure."""
        models = {name: mezzotint.load(name).digest for name in PAIRS[self.pair]}
        options = {"trials": self.trials, "count": self.count, "final": self.final}
        of = {"models": models, **options, "again": self.again, "compiled": self.compiled}
        return kept(f"tuning/{self.pair}/{budget}", of, lambda: self._found(budget, options))

    def _found(self, budget: str, options: Mapping[str, int]) -> dict[str, Any]:
        folder = self.root / self.pair / "search"
        asked = [part for name, value in options.items() for part in (f"--{name}", value)]
        asked += ["--compile"] if self.compiled else []
        verb("tune", *PAIRS[self.pair], "--budget", budget, *asked, "--out", folder)
        tree = json.loads((folder / "front.json").read_text("utf-8"))
        rows = {}
        for row in ROWS.values():
            found = tree[row]
            if found is not None:
                rows[row] = {**found, "again": [self._again(found["drawing"], s) for s in SEEDS]}
        return {**rows, "machine": tree["machine"]}

    def _again(self, drawing: Mapping[str, Any], seed: int) -> dict[str, float]:
        """Return the figures of samples that no search saw."""
        # A lone image would wait for the compiler; the figures are the same up to rounding.
        tree = {**drawing, "compiled": False}
        name = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]
        place = self.root / self.pair / name / str(seed)
        recipe = place.parent / "recipe.json"
        config.write_json(recipe, tree)
        options = ("--count", self.again, "--seed", seed, "--out", place)
        verb("evaluate", "-c", recipe, *options)
        scores = Report.read(place / "report.json").scores
        return {each.name: float(each.value) for each in scores}

    def table(self) -> Iterator[list[str]]:
        """Yield the lines of the table."""
        ending = ["FD again", *ALSO]
        yield ["budget", "", "setting", "ms an image", "FD of the search", *ending]
        for budget in BUDGETS[self.pair]:
            found = self.figures(budget)
            for label, row in ROWS.items():
                if row in found:
                    yield [budget, label, *cells(found[row])]


def cells(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the cells of what a search found."""
    yield in_words(row["drawing"])
    yield number(1000 * row["seconds"], digits=3)
    yield number(distance_of(row), digits=3)
    yield cell([distance_of(each) for each in row["again"]])
    yield from (cell([each[name] for each in row["again"]]) for name in ALSO)


def distance_of(values: Mapping[str, float]) -> float:
    """Return the Fréchet distance among named figures."""
    return next(value for name, value in values.items() if name.startswith("FD"))


def in_words(drawing: Mapping[str, Any]) -> str:
    """Say a drawing recipe in one line."""
    sampling = drawing["sampling"]
    small = ", ".join(f"{each['source']} {each['fraction']:g}" for each in drawing["stitch"])
    said = [small or "alone"]
    if "steps" in sampling:
        grid, guidance = sampling["grid"], sampling.get("guidance", {})
        shift = f" {grid['shift']:g}" if "shift" in grid else ""
        said.append(f"{sampling['steps']} steps, {sampling['sampler']['kind']}")
        said.append(f"{grid['kind']}{shift}")
        if guidance:
            ends = f"{guidance['low']:g} to {guidance['high']:g}"
            said.append(f"guidance {guidance['scale']:g} at {ends}")
    said.append(drawing["precision"] + (", compiled" if drawing["compiled"] else ""))
    return ", ".join(said)


def main() -> None:
    """Search, measure, print the table, and write it into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pair", choices=PAIRS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "tuning")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--count", type=int, default=256, help="samples of a first look")
    parser.add_argument("--final", type=int, default=2_000, help="samples of a last look")
    parser.add_argument("--again", type=int, default=2_000, help="samples of another measurement")
    parser.add_argument("--compile", action="store_true", help="try compiled networks as well")
    asked = parser.parse_args()
    counts = (asked.trials, asked.count, asked.final, asked.again)
    text = markdown(list(Tuning(asked.pair, asked.root, *counts, asked.compile).table()))
    print(text)
    if asked.write:
        put(PAGE, f"tuning-{asked.pair}", text)
        front = asked.root / asked.pair / "search" / "front.svg"
        shutil.copyfile(front, PAGE.parent / "images" / f"tuning-{asked.pair}.svg")


if __name__ == "__main__":
    main()
