"""The state of a run on disk: weights, averages, optimiser, position. Written whole, kept twice.

The file of the step before is removed only once the next one is complete, so a kill at any moment
leaves one that can be read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from mezzotint.checkpoint import load_strictly, read_tensors, write_tensors
from mezzotint.errors import CheckpointError
from mezzotint.training.ema import EMA

_KEPT: Final = 2


def files(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step_*.safetensors"))


def save(
    folder: Path,
    network: nn.Module,
    ema: EMA,
    optimiser: torch.optim.Optimizer,
    note: Mapping[str, Any],
) -> Path:
    """Write the state after step `note["step"]`, then remove all but the last two.

    Args:
        folder: made if it is missing.
        network, ema, optimiser: what is saved.
        note: plain JSON data; `step` names the file.
    """
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"ema/{name}": tensor for name, tensor in ema.state().items()}
    for index, entry in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": tensor for name, tensor in entry.items()}
    path = folder / f"step_{note['step']:09d}.safetensors"
    write_tensors(path, tensors, note)
    for old in files(folder)[:-_KEPT]:
        old.unlink()
    return path


def load(
    folder: Path, network: nn.Module, ema: EMA, optimiser: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Take back the newest state that can be read, and return its note; None if there is none.

    Raises:
        CheckpointError: there are checkpoints, and none of them can be read, or the newest one
            that can be read is of another network.
    """
    problems = []
    for path in reversed(files(folder)):
        try:
            tensors, note = _read(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        _fill(tensors, network, ema, optimiser, path)
        return note
    if problems:
        raise CheckpointError(problems[0])
    return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, note = read_tensors(path)
    if "step" not in note:
        raise CheckpointError(f"{path}: not the state of a run (its header names no step)")
    return tensors, note


def _fill(
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    ema: EMA,
    optimiser: torch.optim.Optimizer,
    path: Path,
) -> None:
    load_strictly(network, _under(tensors, "network/"), path)
    averages = _under(tensors, "ema/")
    missing = sorted(ema.state().keys() - averages.keys())
    if missing:
        raise CheckpointError(f"{path}: the average {missing[0]} is missing")
    ema.load(averages)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimiser/").items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    current = optimiser.state_dict()
    optimiser.load_state_dict({"state": state, "param_groups": current["param_groups"]})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
