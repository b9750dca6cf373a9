"""Latent caches of other projects, read where they lie: MAR, fast-DiT, LightningDiT and EDM2.

None says which tokenizer made it, so none can be checked against the recipe's. What the tensors
are is in the specifications of MAR and DiCo and in our notes on peers; how folders are called and
what EDM2's numbers mean is from memory.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from mezzotint.data.mapped import Table, mapped
from mezzotint.data.stores import Store, open_store
from mezzotint.errors import DataError

Load = Callable[[int], Sequence[Table]]
"""From a row to the codes of its image and, if they are there, of its mirror image."""

_POINT: Final = -30.0  # log-variance of a Gaussian that is as good as a point


@dataclass(frozen=True)
class Foreign:
    """Items of another project's cache, in the form of ours.

    Attributes:
        classes: names, in the order of the labels.
        labels: class ids.
        size: height and width of the images in pixels.
        digest: of the names and labels of the files; not of their content.
        flips: whether mirror images are there too.
        load: reads an item.
    """

    classes: tuple[str, ...]
    labels: Int64[Tensor, "n"]
    size: int
    digest: str
    flips: bool
    load: Load = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: Int64[Tensor, "b"]) -> Shaped[Tensor, "b m ..."]:
        """Return the codes of `rows`, and beside them those of their mirror images, if any."""
        found = [[np.asarray(t) for t in self.load(row)] for row in rows.tolist()]
        shapes = {tuple(t.shape for t in each) for each in found}
        if len(shapes) > 1:
            raise DataError(
                f"a latent cache whose items differ ({' and '.join(map(str, sorted(shapes)))}); "
                "expected one shape, and mirror images for all or for none"
            )
        return torch.from_numpy(np.stack([np.stack(each) for each in found]))


class Reader(Protocol):
    """What knows a project's cache."""

    @property
    def name(self) -> str:
        """Whose it is."""
        ...

    @property
    def drawn(self) -> bool:
        """Whether it holds latents, drawn and scaled, or codes."""
        ...

    def fits(self, path: Path) -> bool:
        """Say whether `path` looks like one."""
        ...

    def open(self, path: Path, size: int) -> Foreign:
        """Open it, for images of `size` pixels."""
        ...


@dataclass(frozen=True)
class MAR:
    """A folder for each class, an .npz for each image: `moments` and `moments_flip`."""

    name: str = "MAR"
    drawn: bool = False

    def fits(self, path: Path) -> bool:
        """Say whether the folders in `path` hold .npz files."""
        return path.is_dir() and any(path.glob("*/*.npz"))

    def open(self, path: Path, size: int) -> Foreign:
        """Open it; labels are the folders, sorted by name."""
        store = open_store(path)
        names = [name for name in store.names() if name.endswith(".npz")]
        classes = tuple(sorted({name.split("/")[0] for name in names}))
        labels = [classes.index(name.split("/")[0]) for name in names]

        def load(row: int) -> list[Table]:
            arrays = arrays_of(store, names[row])
            if "moments" not in arrays:
                raise DataError(f"{path / names[row]}: has no array 'moments', as MAR's caches do")
            return [arrays[key] for key in ("moments", "moments_flip") if key in arrays]

        return _opened(path, size, classes, names, labels, load)


@dataclass(frozen=True)
class FastDiT:
    """Numbered .npy files in a folder of features and one of labels; latents drawn and scaled."""

    name: str = "fast-DiT"
    drawn: bool = True

    def fits(self, path: Path) -> bool:
        """Say whether there is a folder of features and one of labels."""
        return all(_only(path, pattern) for pattern in ("*features", "*labels"))

    def open(self, path: Path, size: int) -> Foreign:
        """Open it; the classes are called by their numbers."""
        features, answers = _only(path, "*features"), _only(path, "*labels")
        assert features is not None, "fits() has found them"
        assert answers is not None, "fits() has found them"
        names = sorted((p.name for p in features.glob("*.npy")), key=_number)
        missing = [name for name in names if not (answers / name).exists()]
        if missing:
            raise DataError(f"{answers / missing[0]}: missing; expected a label for each latent")
        labels = [_label(answers / name) for name in names]
        classes = _numbered(labels)

        def load(row: int) -> list[Table]:
            where = features / names[row]
            return list(_array(where.read_bytes(), where))

        return _opened(path, size, classes, names, labels, load)


