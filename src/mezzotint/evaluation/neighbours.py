"""Who lives beside whom in feature space: precision, recall, density, coverage.

A set is described by balls: around each of its rows, as far as its k-th neighbour. Distances are
|x - y|² = |x|² + |y|² - 2 x·y on rows centred by one mean, in float64 and in blocks; what is
reported as a distance is |x - y| itself, so that equal rows are at exactly 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mezzotint.errors import DataError, NumericError
from mezzotint.evaluation.moments import BLOCK, need_same_width, walk

ROUNDING: Final = 1e-12
"""What float64 may do to |x|² + |y|² - 2 x·y, as a share of |x|²; for widths to 4,500."""

SPARE: Final = 4
"""Neighbours beyond those asked for whose distance is computed anew, so that ties are seen."""


@dataclass(frozen=True)
class PrecisionRecall:
    """How much of the samples is realistic, and how much of reality they reach; both in [0, 1].

    Attributes:
        precision: share of the samples that lie in the ball of any reference row.
        recall: share of the reference that lies in the ball of any sample.
    """

    precision: float
    recall: float


@dataclass(frozen=True)
class DensityCoverage:
    """Precision and recall that outliers move less.

    Attributes:
        density: reference balls around a sample, on average, over k; may exceed 1.
        coverage: share of reference balls that hold any sample, in [0, 1].
    """

    density: float
    coverage: float


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest rows of another set, nearest first; equal distances by lowest index.

    Attributes:
        distances: Euclidean, in float64; 0 for equal rows and no others.
        rows: their indices.
    """

    distances: Float64[Tensor, "n k"]
    rows: Int64[Tensor, "n k"]


def precision_recall(
    samples: Float[Tensor, "n d"],
    reference: Float[Tensor, "m _d"],
    *,
    k: int = 3,
    block: int = BLOCK,
) -> PrecisionRecall:
    """Compare two sets by their k-th neighbour balls.

    precision = |{s: |s - r| <= radius(r) for some r}| / n, and recall with s and r exchanged. The
    radius leaves the row itself out, and a row on the edge is inside. torch-fidelity >= 0.4 (its
    input1 is `samples`) agrees but for what float32 rounds. ADM's evaluator compares squared
    distances in float16, in float32 where those overflow, so that its balls have blurred edges.

    Args:
        samples, reference: features on the CPU, n > k and m > k; may be memory-mapped. Both
            numbers depend on n and m: ADM's tables have n = 50,000 and m = 10,000.
        k: which neighbour sets the radius.
        block: rows of either set in memory at once; moves no number.

    Raises:
        DataError: a set has no more than k rows, or they have features of different lengths.
        NumericError: a feature is not finite.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, equations 1 to 3.
    """
    need_same_width(samples.shape[1], reference.shape[1])
    centre = _centre("reference", reference, block)
    _centre("samples", samples, block)
    around_samples = _reach("samples", samples, centre, k, block)
    around_reference = _reach("reference", reference, centre, k, block)
    realistic = torch.zeros(len(samples), dtype=torch.bool)
    reached = torch.zeros(len(reference), dtype=torch.bool)
    for rows, columns, squared in _pairs(samples, reference, centre, block):
        realistic[rows] |= (squared <= around_reference[columns]).any(1)
        reached[columns] |= (squared <= around_samples[rows, None]).any(0)
    return PrecisionRecall(_share(realistic), _share(reached))


def density_coverage(
    samples: Float[Tensor, "n d"],
    reference: Float[Tensor, "m _d"],
    *,
    k: int = 5,
    block: int = BLOCK,
) -> DensityCoverage:
    """Count samples in the balls of the reference, whose outliers then weigh little.

    density = sum over s and r of [|s - r| <= radius(r)] / (k n);
    coverage = |{r: |s - r| <= radius(r) for some s}| / m.
    For equal distributions density is 1 and coverage 1 - (m-1)…(m-k) / ((n+m-1)…(n+m-k)), which
    is 1 - 1/2^k for n = m. A row on the edge is inside; the authors' code leaves it out, which
    differs for tied distances alone.

    Args:
        samples, reference: features on the CPU, m > k; may be memory-mapped.
        k: which neighbour sets the radius.
        block: rows of either set in memory at once; moves no number.

    Raises:
        DataError: the reference has no more than k rows, there are no samples, or they have
            features of different lengths.
        NumericError: a feature is not finite.

    Source: Naeem et al. 2020, arXiv:2002.09797, equations 3 and 5 and its lemma 2.
    """
    need_same_width(samples.shape[1], reference.shape[1])
    centre = _centre("reference", reference, block)
    _centre("samples", samples, block)
    reach = _reach("reference", reference, centre, k, block)
    held = torch.zeros(len(reference), dtype=torch.int64)
    for _, columns, squared in _pairs(samples, reference, centre, block):
        held[columns] += (squared <= reach[columns]).sum(0)
    return DensityCoverage(held.sum().item() / (k * len(samples)), _share(held > 0))


