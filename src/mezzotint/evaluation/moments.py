"""What a Fréchet distance needs of a set of features: count, mean and scatter, merged exactly.

    scatter = sum_i (x_i - mean) (x_i - mean)^T,    covariance = scatter / (n - 1)

Two sets merge by Chan's formula, so batches, their order and ranks move nothing but rounding:

    scatter = scatter_a + scatter_b + n_a n_b / n (mean_b - mean_a) (mean_b - mean_a)^T
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mezzotint.errors import DataError, NumericError

BLOCK: Final = 1024
"""Rows that are held in float64 at a time."""
_ROUNDING: Final = 8 * torch.finfo(torch.float32).eps
"""A spread of features below this part of their size is the rounding of an extractor."""


def walk(
    rows: Float[Tensor, "n d"], *, order: Int[Tensor, "m"] | None = None, block: int = BLOCK
) -> Iterator[Float64[Tensor, "b d"]]:
    """Yield rows in slices, in float64 on the CPU, so that a file of any length can be read.

    Args:
        rows: features or logits, perhaps mapped from a file.
        order: which rows, in which order; all of them as they stand by default.
        block: rows in a slice.

    Raises:
        NumericError: a row that is not finite; the message names the first.
    """
    for start in range(0, len(rows) if order is None else len(order), block):
        piece = rows[start : start + block] if order is None else rows[order[start : start + block]]
        part = piece.to("cpu", torch.float64)
        bad = (~part.isfinite()).nonzero()
        if len(bad):
            place, column = bad[0].tolist()
            row = start + place if order is None else int(order[start + place])
            raise NumericError(
                f"features of row {row} are not finite ({float(part[place, column])} in column "
                f"{column}); expected numbers; look at that image and at the extractor's weights"
            )
        yield part


def need_two(what: str, count: int) -> None:
    """Refuse a set that has no spread to speak of.

    Raises:
        DataError: fewer than two rows.
    """
    if count < 2:
        raise DataError(f"{what}: {count} rows of features; expected at least 2; add images")


def need_same_width(first: int, second: int) -> None:
    """Refuse to compare two feature spaces.

    Raises:
        DataError: rows of different lengths.
    """
    if first != second:
        raise DataError(
            f"features of {first} and of {second} columns cannot be compared; "
            "expected one extractor; extract both sets with the same one"
        )


@dataclass(eq=False)
class Moments:
    """Count, mean and scatter of rows of features; grows by `update` and `merge`.

    Args:
        count: rows seen; None for published moments, whose files do not tell.
        mean: of the rows.
        scatter: sum of outer products of centred rows; the covariance where the count is None.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979.
    """

    count: int | None
    mean: Float64[Tensor, "d"]
    scatter: Float64[Tensor, "d d"]

    @classmethod
    def empty(cls, width: int) -> Self:
        """Return the moments of no rows, to be updated; `width` is the length of a row."""
        mean = torch.zeros(width, dtype=torch.float64)
        return cls(0, mean, torch.zeros(width, width, dtype=torch.float64))

    @classmethod
    def of(cls, rows: Float[Tensor, "n d"], *, block: int = BLOCK) -> Self:
        """Return the moments of rows, read in slices of `block`.

        Fewer than two rows are a share that a rank may hold; their covariance is refused.

        Raises:
            NumericError: a row that is not finite.
        """
        made = cls.empty(rows.shape[1])
        made.update(rows, block=block)
        return made

    @classmethod
    def published(
        cls, mean: Float[Tensor, "d"], covariance: Float[Tensor, "d1 d2"], *, name: str = "moments"
    ) -> Self:
        """Return moments from `mu` and `sigma` of a reference file, whose count is not known.

        Such moments can be compared and not merged.

        Args:
            mean: `mu`.
            covariance: `sigma`, of n - 1.
            name: what complaints call them.

        Raises:
            DataError: shapes that do not fit, or a matrix that is no covariance.
        """
        middle = mean.to("cpu", torch.float64)
        matrix = covariance.to("cpu", torch.float64)
        if matrix.shape != (len(middle), len(middle)):
            raise DataError(
                f"{name}: mu has shape {tuple(mean.shape)} and sigma {tuple(matrix.shape)}; "
                "expected (d,) and (d, d); compute the reference again"
            )
        finite = bool(middle.isfinite().all() and matrix.isfinite().all())
        slack = 1e-5 * float(matrix.abs().max())
        if (
            not finite
            or float((matrix - matrix.T).abs().max()) > slack
            or float(matrix.diag().min()) < -slack
        ):
            raise DataError(
                f"{name}: sigma is no covariance (not finite, not symmetric or with a negative "
                "diagonal); compute the reference again"
            )
        return cls(None, middle, (matrix + matrix.T) / 2)

    @property
    def width(self) -> int:
        """Length of a row."""
        return len(self.mean)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """scatter / (n - 1).

        Raises:
            DataError: fewer than two rows.
        """
        if self.count is None:
            return self.scatter
        need_two("covariance", self.count)
        return self.scatter / (self.count - 1)

    @property
    def rank(self) -> int:
        """Upper bound on the rank of the covariance: n rows span n - 1 directions."""
        return self.width if self.count is None else max(0, min(self.count - 1, self.width))

    def update(self, rows: Float[Tensor, "n d"], *, block: int = BLOCK) -> None:
        """Take in more rows, read in slices of `block`.

        Raises:
            DataError: rows of another length, or moments whose count is not known.
            NumericError: a row that is not finite; rows of earlier slices are then taken in.
        """
        need_same_width(self.width, rows.shape[1])
        for part in walk(rows, block=block):
            mean = part.mean(0)
            centred = part - mean
            merged = self.merge(Moments(len(part), mean, centred.T @ centred))
            self.count, self.mean, self.scatter = merged.count, merged.mean, merged.scatter

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both.

        Raises:
            DataError: rows of different lengths, or moments whose count is not known.
        """
        need_same_width(self.width, other.width)
        mine, theirs = self._known(), other._known()
        total = max(1, mine + theirs)
        gap = other.mean - self.mean
        mean = self.mean + gap * (theirs / total)
        scatter = torch.addr(self.scatter + other.scatter, gap, gap, alpha=mine * theirs / total)
        return Moments(mine + theirs, mean, scatter)

    def reduced(self, total: Callable[[Tensor], Tensor]) -> "Moments":
        """Return the moments of the rows of all ranks; each rank calls this once.

        Args:
            total: sums a float64 tensor over the ranks (all-reduce); a rank may hold no rows.

        Raises:
            DataError: moments whose count is not known.
        """
        mine = self._known()
        count = int(total(torch.tensor([mine], dtype=torch.float64)))
        mean = total(self.mean * mine) / max(1, count)
        gap = self.mean - mean
        return Moments(count, mean, total(torch.addr(self.scatter, gap, gap, alpha=mine)))

    def check(self, name: str) -> None:
        """Refuse a set in which all images look the same to the extractor.

        A spread that is only the rounding of float32 counts as none.

        Args:
            name: what the complaint calls the set.

        Raises:
            DataError: fewer than two rows, or a total variance of 0.
        """
        if self.count is not None:
            need_two(name, self.count)
        spread = float(self.covariance.trace())
        if spread <= (_ROUNDING * float(self.mean.norm())) ** 2:
            many = "all" if self.count is None else f"all {self.count}"
            raise DataError(
                f"{name}: {many} rows of features are the same (total variance {spread:.3g}); "
                "expected different images; look for one image many times or a broken extractor"
            )

    def _known(self) -> int:
        if self.count is None:
            raise DataError(
                "published moments do not tell how many rows they are of, so they cannot be "
                "merged or updated; expected moments made from features"
            )
        return self.count
