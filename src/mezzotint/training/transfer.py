"""Starting from another model: what fits is kept, class rows are matched by name, the rest is new.

A tensor is kept when a tensor of the same name and shape is offered. A tensor with a row for each
class is filled row by row: a class takes the row of the class of the same name, and the null class
that of the null class. Everything else stays freshly initialised.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mezzotint.errors import CheckpointError


@dataclass(frozen=True)
class Transfer:
    """What a network took over.

    Attributes:
        kept: names of the tensors that were copied.
        fresh: names of the tensors that were not, because none of that name and shape was offered.
        unused: names of the tensors that were offered in vain.
        classes: names of the classes whose rows were copied.
        others: names of the classes that start anew.
        null: whether the row of the null class was copied; None where there is no such row.
    """

    kept: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    classes: tuple[str, ...]
    others: tuple[str, ...]
    null: bool | None

    def words(self) -> list[str]:
        """Return the same for a person, a line each."""
        count = len(self.kept) + len(self.fresh)
        lines = [f"kept {len(self.kept)} of {count} tensors"]
        if self.fresh:
            lines.append(f"new: {_some(self.fresh)}")
        if self.unused:
            lines.append(f"not used: {_some(self.unused)}")
        if self.classes:
            lines.append(f"classes known by name: {_some(self.classes)}")
        if self.others:
            lines.append(f"classes that start anew: {_some(self.others)}")
        if self.null is not None:
            lines.append("the null class is kept" if self.null else "the null class starts anew")
        return lines


def transfer(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    known: Sequence[str],
    wanted: Sequence[str],
    source: object = "the other model",
    barred: Container[str] = (),
) -> Transfer:
    """Fill a freshly initialised network with what fits of another one's tensors, in place.

    Args:
        network: with `class_rows`, the names of its tensors that hold a row for each class.
        tensors: of the other network.
        known: the other's class names, in the order of its rows.
        wanted: this one's class names.
        source: where the tensors come from, for the complaint.
        barred: names of tensors that are not taken though they may fit.

    Raises:
        CheckpointError: nothing fits; it is of another architecture.
    """
    own = network.state_dict()
    offered = {name for name in tensors if name not in barred}
    rows: tuple[str, ...] = getattr(network, "class_rows", ())
    kept = {
        name
        for name, tensor in own.items()
        if name in offered and name not in rows and tensors[name].shape == tensor.shape
    }
    if not any(own[name].dim() > 1 for name in kept):  # biases of equal length mean nothing
        raise CheckpointError(f"{source}: nothing fits: no tensor has the name and size of ours")
    for name in kept:
        own[name].copy_(tensors[name])
    pairs = _pairs(known, wanted)
    tables = [name for name in rows if name in tensors and _same_rows(own[name], tensors[name])]
    null = [_fill(own[name], tensors[name], pairs, len(known), len(wanted)) for name in tables]
    kept |= set(tables)
    has_null = not rows or any(len(own[name]) > len(wanted) for name in rows)
    met = {theirs for _, theirs in pairs} if tables else set()
    return Transfer(
        kept=tuple(name for name in own if name in kept),
        fresh=tuple(name for name in own if name not in kept),
        unused=tuple(name for name in tensors if name not in kept),
        classes=tuple(known[row] for row in sorted(met)),
        others=tuple(name for name in wanted if not tables or name not in known),
        null=bool(null) and all(null) if has_null else None,
    )


def _pairs(known: Sequence[str], wanted: Sequence[str]) -> list[tuple[int, int]]:
    place = {name: row for row, name in enumerate(known)}
    return [(row, place[name]) for row, name in enumerate(wanted) if name in place]


def _same_rows(own: Tensor, theirs: Tensor) -> bool:
    return own.shape[1:] == theirs.shape[1:]


@torch.no_grad()
def _fill(
    own: Tensor, theirs: Tensor, pairs: Sequence[tuple[int, int]], known: int, wanted: int
) -> bool:
    """Copy the rows of `pairs`, and the null row if both tables have one; tell whether they do."""
    for row, source in pairs:
        own[row].copy_(theirs[source])
    both = len(own) > wanted and len(theirs) > known
    if both:
        own[wanted].copy_(theirs[known])
    return both


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
