"""Where images go: numbered PNGs, folders of classes, or one streaming .npz.

Each file appears under its name when it is complete, and not before.
"""

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count as counting
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.lib import format as npy
from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from mezzotint.data.draw import picture
from mezzotint.data.images import Images
from mezzotint.files import replacing

Write = Callable[[UInt8[Tensor, "b 3 h w"], Sequence[int], Sequence[int]], None]
"""Takes a batch: its images, labels and seeds."""


def save_png(path: Path, image: Image, note: PngInfo | None = None) -> None:
    """Write a picture.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    with replacing(path, flush=False) as draft:
        image.save(draft, format="PNG", pnginfo=note)


@contextmanager
def png_folder(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Write]:
    """Take images into files such as 000012_flag_seed3.png, which say how to make them again.

    Args:
        folder: where; made if it is missing.
        names: of the classes.
        settings: written into each file, with the label and the seed.
    """
    numbers = counting()

    def write(
        images: UInt8[Tensor, "b 3 h w"], labels: Sequence[int], seeds: Sequence[int]
    ) -> None:
        for image, label, seed in zip(images, labels, seeds, strict=True):
            name = names[label] if names else "image"
            note = PngInfo()
            note.add_text("mezzotint", json.dumps({"class": name, "seed": seed, **settings}))
            plain = re.sub(r"[^\w-]+", "-", name)
            file = f"{next(numbers):06d}_{plain}_seed{seed}.png"
            save_png(folder / file, picture(image), note)

    yield write


@contextmanager
def npz_stream(path: Path, count: int, size: tuple[int, int]) -> Iterator[Write]:
    """Take images into one .npz, as ADM's evaluator reads it.

    It holds arr_0 (uint8, N H W C) and arr_1 (int64 labels). The header of arr_0 comes first, so
    the count must be known.

    Args:
        path: the file.
        count: number of images.
        size: height and width.
    """
    kept: list[int] = []
    with replacing(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as entry:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *size, 3)}
            npy.write_array_header_1_0(entry, header)

            def write(
                images: UInt8[Tensor, "b 3 h w"],
                labels: Sequence[int],
                seeds: Sequence[int],  # noqa: ARG001 (this format has no place for them)
            ) -> None:
                entry.write(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()).tobytes())
                kept.extend(labels)

            yield write
        assert len(kept) == count, f"{len(kept)} images, {count} were announced"
        with archive.open("arr_1.npy", "w") as entry:
            npy.write_array(entry, np.array(kept, dtype=np.int64))


def write_classes(images: Images, folder: Path, *, count: int) -> int:
    """Write up to `count` images of each class as folder/class/number.png; return how many.

    Args:
        images: any data set with classes.
        folder: made if it is missing.
        count: at most this many of each class.
    """
    written = 0
    for label, home in enumerate(folder_names(images.classes)):
        (folder / home).mkdir(parents=True, exist_ok=True)
        rows = _first(images, label, count)
        for index, image in enumerate(images.read(rows)):
            save_png(folder / home / f"{index:05d}.png", picture(image))
        written += len(rows)
    return written


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return a folder name for each class, all different also where capitals are ignored."""
    taken: set[str] = set()
    found = []
    for name in classes:
        plain = re.sub(r"[^\w -]+", "-", name).strip() or "class"
        options = (f"{plain}-{k}" if k > 1 else plain for k in counting(1))
        free = next(each for each in options if each.casefold() not in taken)
        taken.add(free.casefold())
        found.append(free)
    return found


def _first(images: Images, label: int, count: int) -> Int64[Tensor, "n"]:
    return (images.labels == label).nonzero()[:count, 0]


__all__ = ["Write", "folder_names", "npz_stream", "png_folder", "save_png", "write_classes"]
