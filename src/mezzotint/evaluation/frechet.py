"""The Fréchet distance between two Gaussians, without a matrix square root.

    d^2 = |mean_a - mean_b|^2 + tr A + tr B - 2 tr (A B)^(1/2)

With any factors A = F F^T and B = G G^T the last trace is the sum of the singular values of F^T G,
which are the roots of the eigenvalues of F^T B F: nothing is complex, and n < d is no exception.
"""

from itertools import pairwise
from typing import Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mezzotint.evaluation.moments import BLOCK, Moments, need_same_width, need_two, walk

_EPS: Final = torch.finfo(torch.float64).eps
_PIVOT: Final = 1e-9
"""Smaller pivots of Cholesky, relative to the largest, may be the noise of a singular matrix."""
_PANEL: Final = 256
"""Columns of a triangle that are multiplied at a time."""


def frechet(a: Moments, b: Moments) -> float:
    """Return the Fréchet distance of two sets of features (FID, where they are Inception's).

        |mean_a - mean_b|^2 + tr A + tr B - 2 tr (A B)^(1/2)

    Directions whose variance is below d * 2e-16 of the largest count as constant. A set has the
    distance 0 to itself up to rounding, which is below 1e-10 of tr A + tr B.

    Args:
        a, b: moments; any counts, also below d, and with constant features.

    Raises:
        DataError: features of different lengths, or fewer than two rows.

    Source: Dowson and Landau, "The Fréchet distance between multivariate normal distributions",
    1982; Heusel et al., "GANs trained by a two time-scale update rule", 2017.
    """
    need_same_width(a.width, b.width)
    # The set of lower rank first: its factor is narrow, and a sandwich of it has full rank.
    thin, wide = sorted((a, b), key=lambda each: each.rank)
    first, second = thin.covariance, wide.covariance
    apart = float((a.mean - b.mean).square().sum() + first.trace() + second.trace())
    live = _live(first) & _live(second)
    if not bool(live.all()):
        first, second = first[live][:, live], second[live][:, live]
    # Rounding can leave a distance of 0 slightly negative.
    return max(0.0, apart - 2 * _overlap(first, second, thin.rank, wide.rank))


def frechet_rows(a: Float[Tensor, "n d"], b: Float[Tensor, "m e"], *, block: int = BLOCK) -> float:
    """Return the Fréchet distance of two sets of features from their rows.

    tr (A B)^(1/2) is the sum of the singular values of X_a X_b^T, the products of centred rows
    over the root of n - 1. Cheaper than `frechet` where n < d, for it makes no d x d matrix.

    Args:
        a, b: features.
        block: rows that are held in float64 at a time.

    Raises:
        DataError: features of different lengths, or fewer than two rows.
        NumericError: a row that is not finite.
    """
    need_same_width(a.shape[1], b.shape[1])
    (left, left_spread), (right, right_spread) = _centre(a, block), _centre(b, block)
    shared = torch.empty(len(a), len(b), dtype=torch.float64)
    for i, some in enumerate(walk(a, block=block)):
        for j, others in enumerate(walk(b, block=block)):
            products = (some - left) @ (others - right).T
            shared[i * block : (i + 1) * block, j * block : (j + 1) * block] = products
    scale = ((len(a) - 1) * (len(b) - 1)) ** 0.5
    overlap = float(torch.linalg.svdvals(shared).sum()) / scale
    apart = float((left - right).square().sum()) + left_spread + right_spread
    return max(0.0, apart - 2 * overlap)


def _centre(rows: Float[Tensor, "n d"], block: int) -> tuple[Float64[Tensor, "d"], float]:
    """Return mean and total variance."""
    need_two("Fréchet distance", len(rows))
    mean = torch.stack([part.sum(0) for part in walk(rows, block=block)]).sum(0) / len(rows)
    squares = sum(float((part - mean).square().sum()) for part in walk(rows, block=block))
    return mean, squares / (len(rows) - 1)


def _live(matrix: Float64[Tensor, "d d"]) -> Tensor:
    """Tell which features vary; the others share nothing, and would break Cholesky."""
    variances = matrix.diag()
    return variances > len(matrix) * _EPS * variances.max()


def _overlap(
    first: Float64[Tensor, "d d"], second: Float64[Tensor, "d d"], rank: int, other_rank: int
) -> float:
    """Return tr (A B)^(1/2); the ranks are upper bounds, and that of the first is the lower."""
    size = len(first)
    if size == 0:
        return 0.0
    factor = _triangle(first) if rank >= size else None
    if factor is None:
        factor = _spectral(first)
        sandwich = factor.T @ second @ factor
    else:
        sandwich = _sandwich(factor, second)
    squares = torch.linalg.eigvalsh(sandwich)
    if float(squares[0]) > size * _EPS * float(squares[-1]):
        return float(squares.sqrt().sum())
    # The root of an eigenvalue that is noise is far above noise; singular values need no root.
    other = _triangle(second) if other_rank >= size else None
    return float(
        torch.linalg.svdvals(factor.T @ (_spectral(second) if other is None else other)).sum()
    )


def _triangle(matrix: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"] | None:
    """Return the Cholesky factor, or None where the matrix may be singular."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diag().square()
    sound = not int(failed) and float(pivots.min()) > _PIVOT * float(pivots.max())
    return factor if sound else None


def _spectral(matrix: Float64[Tensor, "d d"]) -> Float64[Tensor, "d r"]:
    """Return eigenvectors times the roots of those eigenvalues that are not noise."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > len(matrix) * _EPS * values[-1]
    return vectors[:, kept] * values[kept].sqrt()


def _sandwich(
    factor: Float64[Tensor, "d d"], matrix: Float64[Tensor, "d d"]
) -> Float64[Tensor, "d d"]:
    """Return the lower triangle of L^T B L, which takes a third of the work of two products."""
    size = len(factor)
    panels = [slice(*ends) for ends in pairwise([*range(0, size, _PANEL), size])]
    right = torch.empty_like(matrix)
    for each in panels:
        right[:, each] = matrix[:, each.start :] @ factor[each.start :, each]
    product = torch.zeros_like(matrix)
    for each in panels:
        below = slice(each.start, None)
        product[each, : each.stop] = factor[below, each].T @ right[below, : each.stop]
    return product
