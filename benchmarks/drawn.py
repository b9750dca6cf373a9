"""Samples of a model, drawn in shards that a stopped run goes on with, and what they are worth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mezzotint
from mezzotint.draws import Draws
from mezzotint.evaluation.choices import Choices, class_shares, trained_on
from mezzotint.evaluation.sources import open_source


def measured(
    made: mezzotint.Generator, title: str, folder: Path, count: int, seed: int, batch: int
) -> dict[str, Any]:
    """Draw what is missing, with the classes' shares of the training images; return all scores.

    Args:
        made: what draws.
        title: of the report.
        folder: where samples and report lie; features are kept beside its parent.
        count: samples.
        seed: of the first.
        batch: images at a time.
    """
    training, _, why = trained_on(made.tree)
    if training is None:
        raise SystemExit(f"{title}: {why}")
    shares = class_shares(training, made.classes)
    draws = Draws(made, title, folder / "samples", count, seed, batch, shares)
    draws.open()
    for _ in draws.draw():
        pass
    samples = open_source(str(draws.folder))
    cache = folder.parents[1] / "features"
    result = Choices(cache=cache).evaluator(samples, training).report(samples, title=title)
    assert result is not None
    result[0].write(folder, result[1])
    return {
        "values": {score.name: score.value for score in result[0].scores},
        "floors": {score.name: score.floor for score in result[0].scores},
    }


def job(made: mezzotint.Generator, images: int) -> Callable[[], object]:
    """Return what draws so many images at once, of the classes in turn, to be timed."""
    labels = [k % max(1, len(made.classes)) for k in range(images)]
    return lambda: list(made.stream(labels, range(images), batch=images))
