"""Where numbers and pictures of a run go: always a JSON-lines file, and a tracker if asked."""

import json
import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from mezzotint.checkpoint import cannot_write, write_text
from mezzotint.errors import MissingExtraError


class Tracker(Protocol):
    """A place for the numbers of a run."""

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Take the numbers of a step."""
        ...

    def close(self) -> None:
        """Write what is still held back."""
        ...


class Lines:
    """One JSON object a line, in `metrics.jsonl`.

    Args:
        path: the file; lines after `step` are dropped, for a resumed run writes them again.
        step: where the run stands.
    """

    def __init__(self, path: Path, step: int) -> None:
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
        write_text(path, "".join(line + "\n" for line in lines if _step(line) <= step))
        self._path = path

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Append a line."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_plain({"step": step, **values})) + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from None

    def close(self) -> None:
        """Every line is on disk already."""


def _step(line: str) -> float:
    """Return the step of a line; infinity for what a kill has left half written."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _plain(value: Any) -> Any:
    """Replace numbers that JSON does not know, nan and the infinities, by null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TensorBoard:
    """TensorBoard's event files, in the folder of the run."""

    def __init__(self, folder: Path) -> None:
        try:
            module = import_module("torch.utils.tensorboard")
        except ImportError:
            raise MissingExtraError("tensorboard", "track") from None
        self._writer = module.SummaryWriter(str(folder))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write each number; lists become one curve an entry."""
        for name, value in values.items():
            several = isinstance(value, list)
            curves = {f"{name}/{i}": v for i, v in enumerate(value)} if several else {name: value}
            for curve, number in curves.items():
                if isinstance(number, int | float):
                    self._writer.add_scalar(curve, number, step)

    def close(self) -> None:
        """Flush the files."""
        self._writer.close()