def nearest(
    points: Float[Tensor, "n d"],
    others: Float[Tensor, "m _d"],
    *,
    count: int = 1,
    block: int = BLOCK,
) -> Neighbours:
    """Find the `count` nearest of `others` to each point.

    Args:
        points, others: features on the CPU, m >= count; may be memory-mapped.
        count: how many neighbours.
        block: rows of either set in memory at once; moves no distance.

    Raises:
        DataError: there are fewer than `count` others, or features of different lengths.
        NumericError: a feature is not finite.
    """
    need_same_width(points.shape[1], others.shape[1])
    _enough("others", others, count)
    _centre("points", points, block)
    return _nearest(points, others, min(count + SPARE, len(others)), count, block=block)


def nearest_within(rows: Float[Tensor, "n d"], *, count: int = 1, block: int = BLOCK) -> Neighbours:
    """Find the `count` nearest rows to each row of one set, itself left out.

    Args:
        rows: features on the CPU, n > count; may be memory-mapped.
        count: how many neighbours.
        block: rows in memory at once, twice; moves no distance.

    Raises:
        DataError: there are no more than `count` rows.
        NumericError: a feature is not finite.
    """
    _enough("rows", rows, count + 1)
    kept = min(count + SPARE, len(rows) - 1)  # never all: the row itself then always falls out
    return _nearest(rows, rows, kept, count, block=block, own=torch.inf)


def _nearest(
    points: Float[Tensor, "n d"],
    others: Float[Tensor, "m d"],
    kept: int,
    count: int,
    *,
    block: int,
    own: float | None = None,
) -> Neighbours:
    """Find neighbours; `own`, if given, stands in for the distance of row i to row i."""
    centre = _centre("others", others, block)
    best = torch.full((len(points), kept), torch.inf, dtype=torch.float64)
    found = torch.zeros(len(points), kept, dtype=torch.int64)
    for rows, columns, squared in _pairs(points, others, centre, block):
        if own is not None and rows == columns:
            squared.fill_diagonal_(own)
        values, where = squared.topk(min(kept, squared.shape[1]), largest=False)
        values, order = torch.cat([best[rows], values], 1).topk(kept, largest=False)
        best[rows] = values
        found[rows] = torch.cat([found[rows], where + columns.start], 1).gather(1, order)
    return _exactly(points, others, found, count, block)


def _exactly(
    points: Float[Tensor, "n d"],
    others: Float[Tensor, "m d"],
    found: Int64[Tensor, "n c"],
    count: int,
    block: int,
) -> Neighbours:
    """Measure candidates as |x - y|, where equal rows cancel, and keep the `count` nearest."""
    found = found.sort(1).values  # the stable sort below then breaks ties by index
    squared = torch.empty(found.shape, dtype=torch.float64)
    for rows in _slices(len(points), block):
        here = points[rows].double()
        for column in range(found.shape[1]):
            squared[rows, column] = (others[found[rows, column]] - here).square().sum(1)
    squared, order = squared.sort(stable=True, dim=1)
    return Neighbours(squared[:, :count].sqrt(), found.gather(1, order)[:, :count])


def _reach(
    name: str, rows: Float[Tensor, "n d"], centre: Float64[Tensor, "d"], k: int, block: int
) -> Float64[Tensor, "n"]:
    """Return each row's squared radius, widened by what rounding may do to a distance at its edge.

    Without that, a copy of a reference row would fall out of the very ball it defines.
    """
    if len(rows) <= k:
        raise DataError(f"{name}: {len(rows)} rows, expected more than k = {k}; give more images")
    radius = nearest_within(rows, count=k, block=block).distances[:, -1].square()
    norms = [(rows[each] - centre).square().sum(1) for each in _slices(len(rows), block)]
    return radius + ROUNDING * (torch.cat(norms) + radius)


def _pairs(
    points: Float[Tensor, "n d"],
    others: Float[Tensor, "m d"],
    centre: Float64[Tensor, "d"],
    block: int,
) -> Iterator[tuple[slice, slice, Float64[Tensor, "p q"]]]:
    """Yield rows, columns and squared distances, block by block."""
    for rows in _slices(len(points), block):
        here = points[rows] - centre
        for columns in _slices(len(others), block):
            there = others[columns] - centre
            squared = torch.addmm(there.square().sum(1), here, there.T, alpha=-2)
            yield rows, columns, squared.add_(here.square().sum(1, keepdim=True)).clamp_(min=0)


def _slices(count: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, count)) for start in range(0, count, block))


def _centre(name: str, rows: Float[Tensor, "n d"], block: int) -> Float64[Tensor, "d"]:
    """Return the mean row; subtracted, it keeps |x|² small, and so the rounding of |x - y|²."""
    _enough(name, rows, 1)
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    try:
        for part in walk(rows, block=block):
            total += part.sum(0)
    except NumericError as error:
        raise NumericError(f"{name}: {error}") from None
    return total / len(rows)


def _enough(name: str, rows: Float[Tensor, "n d"], count: int) -> None:
    if len(rows) < count:
        raise DataError(f"{name}: {len(rows)} rows, expected at least {count}; give more images")


def _share(which: Tensor) -> float:
    return which.sum().item() / len(which)


__all__ = [
    "DensityCoverage",
    "Neighbours",
    "PrecisionRecall",
    "density_coverage",
    "nearest",
    "nearest_within",
    "precision_recall",
]
