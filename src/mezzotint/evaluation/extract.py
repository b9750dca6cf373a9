"""Images to feature rows on disk: read once, cached by digest, continued after a kill.

The rows of a set lie in .npy files that are mapped when they are read, so every metric takes plain
tensors and no set is ever held whole. Block b belongs to rank b mod ranks.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.lib import format as npy
from torch import Tensor

from mezzotint.data.images import Images
from mezzotint.errors import DataError
from mezzotint.evaluation.features import Features, Readout
from mezzotint.files import cannot_write

Progress = Callable[[int, int], None]
"""Told how many images have been read, and how many there are."""

BLOCK: Final = 256
"""Images a block; what a kill can lose."""
_NAMES: Final = ("features", "logits", "spatial")
_LAYOUT: Final = "layout.json"
_FORMAT: Final = 1


class Group(Protocol):
    """This process among all that evaluate together; all see the same cache folder."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def count(self) -> int:
        """Number of processes."""

    def wait(self) -> None:
        """Wait until every process is here."""

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    count: int = 1

    def wait(self) -> None:
        """Go on."""

    def total(self, values: Tensor) -> Tensor:
        """Return the values."""
        return values


@dataclass(frozen=True)
class Extracted:
    """What an extractor sees in a set of pictures; mapped from the disk.

    Attributes:
        features, logits, spatial: as in `Readout`, for all pictures.
        labels: their classes.
    """

    features: Float32[Tensor, "n d"]
    logits: Float32[Tensor, "n k"] | None
    spatial: Float32[Tensor, "n s"] | None
    labels: Int64[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, rows: Int64[Tensor, "m"]) -> "Extracted":
        """Return some pictures, held in memory."""
        return Extracted(
            self.features[rows],
            None if self.logits is None else self.logits[rows],
            None if self.spatial is None else self.spatial[rows],
            self.labels[rows],
        )


def extract(
    images: Images,
    extractor: Features,
    cache: Path,
    *,
    rows: Int64[Tensor, "n"] | None = None,
    group: Group | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Read pictures with an extractor, or take from the cache what was read before.

    Args:
        images: the set.
        extractor: what looks at them.
        cache: folder for the rows of all sets.
        rows: which pictures, in this order; all by default.
        group: processes among which the blocks are dealt.
        progress: told after every block that was not in the cache.

    Raises:
        DataError: the extractor gives a number that is not finite.
        OutputError: the disk is full.
    """
    group = group or Alone()
    rows = torch.arange(len(images)) if rows is None else rows
    home = cache / _key(images, extractor, rows)
    shelf = _Shelf(home, len(rows))
    if group.rank == 0 and not (home / _LAYOUT).exists():
        shelf.create(extractor(images.read(rows[:1])))
    group.wait()
    blocks = range(-(-len(rows) // BLOCK))
    for block in blocks[group.rank :: group.count]:
        part = slice(block * BLOCK, min((block + 1) * BLOCK, len(rows)))
        if shelf.has(block):
            continue
        seen = extractor(images.read(rows[part]))
        _check(seen, part.start, extractor)
        shelf.put(block, part.start, seen)
        if progress:
            progress(part.stop, len(rows))
    group.wait()
    return shelf.read(images.labels[rows])


class _Shelf:
    """The files of one set: arrays of a known shape, and a byte a block that says it is there."""

    def __init__(self, home: Path, count: int) -> None:
        self.home, self.count = home, count

    def create(self, sample: Readout) -> None:
        """Lay out the files aside, and put them in place in one move."""
        draft = self.home.with_name(f".{self.home.name}.{os.getpid()}")
        widths = {n: v.shape[1] for n in _NAMES if (v := getattr(sample, n)) is not None}
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            (draft / "done").write_bytes(bytes(-(-self.count // BLOCK)))
            for name, width in widths.items():
                with (draft / f"{name}.npy").open("wb") as file:
                    head = {"descr": "<f4", "fortran_order": False, "shape": (self.count, width)}
                    npy.write_array_header_1_0(file, head)
                    file.truncate(file.tell() + 4 * prod((self.count, width)))
            (draft / _LAYOUT).write_text(json.dumps(widths), "utf-8")
            if not self.home.exists():  # else another process was faster, and may be filling it
                draft.rename(self.home)
        except OSError as error:
            if not (self.home / _LAYOUT).exists():
                raise cannot_write(self.home, error) from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def has(self, block: int) -> bool:
        return (self.home / "done").read_bytes()[block] == 1

    def put(self, block: int, first: int, seen: Readout) -> None:
        try:
            for name in self._widths():
                rows = np.ascontiguousarray(getattr(seen, name).numpy(), dtype="<f4")
                path = self.home / f"{name}.npy"
                start = path.stat().st_size - 4 * self.count * rows.shape[1]
                _write_at(path, start + 4 * first * rows.shape[1], rows.tobytes())
            _write_at(self.home / "done", block, b"\x01")
        except OSError as error:
            raise cannot_write(self.home, error) from None

    def read(self, labels: Int64[Tensor, "n"]) -> Extracted:
        assert all((self.home / "done").read_bytes()), f"{self.home}: blocks are missing"
        found: dict[str, Any] = dict.fromkeys(_NAMES)
        for name in self._widths():
            # Copy on write: torch wants writable memory, and nothing may reach the file.
            found[name] = torch.from_numpy(np.load(self.home / f"{name}.npy", mmap_mode="c"))
        return Extracted(**found, labels=labels)

    def _widths(self) -> dict[str, int]:
        widths: dict[str, int] = json.loads((self.home / _LAYOUT).read_text("utf-8"))
        return widths


def _write_at(path: Path, offset: int, data: bytes) -> None:
    # Not through a map: on a full disk a map kills the process, a write says so.
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _key(images: Images, extractor: Features, rows: Int64[Tensor, "n"]) -> str:
    chosen = sha256(rows.numpy().tobytes()).hexdigest()
    made_of = [_FORMAT, images.digest, images.size, chosen, extractor.digest]
    return sha256(repr(made_of).encode()).hexdigest()[:32]


def _check(seen: Readout, first: int, extractor: Features) -> None:
    for name in _NAMES:
        values = getattr(seen, name)
        if values is None:
            continue
        bad = (~torch.isfinite(values)).any(1).nonzero()
        if len(bad):
            raise DataError(
                f"image {first + int(bad[0])}: {extractor.distance} gives {name} that are not "
                "finite; look at that image, and at the extractor's dtype"
            )


__all__ = ["BLOCK", "Alone", "Extracted", "Group", "Progress", "extract"]
