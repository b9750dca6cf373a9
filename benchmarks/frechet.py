"""The Fréchet distance without a matrix square root, beside the plain formula, in one run.

    python benchmarks/frechet.py [--rounds 3] [--cases 5000x2048,600x1024,300x1024]

Every way is given the same features; rounds are interleaved and medians are reported. The seconds
are those of the distance alone, from moments, on the wall and of the processors; the latter are
fair on a busy machine. From rows (for n < d) they are those of everything.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from torch import Tensor

from mezzotint.bench import machine
from mezzotint.evaluation.frechet import frechet, frechet_rows
from mezzotint.evaluation.moments import Moments


def features(rows: int, width: int, seed: int, shift: float) -> Tensor:
    """Draw what a pooled layer might say: correlated, not negative, a spectrum of 1 / k."""
    turn = torch.randn(width, width, generator=torch.Generator().manual_seed(0)) / width**0.5
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.arange(1, width + 1) ** -0.5
    return ((1 + shift) * drawn * spectrum @ turn + shift * turn[0]).relu()


@dataclass(frozen=True)
class Pair:
    """Two sets of features and their moments, in both worlds."""

    rows: tuple[Tensor, Tensor]
    moments: tuple[Moments, Moments]
    arrays: list[np.ndarray]  # mean, covariance, mean, covariance

    @classmethod
    def of(cls, rows: int, width: int) -> "Pair":
        sets = features(rows, width, 1, 0.0), features(rows, width, 2, 0.2)
        moments = Moments.of(sets[0]), Moments.of(sets[1])
        arrays = [part.numpy() for each in moments for part in (each.mean, each.covariance)]
        return cls(sets, moments, arrays)


def square_root(pair: Pair) -> float:
    """The plain formula, as in pytorch-fid, clean-fid and ADM's evaluator."""
    mean, covariance, other_mean, other = pair.arrays
    root = scipy.linalg.sqrtm(covariance.dot(other)).real
    gap = mean - other_mean
    return float(gap.dot(gap) + np.trace(covariance) + np.trace(other) - 2 * np.trace(root))


def eigenvalues(pair: Pair) -> float:
    """The formula of torch-fidelity and torchmetrics."""
    mean, covariance, other_mean, other = pair.arrays
    found = np.linalg.eigvals(covariance.dot(other)).astype("complex128")
    gap = mean - other_mean
    overlap = np.sum(np.sqrt(found).real)
    return float(gap.dot(gap) + np.trace(covariance) + np.trace(other) - 2 * overlap)


ROWS = "mezzotint, rows"
PLAIN = "scipy sqrtm"
WAYS: dict[str, Callable[[Pair], float]] = {
    "mezzotint": lambda pair: frechet(*pair.moments),
    ROWS: lambda pair: frechet_rows(*pair.rows),
    PLAIN: square_root,
    "numpy eigvals": eigenvalues,
}


def medians(pairs: list[tuple[float, float]]) -> list[float]:
    """Return the median of either column."""
    return [statistics.median(column) for column in zip(*pairs, strict=True)]


def measure(case: str, rounds: int) -> None:
    """Print the rows of one case."""
    rows, width = map(int, case.split("x"))
    pair = Pair.of(rows, width)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    values: dict[str, float] = {}
    ways = {name: way for name, way in WAYS.items() if rows < width or name != ROWS}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, work = time.perf_counter(), time.process_time()
            values[name] = way(pair)
            times[name].append((time.perf_counter() - wall, time.process_time() - work))
    plain_wall, plain_work = medians(times[PLAIN])
    for name in ways:
        wall, work = medians(times[name])
        off = abs(values[name] - values[PLAIN]) / values[PLAIN]
        print(
            f"| {rows:,} | {width:,} | {name} | {wall:.2f} | {plain_wall / wall:.1f} | "
            f"{work:.2f} | {plain_work / work:.1f} | {values[name]:.9g} | {off:.1e} |",
            flush=True,
        )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default="5000x2048,600x1024,300x1024")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # scipy's complaints of singular products are the point
    print(f"{machine()}, scipy {scipy.__version__}, Python {platform.python_version()}\n")
    head = "n | d | way | wall s | times faster | processor s | times faster | distance | off sqrtm"
    print(f"| {head} |\n| ---: | ---: | --- {'| ---: ' * 6}|")
    for case in asked.cases.split(","):
        measure(case, asked.rounds)


if __name__ == "__main__":
    main()
