"""The latent cache on disk: shards of safetensors and a manifest that says what they are.

    latents-00000-of-00003.safetensors  …  manifest.json        held_out/ the same

A shard holds the codes of its images, those of their mirror images if there are any, `label` and
`index`. It is mapped into memory and read in place: no copy is kept, and processes share it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from mezzotint.config import Config, build
from mezzotint.data.mapped import AGAIN, Table, mapped
from mezzotint.digest import digest_of_file
from mezzotint.errors import DataError

MANIFEST: Final = "manifest.json"
HELD_OUT: Final = "held_out"
"""Folder of the held-out part, inside that of the training part."""
LABEL, INDEX, FLIP = "label", "index", "_flip"
FORMAT: Final = 1


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
            raise DataError(f"{folder / shard.file}: has no tensor {missing[0]!r}; {AGAIN}")
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


def is_cache(folder: Path) -> bool:
    """Say whether a folder is a finished cache of ours."""
    return (folder / MANIFEST).is_file() and any(folder.glob("latents-*-of-*.safetensors"))


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
        raise DataError(f"{path}: cannot be read ({error}); {AGAIN}") from None
    found = tree.get("format") if isinstance(tree, dict) else None
    if found != FORMAT:
        raise DataError(f"{path}: a cache of format {found}, expected {FORMAT}; encode again")
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
        raise DataError(f"{path}: {path.stat().st_size:,} bytes, expected {shard.bytes:,}; {AGAIN}")
    found = digest_of_file(path) if verify else shard.digest
    if found != shard.digest:
        raise DataError(
            f"{path}: damaged: its SHA-256 is {found}, expected {shard.digest}; {AGAIN}"
        )


__all__ = [
    "HELD_OUT",
    "MANIFEST",
    "LatentCache",
    "Manifest",
    "Shard",
    "check",
    "is_cache",
    "open_cache",
    "read_manifest",
]
