"""Labels and conditions: what a denoiser is told, and which class that speaks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.config import nearest
from mezzotint.errors import DataError

Labels = NDArray[Any]


@dataclass(frozen=True)
class Candidates:
    """What competes for an image.

    Attributes:
        conditions: what the denoiser is given, one a candidate.
        owner: the class that a candidate speaks for, as a place among the sorted labels.
    """

    conditions: Shaped[Tensor, "p ..."]
    owner: Int[Tensor, "p"]

    def __len__(self) -> int:
        return len(self.owner)


@runtime_checkable
class Labelling(Protocol):
    """From labels to candidates."""

    def __call__(self, classes: Labels) -> Candidates:
        """Return the candidates of sorted, distinct labels.

        Raises:
            DataError: a label that the denoiser does not know.
        """
        ...


def _one_each(conditions: Sequence[int]) -> Candidates:
    return Candidates(torch.tensor(conditions), torch.arange(len(conditions)))


@dataclass(frozen=True)
class ByNumber:
    """A label is the number of its class in the denoiser.

    Args:
        count: number of classes; None where the denoiser does not tell.
    """

    count: int | None = None

    def __call__(self, classes: Labels) -> Candidates:
        """Return one candidate a label."""
        for label in classes.tolist():
            whole = isinstance(label, int) or (isinstance(label, float) and label.is_integer())
            if not whole or label < 0 or (self.count is not None and label >= self.count):
                upper = "" if self.count is None else f" to {self.count - 1}"
                raise DataError(
                    f"label {label!r}: expected class numbers 0{upper}; for names, give "
                    "labelling=ByName(names)"
                )
        return _one_each([int(label) for label in classes.tolist()])


@dataclass(frozen=True)
class ByName:
    """A label is the name of a class, or its number.

    Args:
        names: in the order of the denoiser's classes.
    """

    names: tuple[str, ...]

    def __call__(self, classes: Labels) -> Candidates:
        """Return one candidate a label."""
        return _one_each([self.number(label) for label in classes.tolist()])

    def number(self, label: object) -> int:
        """Return the number of a class.

        Raises:
            DataError: there is no such class, with the nearest names.
        """
        if label in self.names:
            return self.names.index(str(label))
        if isinstance(label, int) and 0 <= label < len(self.names):
            return label
        raise DataError(f"no class {label!r}; {nearest(str(label), self.names)}")


@dataclass(frozen=True)
class ByRank:
    """The k-th smallest label is class k, whatever it is called."""

    def __call__(self, classes: Labels) -> Candidates:
        """Return one candidate a label."""
        return _one_each(range(len(classes)))


@dataclass(frozen=True)
class Prompts:
    """Conditions of any kind, such as embedded texts; a class may have several.

    The best single one wins for its class; they are not averaged, so that a class with more of them
    has more chances (as in the release).

    Args:
        conditions: one a candidate, such as text embeddings (p, tokens, width).
        labels: the label that each speaks for.

    Raises:
        DataError: not as many labels as conditions.
    """

    conditions: Shaped[Tensor, "p ..."]
    labels: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.conditions) != len(self.labels):
            raise DataError(
                f"{len(self.conditions)} conditions and {len(self.labels)} labels; expected one "
                "label a condition"
            )

    def __call__(self, classes: Labels) -> Candidates:
        """Return the candidates of these labels."""
        known = np.asarray(self.labels)
        for label in classes.tolist():
            if label not in self.labels:
                raise DataError(f"no prompt for {label!r}; {nearest(str(label), map(str, known))}")
        rows = [k for k, label in enumerate(self.labels) if label in classes]
        owner = np.searchsorted(classes, known[rows])
        return Candidates(self.conditions[rows], torch.from_numpy(owner.astype(np.int64)))


__all__ = ["ByName", "ByNumber", "ByRank", "Candidates", "Labelling", "Labels", "Prompts"]
