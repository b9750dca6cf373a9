"""Where images go: numbered PNGs, folders of classes, or one streaming .npz."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.lib import format as npy
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from mezzotint.data.draw import picture
from mezzotint.data.images import Images
from mezzotint.errors import OutputError


class Sink(Protocol):
    """Takes images batch by batch."""

    def write(
        self, images: UInt8[Tensor, "b 3 h w"], labels: Sequence[int], seeds: Sequence[int]
    ) -> None:
        """Take a batch."""
        ...

    def __enter__(self) -> Self:
        """Open."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish, or clear away what is incomplete."""
        ...


class PngFolder:
    """Files such as 000012_flag_seed3.png, each carrying what it takes to make it again.

    Args:
        folder: where; made if it is missing.
        names: of the classes.
        settings: written into each file, with the label and the seed.
    """

    def __init__(self, folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> None:
        self._folder, self._names, self._settings = folder, names, settings
        self.count = 0

    def __enter__(self) -> Self:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def write(
        self, images: UInt8[Tensor, "b 3 h w"], labels: Sequence[int], seeds: Sequence[int]
    ) -> None:
        """Write a file an image."""
        for image, label, seed in zip(images, labels, seeds, strict=True):
            name = self._names[label] if self._names else "image"
            plain = re.sub(r"[^\w-]+", "-", name)
            note = PngInfo()
            note.add_text("mezzotint", json.dumps({"class": name, "seed": seed, **self._settings}))
            path = self._folder / f"{self.count:06d}_{plain}_seed{seed}.png"
            try:
                picture(image).save(path, pnginfo=note)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error}") from None
            self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the files that are there."""


def write_classes(images: Images, folder: Path, *, count: int) -> int:
    """Write up to `count` images of each class as folder/class/number.png; return how many.

    Args:
        images: any data set with classes.
        folder: made if it is missing.
        count: at most this many of each class.
    """
    written = 0
    for label, name in enumerate(images.classes):
        home = folder / re.sub(r"[^\w -]+", "-", name)
        home.mkdir(parents=True, exist_ok=True)
        rows = _first(images, label, count)
        for index, image in enumerate(images.read(rows)):
            picture(image).save(home / f"{index:05d}.png")
        written += len(rows)
    return written


def _first(images: Images, label: int, count: int) -> Int64[Tensor, "n"]:
    return (images.labels == label).nonzero()[:count, 0]


class NpzStream:
    """One .npz with arr_0 (uint8, N H W C) and arr_1 (int64 labels), as ADM's evaluator reads it.

    The header of arr_0 is written first, so the count must be known; the file appears under its
    name only when all images are in.

    Args:
        path: the file.
        count: number of images.
        size: height and width.
    """

    def __init__(self, path: Path, count: int, size: tuple[int, int]) -> None:
        self._path, self._count = path, count
        self._shape = (count, *size, 3)
        self._draft = path.with_name(f".{path.name}.part")
        self._labels: list[int] = []

    def __enter__(self) -> Self:
        """Open the archive and write the header."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._zip = zipfile.ZipFile(self._draft, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._entry = self._zip.open("arr_0.npy", "w", force_zip64=True)
        header = {"descr": "|u1", "fortran_order": False, "shape": self._shape}
        npy.write_array_header_1_0(self._entry, header)
        return self

    def write(
        self,
        images: UInt8[Tensor, "b 3 h w"],
        labels: Sequence[int],
        seeds: Sequence[int],  # noqa: ARG002 (this format has no place for them)
    ) -> None:
        """Append images."""
        try:
            self._entry.write(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()).tobytes())
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error}") from None
        self._labels.extend(labels)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the labels and put the file in place; or leave nothing, if it is incomplete."""
        try:
            self._entry.close()
            if kind is None:
                assert len(self._labels) == self._count, "fewer images than announced"
                with self._zip.open("arr_1.npy", "w") as entry:
                    npy.write_array(entry, np.array(self._labels, dtype=np.int64))
                self._zip.close()
                self._draft.replace(self._path)
        finally:
            self._zip.close()
            self._draft.unlink(missing_ok=True)
