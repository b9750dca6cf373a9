"""Small sets as files: pictures side by side on a few lossless PNG sheets, and a JSON manifest.

Picture i of a sheet with c columns stands at row i // c, column i % c. The manifest holds the
columns of the table: label, held out or not, and any second labels; and the digest of it all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from PIL import Image
from torch import Tensor

from mezzotint.data.images import InMemory, Labelling
from mezzotint.errors import DataError, OutputError

COLUMNS = 32
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SheetSet:
    """All pictures of a set, and which of them are held out."""

    images: InMemory
    held_out: Bool[Tensor, "n"]

    @property
    def digest(self) -> str:
        """Digest of the pictures, their labels, and the split."""
        split = self.held_out.numpy().tobytes()
        return sha256(self.images.digest.encode() + split).hexdigest()

    def part(self, *, held_out: bool) -> InMemory:
        """Return the training or the held-out part."""
        return self.images.only((self.held_out == held_out).nonzero()[:, 0])


@lru_cache(maxsize=8)
def open_set(folder: Path) -> SheetSet:
    """Read a set that `write_set` wrote, and check that it is whole.

    Raises:
        DataError: a file is missing, damaged or does not match the manifest.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        sheets = [_read_sheet(folder / s["file"], s, manifest["size"]) for s in manifest["sheets"]]
        pixels = torch.from_numpy(np.concatenate(sheets).transpose(0, 3, 1, 2).copy())
        labels, held_out = torch.tensor(manifest["labels"]), torch.tensor(manifest["held_out"])
        others = {
            name: Labelling(tuple(o["names"]), torch.tensor(o["labels"]))
            for name, o in manifest["others"].items()
        }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: not a readable image set ({error}); build it again") from None
    images = InMemory.of(pixels, labels, tuple(manifest["classes"]), others=others)
    found = SheetSet(images, held_out.bool())
    if found.digest != manifest["digest"]:
        raise DataError(
            f"{folder}: the pictures have digest {found.digest[:12]}, the manifest says "
            f"{manifest['digest'][:12]}; a file was changed or damaged, build the set again"
        )
    return found


def write_set(
    folder: Path,
    pictures: SheetSet,
    *,
    sheets: str,
    about: dict[str, Any],
    force: bool = False,
) -> str:
    """Write a set: one PNG sheet for every value of a second label, and the manifest.

    Args:
        folder: created; must not hold a set yet, unless `force` is given.
        pictures: the set; it is stored in the order of the sheets.
        sheets: which of `pictures.images.others` says on which sheet a picture goes.
        about: further lines of the manifest, such as where the pictures come from.
        force: whether to replace a set that is there.

    Returns:
        the digest of the set, in the order in which it is stored.
    """
    if force:
        remove_set(folder)
    refuse_existing(folder)
    pictures = _sorted(pictures, pictures.images.others[sheets].labels)
    images, sheet_of = pictures.images, pictures.images.others[sheets]
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        _write_sheet(folder / f"{name}.png", images.pixels[sheet_of.labels == i])
        for i, name in enumerate(sheet_of.names)
    ]
    manifest = about | {
        "size": images.size,
        "digest": pictures.digest,
        "classes": list(images.classes),
        "sheets": written,
        "labels": images.labels.tolist(),
        "held_out": pictures.held_out.int().tolist(),
        "others": {
            name: {"names": list(o.names), "labels": o.labels.tolist()}
            for name, o in images.others.items()
        },
    }
    # The manifest comes last: a set without one is not a set.
    (folder / MANIFEST).write_text(_one_line_a_key(manifest), "utf-8")
    open_set.cache_clear()
    return pictures.digest


def refuse_existing(folder: Path) -> None:
    """Raise OutputError if the folder holds a set."""
    if (folder / MANIFEST).exists():
        raise OutputError(f"{folder}: already holds an image set; choose another folder or --force")


def remove_set(folder: Path) -> None:
    """Remove a set that `write_set` wrote, and nothing else in its folder."""
    if (folder / MANIFEST).exists():
        sheets = json.loads((folder / MANIFEST).read_text("utf-8"))["sheets"]
        (folder / MANIFEST).unlink()
        for sheet in sheets:
            (folder / Path(sheet["file"]).name).unlink(missing_ok=True)


def _sorted(pictures: SheetSet, by: Int64[Tensor, "n"]) -> SheetSet:
    order = by.argsort(stable=True)
    return replace(pictures, images=pictures.images.only(order), held_out=pictures.held_out[order])


def _one_line_a_key(manifest: dict[str, Any]) -> str:
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in manifest.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _write_sheet(path: Path, pixels: UInt8[Tensor, "n 3 h w"]) -> dict[str, Any]:
    count, size = len(pixels), pixels.shape[-1]
    rows = -(-count // COLUMNS)
    cells = np.full((rows * COLUMNS, size, size, 3), 255, np.uint8)
    cells[:count] = pixels.permute(0, 2, 3, 1).numpy()
    grid = cells.reshape(rows, COLUMNS, size, size, 3).transpose(0, 2, 1, 3, 4)
    sheet = Image.fromarray(grid.reshape(rows * size, COLUMNS * size, 3).copy())
    grey = bool((cells[..., 0] == cells[..., 1]).all() and (cells[..., 0] == cells[..., 2]).all())
    (sheet.convert("L") if grey else sheet).save(path, optimize=True)
    return {"file": path.name, "count": count}


def _read_sheet(path: Path, about: dict[str, Any], size: int) -> UInt8[np.ndarray, "n h w 3"]:
    with Image.open(path) as sheet:
        grid = np.asarray(sheet.convert("RGB"))
    rows = grid.shape[0] // size
    cells = grid.reshape(rows, size, COLUMNS, size, 3).transpose(0, 2, 1, 3, 4)
    return cells.reshape(-1, size, size, 3)[: about["count"]]


def names_of(codes: Sequence[str]) -> tuple[tuple[str, ...], Int64[Tensor, "n"]]:
    """Return the distinct names, sorted, and the position of every given one among them."""
    names = tuple(sorted(set(codes)))
    index = {name: i for i, name in enumerate(names)}
    return names, torch.tensor([index[code] for code in codes], dtype=torch.int64)


__all__ = ["SheetSet", "names_of", "open_set", "refuse_existing", "write_set"]
