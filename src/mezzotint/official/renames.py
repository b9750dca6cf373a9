"""Rename tables between a release's tensor names and ours, both ways, strictly.

A row is a pair of patterns; `*` stands for one part of a dotted name and means the same on both
sides. Every tensor must match exactly one row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from mezzotint import checkpoint
from mezzotint.errors import CheckpointError

State = dict[str, Tensor]
_SHOWN: Final = 4


@dataclass(frozen=True)
class Renames:
    """A table of (official, ours) patterns.

    Args:
        system: whose names they are, for messages.
        rows: pairs of patterns.
    """

    system: str
    rows: tuple[tuple[str, str], ...]

    def to_ours(self, state: Mapping[str, Tensor]) -> State:
        """Rename official tensors.

        Raises:
            CheckpointError: tensors that the release does not have, all named in one line.
        """
        return self._renamed(state, self.rows)

    def to_official(self, state: Mapping[str, Tensor]) -> State:
        """Rename our tensors; the inverse of `to_ours`.

        Raises:
            CheckpointError: tensors that have no official name, all named in one line.
        """
        return self._renamed(state, tuple((ours, official) for official, ours in self.rows))

    def _renamed(self, state: Mapping[str, Tensor], rows: tuple[tuple[str, str], ...]) -> State:
        compiled = [(_pattern(source), target) for source, target in rows]
        result: State = {}
        foreign: list[str] = []
        for name, tensor in state.items():
            found = [(match, goal) for row, goal in compiled if (match := row.fullmatch(name))]
            if len(found) == 1:
                result[_filled(*found[0])] = tensor
            else:
                foreign.append(name)
        if foreign:
            shown = ", ".join(foreign[:_SHOWN]) + (", …" if len(foreign) > _SHOWN else "")
            raise CheckpointError(
                f"{len(foreign)} of {len(state)} tensors are not of {self.system}: {shown}"
            )
        return result


def _pattern(source: str) -> re.Pattern[str]:
    return re.compile(r"([^.]+)".join(map(re.escape, source.split("*"))))


def _filled(match: re.Match[str], target: str) -> str:
    parts = target.split("*")
    fills = (*match.groups(), "")
    assert len(parts) == len(fills), f"{target}: the two sides of a row have different stars"
    return "".join(part + fill for part, fill in zip(parts, fills, strict=True))


def read_file(path: Path) -> State:
    """Read the weights in a release's file; nothing in it is run.

    Args:
        path: .safetensors, or .pt, .pth, .bin, .ckpt.

    Raises:
        CheckpointError: it cannot be read, or holds more than tensors and plain data.
    """
    safe = path.suffix == ".safetensors"
    return unwrap(checkpoint.read_tensors(path)[0] if safe else checkpoint.read_pickle(path))


def unwrap(held: Mapping[str, Any]) -> State:
    """Return the weights in a release's file: the average if it holds one, without prefixes.

    Training files hold `ema` or `model_ema`, and `model`, or `model_state_dict` (Halton-MaskGIT);
    those saved under data parallelism prefix `module.`.

    Raises:
        CheckpointError: there is no mapping of tensors inside.
    """
    for key in checkpoint.HELD:
        inner = held.get(key)
        if isinstance(inner, Mapping):
            return unwrap(inner)
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    if len(tensors) != len(held) or not tensors:
        keys = ", ".join(list(map(str, held))[:_SHOWN])
        raise CheckpointError(f"no state dict in this file, only: {keys or 'nothing'}")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
