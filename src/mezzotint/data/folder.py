"""The user's own pictures: a folder, a zip or a table of them."""

import os
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import ImageColor
from pydantic import Field, field_validator
from torch import Tensor

from mezzotint.data.crop import CROPS, Crop
from mezzotint.data.decode import Unusable, decode
from mezzotint.data.images import IN_MEMORY_BYTES, Data, Images, InMemory
from mezzotint.data.layouts import is_table
from mezzotint.data.scan import Manifest, Progress, Record, scan
from mezzotint.data.stores import Store, open_store
from mezzotint.errors import DataError


class Folder(Data):
    """Own pictures in any of the usual layouts; see docs/data.md.

    Args:
        path: a folder, a zip, or a .csv / .jsonl table beside the pictures.
        size: height and width in pixels, to which every picture is brought by `crop`.
        crop: "adm" (the reference crop), "centre" or "squash".
        held_out_share: share of the pictures held out, where no val or test folder says which.
        label_column: of the table, where it is none of the usual names.
        background: colour behind transparent pixels.
        on_bad: whether a file that cannot be used stops everything ("fail") or is left out.
    """

    path: Path
    size: int = Field(default=64, ge=1)
    crop: Crop = "adm"
    held_out_share: float = Field(default=0.05, ge=0, lt=1)
    label_column: str | None = None
    background: str = "white"
    on_bad: Literal["fail", "skip"] = "fail"

    @field_validator("background")
    @classmethod
    def _known_colour(cls, colour: str) -> str:
        ImageColor.getrgb(colour)
        return colour

    def train(self) -> Images:
        """Open the training part."""
        return self._part(held_out=False)

    def held_out(self) -> Images:
        """Open the held-out part: the val folder, else the test folder, else a fixed share."""
        return self._part(held_out=True)

    def manifest(self, *, progress: Progress | None = None) -> Manifest:
        """Look at every file; without `progress`, once in this process."""
        return looked(self)[1] if progress is None else look(self, progress)[1]

    def words(self, manifest: Manifest) -> list[str]:
        """Say in sentences what was understood and what will be done to the pictures."""
        small = sum(min(r.width, r.height) < self.size for r in manifest.records)
        said = [f"{small} pictures are smaller than {self.size} pixels: enlarged."] if small else []
        return manifest.words() + said

    def _part(self, *, held_out: bool) -> Images:
        store, manifest = looked(self)
        _ON_BAD[self.on_bad](manifest)
        if not manifest.records:
            raise DataError(f"{self.path}: no picture can be used; expected at least one")
        files = files_of(
            store, manifest, _chosen(manifest, self.held_out_share, held_out=held_out), self
        )
        if len(files) * 3 * self.size**2 > IN_MEMORY_BYTES:
            return files
        return files.in_memory()


@dataclass(frozen=True)
class Files:
    """Pictures that are decoded whenever they are read."""

    store: Store
    names: tuple[str, ...]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    size: int
    digest: str
    crop: Crop = "adm"
    background: str = "white"

    def __len__(self) -> int:
        return len(self.names)

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Decode and crop the pictures of `rows`."""
        pictures = [self._picture(self.names[row]) for row in rows.tolist()]
        return _stack(pictures, self.size)

    def in_memory(self) -> InMemory:
        """Decode everything now, in parallel."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            pictures = list(pool.map(self._picture, self.names))
        return InMemory(_stack(pictures, self.size), self.labels, self.classes, self.digest)

    def _picture(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        try:
            image = decode(self.store.read(name), self.background).image
        except (Unusable, OSError) as error:
            raise DataError(
                f"{self.store.path}/{name}: changed since it was looked at ({error}); start again"
            ) from None
        return np.asarray(CROPS[self.crop](image, self.size))


def files_of(store: Store, manifest: Manifest, records: Sequence[Record], wanted: Folder) -> Files:
    """Return the pictures of some records of a manifest."""
    index = {name: i for i, name in enumerate(manifest.classes)}
    labels = [0 if r.label is None else index[r.label] for r in records]
    made_of = [manifest.classes, wanted.size, wanted.crop, wanted.background]
    made_of += [(r.name, r.label, r.digest) for r in records]
    return Files(
        store,
        tuple(r.name for r in records),
        torch.tensor(labels, dtype=torch.int64),
        manifest.classes,
        wanted.size,
        sha256(repr(made_of).encode()).hexdigest(),
        wanted.crop,
        wanted.background,
    )


def _stack(pictures: Sequence[UInt8[np.ndarray, "h w 3"]], size: int) -> UInt8[Tensor, "b 3 h w"]:
    if not pictures:
        return torch.empty((0, 3, size, size), dtype=torch.uint8)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _chosen(manifest: Manifest, share: float, *, held_out: bool) -> list[Record]:
    """Return the records of one part.

    Without a val or test folder the digest of a file decides, so that copies of a picture are
    always on the same side and adding pictures moves no other.
    """
    mine = on_side({r.part for r in manifest.records}, share, held_out=held_out)
    return [r for r in manifest.records if mine(r.part, _fraction(r.digest))]


def on_side(parts: Set[str], share: float, *, held_out: bool) -> Callable[[str, float], bool]:
    """Return what tells whether something is on a side, from its part and a fraction of its own.

    Args:
        parts: that there are.
        share: of what is held out where no part says it.
        held_out: the side.
    """
    aside = next((p for p in ("held out", "test") if p in parts), None)
    if aside is None or not parts & {"train", ""}:
        return lambda _, fraction: (fraction < share) is held_out
    mine = {aside} if held_out else {"train", ""}
    return lambda part, _: part in mine


def _fraction(digest: str) -> float:
    return int(sha256(f"held out {digest}".encode()).hexdigest()[:13], 16) / 16**13


def _refuse(manifest: Manifest) -> None:
    if manifest.broken:
        first = manifest.broken[0]
        raise DataError(
            f"{manifest.path}/{first.name}: {first.reason}; {len(manifest.broken)} such files, "
            "mend or remove them, or set on_bad: skip"
        )


def _accept(manifest: Manifest) -> None:
    """Leave broken files out; the manifest lists them."""


_ON_BAD = {"fail": _refuse, "skip": _accept}


def look(wanted: Folder, progress: Progress | None = None) -> tuple[Store, Manifest]:
    """Open the folder, zip or table, and look at every file."""
    table = wanted.path.name if is_table(wanted.path) else None
    if table and not wanted.path.exists():
        raise DataError(f"{wanted.path}: no such table")
    store = open_store(wanted.path.parent if table else wanted.path)
    return store, scan(
        store,
        table=table,
        column=wanted.label_column,
        background=wanted.background,
        progress=progress,
    )


@lru_cache(maxsize=4)
def looked(wanted: Folder) -> tuple[Store, Manifest]:
    """Return what `look` does, once in this process."""
    return look(wanted)


__all__ = ["Files", "Folder", "files_of", "looked", "on_side"]
