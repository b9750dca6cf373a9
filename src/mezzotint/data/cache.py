"""The latent cache on disk: shards of safetensors and a manifest that says what they are.

    latents-00000-of-00003.safetensors  …  manifest.json        held_out/ the same

A shard holds the codes of its images, those of their mirror images if there are any, `label` and
`index`. It is mapped into memory and read in place: no copy is kept, and processes share it.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.config import Config, build
from mezzotint.digest import digest_of_file
from mezzotint.errors import DataError

MANIFEST: Final = "manifest.json"
HELD_OUT: Final = "held_out"
"""Folder of the held-out part, inside that of the training part."""
LABEL, INDEX, FLIP = "label", "index", "_flip"
FORMAT: Final = 1
_AGAIN: Final = "remove it and run the same mezzotint encode again"

DTYPES: Final[Mapping[str, type[np.generic]]] = {
    "F16": np.float16,
    "F32": np.float32,
    "U8": np.uint8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
}
"""By what safetensors calls them."""


class Shard(Config):
    """A file of a cache.

    Attributes:
        file: its name.
        rows: images in it.
        bytes: its length.
        digest: SHA-256 of its content.
    """

    file: str
    rows: int
    bytes: int
    digest: str


class Manifest(Config):
    """What a cache says of itself.

    Attributes:
        format: of this file.
        tokenizer: config tree of the tokenizer that made it.
        fingerprint: of that tokenizer.
        vocabulary: how many values a token may take; 0 where codes are real numbers.
        size: height and width of the images in pixels.
        name: of the tensor of codes in a shard.
        shape: of the codes of an image.
        dtype: of the codes.
        flips: whether the mirror images are there too.
        classes: names, in the order of the labels.
        counts: images of each class.
        per_shard: images in every shard but the last.
        shards: the files.
        statistics: of the latents as a generator sees them: `mean` and `deviation` of each channel,
            or of tokens how many `used` and their `perplexity`.
        data: config tree of the images.
        data_digest: of their content.
    """

    format: int = FORMAT
    tokenizer: dict[str, Any]
    fingerprint: str
    vocabulary: int
    size: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    flips: bool
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    per_shard: int
    shards: tuple[Shard, ...]
    statistics: dict[str, Any]
    data: dict[str, Any]
    data_digest: str


Table = NDArray[Any]
Tables = tuple[Table, ...]


@dataclass(frozen=True)
class LatentCache:
    """Codes of labelled images, read in place; a data set like others, but not of pictures.

    Attributes:
        classes: names, in the order of the labels.
        labels: class ids.
        size: height and width of the images in pixels.
        digest: of what the codes and labels are.
        per_shard: items in every shard but the last.
        shards: for each shard the codes, and those of the mirror images if there are any.
    """

    classes: tuple[str, ...]
    labels: Int64[Tensor, "n"]
    size: int
    digest: str
    per_shard: int
    shards: Sequence[Tables] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def flips(self) -> bool:
        """Whether mirror images are there too."""
        return any(len(tables) > 1 for tables in self.shards)

    def read(self, rows: Int64[Tensor, "b"]) -> Shaped[Tensor, "b m ..."]:
        """Return the codes of `rows`, and beside them those of their mirror images, if there are.

        Args:
            rows: in any order.

        Returns:
            m is 1, or 2 with mirror images.
        """
        first = self.shards[0]
        shape = (len(rows), len(first), *first[0].shape[1:])
        found: Table = np.empty(shape, first[0].dtype)
        for place, row in enumerate(rows.tolist()):
            shard, here = divmod(row, self.per_shard)
            for side, table in enumerate(self.shards[shard]):
                found[place, side] = table[here]
        return torch.from_numpy(found)


def open_cache(folder: Path, *, verify: bool = True) -> LatentCache:
    """Open a cache that `mezzotint encode` has written.

    Args:
        folder: with a manifest.
        verify: compare every file with its digest; once a process, while the manifest is the same.

    Raises:
        DataError: it is not one, not complete, or a file is damaged.
    """
    path = folder / MANIFEST
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _opened(folder, stamp, verify)


@lru_cache(maxsize=8)
def _opened(folder: Path, stamp: int, verify: bool) -> LatentCache:  # noqa: ARG001, FBT001 (a key)
    manifest = read_manifest(folder)
    names = (manifest.name, manifest.name + FLIP)[: 1 + manifest.flips]
    shards, labels = [], []
    for shard in manifest.shards:
        check(folder, shard, verify=verify)
        tables = mapped(folder / shard.file)
        missing = [name for name in (*names, LABEL) if name not in tables]
        if missing:
            raise DataError(f"{folder / shard.file}: has no tensor {missing[0]!r}; {_AGAIN}")
        shards.append(tuple(tables[name] for name in names))
        labels.append(torch.from_numpy(np.array(tables[LABEL], dtype=np.int64)))
    content = [each.digest for each in manifest.shards]
    digest = sha256(json.dumps([content, manifest.classes]).encode()).hexdigest()
    return LatentCache(
        classes=manifest.classes,
        labels=torch.cat(labels),
        size=manifest.size,
        digest=digest,
        per_shard=manifest.per_shard,
        shards=tuple(shards),
    )


def read_manifest(folder: Path) -> Manifest:
    """Read what a cache says of itself.

    Raises:
        DataError: there is nothing, or it cannot be understood.
    """
    path = folder / MANIFEST
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{folder}: no {MANIFEST}, so no complete latent cache; make it by mezzotint encode, "
            "or run the same command again to finish it"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {_AGAIN}") from None
    if tree.get("format") != FORMAT:
        raise DataError(
            f"{path}: a cache of format {tree.get('format')}, expected {FORMAT}; encode again"
        )
    return build(Manifest, tree)


def check(folder: Path, shard: Shard, *, verify: bool) -> None:
    """Compare a file with what the manifest says of it.

    Raises:
        DataError: it is missing, of another length or has another SHA-256.
    """
    path = folder / shard.file
    if not path.is_file():
        raise DataError(f"{path}: missing; run the same mezzotint encode again")
    if path.stat().st_size != shard.bytes:
        raise DataError(
            f"{path}: {path.stat().st_size:,} bytes, expected {shard.bytes:,}; {_AGAIN}"
        )
    found = digest_of_file(path) if verify else shard.digest
    if found != shard.digest:
        raise DataError(
            f"{path}: damaged: its SHA-256 is {found}, expected {shard.digest}; {_AGAIN}"
        )


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
            raise DataError(f"{path}: {name} is {reason}; {_AGAIN}")
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
        raise DataError(f"{path}: not a complete safetensors file ({error}); {_AGAIN}") from None
    return header, 8 + length


__all__ = [
    "HELD_OUT",
    "MANIFEST",
    "LatentCache",
    "Manifest",
    "Shard",
    "check",
    "mapped",
    "note",
    "open_cache",
    "read_manifest",
]
