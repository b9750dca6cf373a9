"""The kernel distance (KID): an unbiased squared MMD, so the size of a set is no fault of it.

MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)
k(x, y) = (x . y / d + 1)^3
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mezzotint.errors import DataError
from mezzotint.evaluation.moments import BLOCK, need_same_width, need_two, walk
from mezzotint.evaluation.scores import Spread
from mezzotint.noise import mix

LIMIT: Final = 10_000
"""Rows of a side that are compared; the work grows with their square."""


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance and what other samples of the same size might have given.

    Attributes:
        value: the unbiased estimate; it may be slightly negative.
        low, high: ends of a 95 % bootstrap interval.
    """

    value: float
    low: float
    high: float


def kernel_distance(
    samples: Float[Tensor, "n d"],
    reference: Float[Tensor, "m e"],
    *,
    resamples: int = 200,
    seed: int,
    block: int = BLOCK,
) -> KernelDistance:
    """Return the unbiased squared MMD over all pairs of rows, with a bootstrap interval.

    A resample weighs row i by how often it is drawn, w_i. Pairs of copies of one row tell nothing
    of pairs of images and are left out, so that the bootstrap is not biased:

        (w K w^T - sum_i w_i^2 K_ii) / (n^2 - sum_i w_i^2)

    Of more than 10,000 rows of a side, 10,000 are taken, chosen by `seed`.

    Args:
        samples, reference: features.
        resamples: draws of the bootstrap, at least 1.
        seed: of the draws, and of the choice among more than 10,000 rows.
        block: rows that are held in float64 at a time.

    Raises:
        DataError: features of different lengths, or fewer than two rows.
        NumericError: a row that is not finite.

    Source: Bińkowski et al., "Demystifying MMD GANs", 2018.
    """
    need_same_width(samples.shape[1], reference.shape[1])
    need_two("samples", len(samples))
    need_two("reference", len(reference))
    x, y = _chosen(samples, mix(seed, 0)), _chosen(reference, mix(seed, 1))
    v, w = _draws(len(x), resamples, mix(seed, 2)), _draws(len(y), resamples, mix(seed, 3))
    across = _sums(x, y, v, w, block) / (len(x) * len(y))
    found = _within(x, v, block) + _within(y, w, block) - 2 * across
    ends = found[1:].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return KernelDistance(float(found[0]), float(ends[0]), float(ends[1]))


def kernel_distance_subsets(
    samples: Float[Tensor, "n d"],
    reference: Float[Tensor, "m e"],
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 2020,
) -> Spread:
    """Return mean and standard deviation of the kernel distance over random subsets.

    This is the number of torch-fidelity, which draws the same subsets, and of torchmetrics, which
    draws others. Its standard deviation is that of subsets of `size`, not of the mean.

    Args:
        samples, reference: features.
        subsets: how many.
        size: rows of a subset, of either side.
        seed: of the subsets.

    Raises:
        DataError: features of different lengths, or fewer rows than a subset.
        NumericError: a row that is not finite.

    Source: `torch_fidelity/metric_kid.py`.
    """
    need_same_width(samples.shape[1], reference.shape[1])
    need_two("subsets", size)
    fewest = min(len(samples), len(reference))
    if fewest < size:
        raise DataError(
            f"kernel distance: {fewest} rows for subsets of {size}; expected at least {size}; "
            "add images or ask for smaller subsets"
        )
    # NumPy's old generator, because torch-fidelity draws from it.
    legacy = np.random.RandomState(seed)
    ones = torch.ones(1, size, dtype=torch.float64)
    found = []
    for _ in range(subsets):
        x, y = (
            rows[legacy.choice(len(rows), size, replace=False)] for rows in (samples, reference)
        )
        across = _sums(x, y, ones, ones, size) / size**2
        found.append(float(_within(x, ones, size) + _within(y, ones, size) - 2 * across))
    return Spread.of(found)


def _chosen(rows: Float[Tensor, "n d"], seed: int) -> Float[Tensor, "m d"]:
    if len(rows) <= LIMIT:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    # Sorted, a file is read from front to back.
    return rows[order[:LIMIT].sort().values]


def _draws(count: int, resamples: int, seed: int) -> Float64[Tensor, "b+1 n"]:
    """Return how often each resample holds each row; the first one is the set itself."""
    assert resamples >= 1, f"{resamples} resamples make no interval"
    source = torch.Generator().manual_seed(seed)
    drawn = [torch.ones(count, dtype=torch.int64)]
    while len(drawn) <= resamples:
        held = torch.randint(count, (count,), generator=source).bincount(minlength=count)
        # A tiny set may draw one row alone, which makes no pair.
        if int(held.max()) < count:
            drawn.append(held)
    return torch.stack(drawn).to(torch.float64)


def _kernel(x: Float64[Tensor, "n d"], y: Float64[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _weighted(
    rows: Float[Tensor, "n d"], weights: Float64[Tensor, "b n"], block: int
) -> Iterator[tuple[int, Float64[Tensor, "m d"], Float64[Tensor, "b m"]]]:
    """Yield where a slice of rows starts, the slice, and its weights."""
    for start, part in zip(range(0, len(rows), block), walk(rows, block=block), strict=True):
        yield start, part, weights[:, start : start + len(part)]


def _sums(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    v: Float64[Tensor, "b n"],
    w: Float64[Tensor, "b m"],
    block: int,
) -> Float64[Tensor, "b"]:
    """Return sum_ij v_i k(x_i, y_j) w_j for each row of weights."""
    total = torch.zeros(len(v), dtype=torch.float64)
    for _, left, mine in _weighted(x, v, block):
        for _, right, theirs in _weighted(y, w, block):
            total += (mine @ _kernel(left, right) * theirs).sum(1)
    return total


def _within(x: Float[Tensor, "n d"], w: Float64[Tensor, "b n"], block: int) -> Float64[Tensor, "b"]:
    """Return the mean kernel of a set's pairs of different rows, for each row of weights."""
    total = torch.zeros(len(w), dtype=torch.float64)
    for start, left, mine in _weighted(x, w, block):
        own = (left.square().sum(1) / x.shape[1] + 1) ** 3
        total += (mine @ _kernel(left, left) * mine).sum(1) - mine.square() @ own
        # The kernel is symmetric: what lies after the slice counts twice.
        after = slice(start + len(left), None)
        total += 2 * _sums(left, x[after], mine, w[:, after], block)
    return total / (len(x) ** 2 - w.square().sum(1))
