"""Runs that a table is made of: trained where they stopped, and measured once."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import mezzotint
from mezzotint import recipe
from mezzotint.draws import Draws
from mezzotint.evaluation.choices import Choices, class_shares, trained_on
from mezzotint.evaluation.report import Report
from mezzotint.evaluation.sources import open_source
from mezzotint.run import Run
from mezzotint.training.distributed import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
PRECISION = {True: torch.bfloat16, False: None}
"""What a network computes in, by whether bfloat16 is asked for."""


def trained(tree: Mapping[str, Any], folder: Path, init_from: str | None = None) -> Path:
    """Train what is missing of a run; return its folder."""
    run = Run(recipe.resolve(tree), folder, ALONE, init_from=init_from)
    run.open()
    if not run.done:
        for _ in run.fit():
            pass
        print(folder, flush=True)
    return folder


def measured(folder: Path, root: Path, count: int) -> Report:
    """Draw samples of a run and measure them, or read what was measured."""
    path = folder / "evaluation" / "report.json"
    if path.exists():
        return Report.read(path)
    made = mezzotint.load(folder)
    training, _, why = trained_on(made.tree)
    if training is None:
        raise SystemExit(f"{folder}: {why}")
    shares = class_shares(training, made.classes)
    draws = Draws(made, folder.name, folder / "evaluation" / "samples", count, 0, 64, shares)
    draws.open()
    for _ in draws.draw():
        pass
    samples = open_source(str(draws.folder))
    evaluator = Choices(cache=root / "features").evaluator(samples, training)
    result = evaluator.report(
        samples, title=folder.name, command=f"benchmarks/{Path(sys.argv[0]).name}"
    )
    assert result is not None
    result[0].write(path.parent, result[1])
    return result[0]


def scored(folder: Path, root: Path, count: int) -> dict[str, float]:
    """Return the figures of `measured`, by name."""
    return {score.name: score.value for score in measured(folder, root, count).scores}