@dataclass(frozen=True)
class LightningDiT:
    """Shards with `latents`, `latents_flip` and `labels`; latents as drawn, not scaled."""

    name: str = "LightningDiT"
    drawn: bool = False

    def fits(self, path: Path) -> bool:
        """Say whether the first shard holds latents."""
        shards = sorted(path.glob("*.safetensors")) if path.is_dir() else []
        return bool(shards) and "latents" in mapped(shards[0])

    def open(self, path: Path, size: int) -> Foreign:
        """Open it; the classes are called by their numbers.

        A latent becomes a Gaussian that is as good as a point, as a KL autoencoder's codes are.
        """
        files = sorted(path.glob("*.safetensors"))
        shards = [mapped(each) for each in files]
        bare = [file for file, shard in zip(files, shards, strict=True) if "labels" not in shard]
        if bare:
            raise DataError(f"{bare[0]}: has no tensor 'labels', as LightningDiT's shards do")
        places = [(s, row) for s, shard in enumerate(shards) for row in range(len(shard["labels"]))]
        labels = [int(label) for shard in shards for label in shard["labels"]]
        names = [f"{s}/{row}" for s, row in places]
        classes = _numbered(labels)

        def load(row: int) -> list[Table]:
            shard, here = places[row]
            keys = [key for key in ("latents", "latents_flip") if key in shards[shard]]
            found = [np.asarray(shards[shard][key][here], np.float32) for key in keys]
            return [np.concatenate([z, np.full_like(z, _POINT)]) for z in found]

        return _opened(path, size, classes, names, labels, load)


@dataclass(frozen=True)
class EDM2:
    """A zip or folder of .npy files and `dataset.json`: means, then deviations."""

    name: str = "EDM2"
    drawn: bool = False

    def fits(self, path: Path) -> bool:
        """Say whether there is a table of labels beside .npy files."""
        if not (path.is_dir() or zipfile.is_zipfile(path)):
            return False
        names = open_store(path).names()
        return "dataset.json" in names and any(name.endswith(".npy") for name in names)

    def open(self, path: Path, size: int) -> Foreign:
        """Open it; the classes are called by their numbers."""
        store = open_store(path)
        try:
            table = dict(json.loads(store.read("dataset.json"))["labels"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: dataset.json has no labels ({error})") from None
        names = [name for name in store.names() if name.endswith(".npy")]
        missing = [name for name in names if name not in table]
        if missing:
            raise DataError(f"{path}: dataset.json has no label for {missing[0]}")
        labels = [int(table[name]) for name in names]
        classes = _numbered(labels)

        def load(row: int) -> list[Table]:
            both = _array(store.read(names[row]), path / names[row]).astype(np.float32)
            mean, deviation = np.split(both, 2)
            return [np.concatenate([mean, 2 * np.log(np.maximum(deviation, 1e-6))])]

        return _opened(path, size, classes, names, labels, load)


READERS: Final[tuple[Reader, ...]] = (EDM2(), MAR(), FastDiT(), LightningDiT())


def find(path: Path) -> Reader:
    """Return what knows the cache at `path`.

    Raises:
        DataError: nobody does.
    """
    for reader in READERS:
        if path.exists() and reader.fits(path):
            return reader
    known = ", ".join(reader.name for reader in READERS)
    raise DataError(
        f"{path}: no latent cache; expected a folder that mezzotint encode has finished, or a "
        f"cache of {known}"
    )


def arrays_of(store: Store, name: str) -> Mapping[str, Table]:
    """Return the arrays of an .npz file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with np.load(io.BytesIO(store.read(name)), allow_pickle=False) as held:
            return dict(held.items())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{store.path / name}: cannot be read ({error})") from None


def _array(content: bytes, where: Path) -> Table:
    try:
        found: Table = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{where}: cannot be read ({error})") from None
    return found


def _label(where: Path) -> int:
    found = _array(where.read_bytes(), where)
    if found.size != 1:
        raise DataError(f"{where}: {found.size} numbers, expected one label")
    return int(found.item(0))


def _only(path: Path, pattern: str) -> Path | None:
    found = [each for each in sorted(path.glob(pattern)) if each.is_dir()]
    return found[0] if len(found) == 1 else None


def _numbered(labels: Sequence[int]) -> tuple[str, ...]:
    """Return numbers for names."""
    return tuple(map(str, range(max(labels, default=-1) + 1)))


def _number(name: str) -> tuple[int, str]:
    digits = re.sub(r"\D", "", PurePosixPath(name).stem)
    return int(digits or 0), name


def _opened(
    path: Path,
    size: int,
    classes: tuple[str, ...],
    names: Sequence[str],
    labels: Sequence[int],
    load: Load,
) -> Foreign:
    if not names:
        raise DataError(f"{path}: no latents in it")
    content = sha256(json.dumps([list(names), list(labels), classes]).encode()).hexdigest()
    flips = len(load(0)) > 1
    return Foreign(classes, torch.tensor(labels), size, content, flips, load)


__all__ = ["READERS", "Foreign", "Reader", "find"]
