"""The Inception Score, from logits: how sure a classifier is of each image, and how varied of all.

    IS = exp(mean_i KL(p(y | x_i) || p(y))),    KL = H(p(y)) - mean_i H(p(y | x_i))

The score grows with the number of images in a part, so how images are split belongs to the number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mezzotint.errors import DataError
from mezzotint.evaluation.moments import BLOCK, walk


@dataclass(frozen=True)
class Spread:
    """A number found several times over.

    Attributes:
        mean: over the parts.
        std: over the parts, of n (not of n - 1).
    """

    mean: float
    std: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of values."""
        found = torch.tensor(values, dtype=torch.float64)
        return cls(float(found.mean()), float(found.std(correction=0)))


class Splitting(Protocol):
    """How images are split into parts that are scored one by one."""

    def __call__(self, count: int) -> list[Int[Tensor, "m"]]:
        """Return the rows of each part, for a number of images."""
        ...


@dataclass(frozen=True)
class Consecutive:
    """Blocks in file order, the last one perhaps shorter: ADM's evaluator.

    Args:
        size: images in a block, at least 1.

    Source: `guided-diffusion/evaluations/evaluator.py`.
    """

    size: int = 5000

    def __call__(self, count: int) -> list[Int[Tensor, "m"]]:
        """Return the rows of each block."""
        return list(torch.arange(count).split(self.size))


@dataclass(frozen=True)
class Shuffled:
    """A shuffle into parts of equal size, up to one image: torch-fidelity.

    Args:
        count: parts, at least 1.
        seed: of the shuffle.

    Source: `torch_fidelity/metric_isc.py`.
    """

    count: int = 10
    seed: int = 2020

    def __call__(self, count: int) -> list[Int[Tensor, "m"]]:
        """Return the rows of each part.

        Raises:
            DataError: fewer images than parts.
        """
        if count < self.count:
            raise DataError(
                f"Inception Score: {count} images for {self.count} parts; expected at least one "
                "image a part; add images or ask for fewer parts"
            )
        # NumPy's old generator, because torch-fidelity draws from it.
        order = torch.from_numpy(np.random.RandomState(self.seed).permutation(count))
        ends = [part * count // self.count for part in range(self.count + 1)]
        return [order[low:high] for low, high in pairwise(ends)]


def inception_score(
    logits: Float[Tensor, "n k"],
    splitting: Splitting = Consecutive(),
    *,
    block: int = BLOCK,
) -> Spread:
    """Return the Inception Score: mean and standard deviation over the parts.

        exp(H(mean_i p_i) - mean_i H(p_i)),    p_i = softmax(logits_i)

    Args:
        logits: before the softmax; ADM's and torch-fidelity's are Inception's without the bias.
        splitting: `Consecutive` (ADM) or `Shuffled` (torch-fidelity).
        block: rows that are held in float64 at a time.

    Raises:
        DataError: no images, or fewer than parts.
        NumericError: a row that is not finite.

    Source: Salimans et al., "Improved techniques for training GANs", 2016.
    """
    if len(logits) == 0:
        raise DataError("Inception Score: no images; expected at least one; add images")
    return Spread.of([_score(logits, part, block) for part in splitting(len(logits))])


def _score(logits: Float[Tensor, "n k"], part: Int[Tensor, "m"], block: int) -> float:
    chances = torch.zeros(logits.shape[1], dtype=torch.float64)
    doubt = 0.0
    for rows in walk(logits, order=part, block=block):
        each = rows.softmax(1)
        chances += each.sum(0)
        # entr(0) is 0: a class that no image can have adds nothing, where p log p would be NaN.
        doubt += float(torch.special.entr(each).sum())
    overall = torch.special.entr(chances / len(part)).sum()
    return float((overall - doubt / len(part)).exp())
