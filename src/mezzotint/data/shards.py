"""A set of pictures in several .npz files that follow one another."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from mezzotint.data.npz import NpzImages, open_npz
from mezzotint.errors import DataError

MANIFEST: Final = "manifest.json"
"""Beside samples: what they are made from."""


def shard_name(first: int, count: int) -> str:
    """Return the file name of the shard of images first … first + count - 1."""
    return f"shard-{first:07d}-{count}.npz"


@dataclass(frozen=True)
class Shards:
    """Pictures of several files as one set."""

    parts: tuple[NpzImages, ...]
    classes: tuple[str, ...]
    digest: str

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.parts[0].size

    @property
    def labels(self) -> Int64[Tensor, "n"]:
        """Class ids."""
        return torch.cat([part.labels for part in self.parts])

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the pictures of `rows`."""
        starts = [0, *accumulate(len(part) for part in self.parts)]
        places = [bisect_right(starts, row) - 1 for row in rows.tolist()]
        found = torch.empty((len(rows), 3, self.size, self.size), dtype=torch.uint8)
        for place in sorted(set(places)):
            here = [k for k, other in enumerate(places) if other == place]
            found[here] = self.parts[place].read(rows[here] - starts[place])
        return found


def open_shards(folder: Path, count: int, classes: Sequence[str]) -> Shards:
    """Open the first `count` images of a folder of shards.

    Raises:
        DataError: some are missing.
    """
    parts: list[NpzImages] = []
    done = 0
    while done < count:
        here = [p for p in folder.glob(shard_name(done, 0)[:-5] + "*.npz") if _fits(p, count)]
        if not here:
            raise DataError(
                f"{folder}: {done} of {count} images are there; run the same command again"
            )
        parts.append(open_npz(max(here, key=_length), tuple(classes)))
        done += len(parts[-1])
    content = sha256("".join(part.digest for part in parts).encode())
    return Shards(tuple(parts), tuple(classes), content.hexdigest())


def _length(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1])


def _fits(path: Path, count: int) -> bool:
    first = int(path.stem.split("-")[1])
    return first + _length(path) <= count


__all__ = ["MANIFEST", "Shards", "open_shards", "shard_name"]
