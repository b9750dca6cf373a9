"""From scores to probabilities, and how far these can be trusted.

    p(c | x) = softmax_c(-D L(c) / T + log p(c))

D is the number of elements of x, so that T = 1 is the sum over elements of the paper (its equation
for p(c | x)); the release never computes it. Constants and weights were dropped from the bound on
the way, so T has to be fitted on held-out images (Guo et al., arXiv 1706.04599).
"""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mezzotint.errors import DataError

BINS: Final = 15
_RANGE: Final = (1e-4, 1e4)
"""Temperatures that are considered."""


@dataclass(frozen=True)
class Bin:
    """Images whose first probability lies in a range.

    Attributes:
        low, high: the range.
        count: images in it.
        confidence: mean of those probabilities.
        accuracy: share of the images that are named right.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How probabilities fare on labelled images.

    Attributes:
        images: how many.
        accuracy: share that is named right.
        nll: mean of -log p(label), in nats.
        error: expected calibration error: mean distance of confidence and accuracy, by bins.
        brier: mean of sum_c (p_c - [c is the label])^2.
        bins: of the reliability diagram; those without an image are left out.
    """

    images: int
    accuracy: float
    nll: float
    error: float
    brier: float
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, logits: Float[Tensor, "n k"], y: Int[Tensor, "n"]) -> "Calibration":
        """Measure log-probabilities, up to a constant of each image, against labels.

        Raises:
            DataError: no images.
        """
        if len(y) == 0:
            raise DataError("calibration: no images; expected at least one")
        logits = logits.double()
        p = logits.softmax(1)
        sure, named = p.max(1)
        right = (named == y).double()
        truth = torch.nn.functional.one_hot(y, logits.shape[1]).double()
        place = (sure * BINS).ceil().long().clamp(1, BINS) - 1
        bins = [_bin(k, sure[place == k], right[place == k]) for k in place.unique().tolist()]
        apart = sum(each.count * abs(each.confidence - each.accuracy) for each in bins)
        return cls(
            images=len(y),
            accuracy=float(right.mean()),
            nll=float(cross_entropy(logits, y)),
            error=apart / len(y),
            brier=float(((p - truth) ** 2).sum(1).mean()),
            bins=tuple(bins),
        )

    def tree(self) -> dict[str, Any]:
        """Return plain data, for a report."""
        return asdict(self)


def _bin(place: int, sure: Float[Tensor, "m"], right: Float[Tensor, "m"]) -> Bin:
    ends = place / BINS, (place + 1) / BINS
    return Bin(*ends, len(sure), float(sure.mean()), float(right.mean()))


def temperature(logits: Float[Tensor, "n k"], y: Int[Tensor, "n"]) -> float:
    """Return the temperature T that minimises the NLL of softmax(logits / T).

    A share 1 / (n + 1) of each label goes to the runner-up, as if one image more had been seen and
    named wrong. Without it images that are all named right would make T nothing, and the next
    wrong one infinitely surprising. The NLL is convex in 1/T, so its only minimum is where its
    slope changes sign.

    Args:
        logits: at temperature 1.
        y: labels.
    """
    logits = logits.double()
    share = 1 / (len(y) + 1)
    own = (1 - share) * logits.gather(1, y[:, None])[:, 0] + share * logits.topk(2).values[:, 1]

    def slope(sharpness: float) -> float:
        return float(((sharpness * logits).softmax(1).mul(logits).sum(1) - own).mean())

    low, high = 1 / _RANGE[1], 1 / _RANGE[0]
    for _ in range(80):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / high


@dataclass(frozen=True)
class Fitted:
    """A temperature, and what it is worth on images that it was not fitted on.

    Attributes:
        temperature: fitted on all images.
        before: their probabilities at temperature 1.
        after: each half's at the temperature of the other half.
    """

    temperature: float
    before: Calibration
    after: Calibration

    @classmethod
    def of(cls, logits: Float[Tensor, "n k"], y: Int[Tensor, "n"]) -> "Fitted":
        """Fit a temperature.

        Args:
            logits: at temperature 1.
            y: labels.

        Raises:
            DataError: fewer than two images.
        """
        if len(y) < 2:
            raise DataError(
                f"calibration: {len(y)} labelled images; expected at least two, better hundreds"
            )
        first = torch.arange(len(y)) % 2 == 0
        other = torch.empty_like(logits, dtype=torch.float64)
        for half in (first, ~first):
            other[half] = logits[half].double() / temperature(logits[~half], y[~half])
        whole = temperature(logits, y)
        return cls(whole, Calibration.of(logits, y), Calibration.of(other, y))

    def tree(self) -> dict[str, Any]:
        """Return plain data, for a report."""
        return asdict(self)


def log_priors(priors: tuple[float, ...] | None, classes: int) -> Float[Tensor, "k"]:
    """Return the logarithms of class shares; equal ones by default.

    Raises:
        DataError: not one above 0 for each class.
    """
    if priors is None:
        return torch.zeros(classes, dtype=torch.float64)
    if len(priors) != classes or not all(0 < share < inf for share in priors):
        raise DataError(
            f"priors: {len(priors)} numbers for {classes} classes; expected one above 0 a class"
        )
    shares = torch.tensor(priors, dtype=torch.float64)
    return (shares / shares.sum()).log()


__all__ = ["Bin", "Calibration", "Fitted", "log_priors", "temperature"]
