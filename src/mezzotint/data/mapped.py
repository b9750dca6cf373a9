"""Tensors of .safetensors files, mapped into memory and read in place.

    8 bytes: length n of the header    n bytes: JSON, a row a tensor    the tensors

A mapped file is shared by processes, survives a fork, and is read no further than it is asked for.
"""

import json
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mezzotint.errors import DataError

Table = NDArray[Any]
AGAIN: Final = "if mezzotint encode made it, remove it and run the same command again"

DTYPES: Final[Mapping[str, type[np.generic]]] = {
    "F16": np.float16,
    "F32": np.float32,
    "U8": np.uint8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
}
"""By what safetensors calls them."""


def mapped(path: Path) -> dict[str, Table]:
    """Map the tensors of a .safetensors file into memory, without reading them.

    Raises:
        DataError: it is none, it is cut short, or a tensor is of another kind than caches hold.
    """
    header, start = layout(path)
    whole = np.memmap(path, np.uint8, "r")
    found = {}
    for name, entry in header.items():
        dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if dtype not in DTYPES or start + last > len(whole):
            reason = f"of dtype {dtype}" if dtype not in DTYPES else "cut short"
            raise DataError(f"{path}: {name} is {reason}; {AGAIN}")
        # Not a memmap itself: a row of one takes ten times as long.
        plain = np.frombuffer(whole, DTYPES[dtype], prod(shape), start + first)
        found[name] = plain.reshape(shape)
    return found


def layout(path: Path) -> tuple[dict[str, Any], int]:
    """Return what the header of a .safetensors file says of its tensors, and where they begin.

    Raises:
        DataError: it has no such header.
    """
    return _header(path, lambda header: header.pop("__metadata__", None))


def note(path: Path) -> dict[str, Any]:
    """Return what stands beside the tensors in the header of a shard of ours.

    Raises:
        DataError: it is no such file.
    """
    header, _ = _header(path, lambda _: None)
    try:
        found: dict[str, Any] = json.loads(header["__metadata__"]["mezzotint"])
    except (KeyError, TypeError, json.JSONDecodeError):
        raise DataError(f"{path}: not a shard of a latent cache") from None
    return found


def _header(path: Path, clean: Callable[[dict[str, Any]], Any]) -> tuple[dict[str, Any], int]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
            clean(header)
    except (OSError, struct.error, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a complete safetensors file ({error}); {AGAIN}") from None
    return header, 8 + length


__all__ = ["AGAIN", "DTYPES", "Table", "layout", "mapped", "note"]
