"""Data sets of other libraries: torchvision's, and Hugging Face's (extra `data`)."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from pydantic import Field
from torch import Tensor
from torchvision import datasets as torchvision_sets

from mezzotint.config import nearest
from mezzotint.data.crop import CROPS, Crop
from mezzotint.data.decode import to_rgb
from mezzotint.data.images import IN_MEMORY_BYTES, Data, Images, InMemory
from mezzotint.errors import DataError, MissingExtraError


@dataclass(frozen=True)
class Indexed:
    """Pictures that another library hands out one by one.

    Args:
        picture: returns the picture of a row.
        name: what the digest is made from, besides labels and crop.
    """

    picture: Callable[[int], Image.Image]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    size: int
    name: str
    crop: Crop = "adm"
    background: str = "white"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """Digest of the name, the labels and the treatment; the pixels stay with their library."""
        made_of = (self.name, self.classes, self.size, self.crop, self.background)
        return sha256(repr(made_of).encode() + self.labels.numpy().tobytes()).hexdigest()

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Fetch and crop the pictures of `rows`."""
        out = torch.empty((len(rows), 3, self.size, self.size), dtype=torch.uint8)
        for i, row in enumerate(rows.tolist()):
            rgb, _ = to_rgb(self.picture(row), self.background)
            square = np.array(CROPS[self.crop](rgb, self.size))
            out[i] = torch.from_numpy(square).permute(2, 0, 1)
        return out

    def held(self) -> Images:
        """Return the pictures in memory, if they are few enough."""
        if len(self) * 3 * self.size**2 > IN_MEMORY_BYTES:
            return self
        pixels = self.read(torch.arange(len(self)))
        return InMemory.of(pixels, self.labels, self.classes)


class Torchvision(Data):
    """A data set of torchvision, such as CIFAR10.

    Args:
        name: its class in torchvision.datasets.
        root: the folder that holds its files.
        size: height and width in pixels.
        crop: as for `Folder`.
        download: whether torchvision may fetch it; otherwise nothing touches the network.
    """

    name: str
    root: Path
    size: int = Field(default=32, ge=1)
    crop: Crop = "adm"
    download: bool = False

    def train(self) -> Images:
        """Open the training part."""
        return self._open(train=True)

    def held_out(self) -> Images:
        """Open the test part."""
        return self._open(train=False)

    def _open(self, *, train: bool) -> Images:
        if self.name not in torchvision_sets.__all__:
            raise DataError(
                f"torchvision has no data set {self.name!r}; "
                + nearest(self.name, torchvision_sets.__all__)
            )
        try:
            found = self._call(getattr(torchvision_sets, self.name), train=train)
        except (RuntimeError, OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{self.root}: torchvision cannot open {self.name} ({_one_line(error)}); put its "
                "files there, or set download: true"
            ) from None
        labels = torch.tensor(labels_of(found), dtype=torch.int64)
        classes = _class_names(found, labels)
        part = f"torchvision {self.name} train={train}"
        return Indexed(
            lambda row: _picture(found[row][0]), labels, classes, self.size, part, self.crop
        ).held()

    def _call(self, cls: Callable[..., Any], *, train: bool) -> Any:
        """Call a data set's class, whichever way it asks for its part."""
        known = inspect.signature(cls).parameters
        options: Mapping[str, Any] = {
            "train": train,
            "split": "train" if train else "test",
            "download": self.download,
        }
        return cls(self.root, **{k: v for k, v in options.items() if k in known})


class HuggingFace(Data):
    """A data set of Hugging Face's library `datasets`, local or from the hub.

    Args:
        name: a hub name such as "uoft-cs/cifar10", or a local folder.
        size: height and width in pixels.
        crop: as for `Folder`.
        train_split: name of the training split.
        held_out_split: name of the held-out split.
        image_column: the column of pictures.
        label_column: the column of class ids, or None for unlabelled pictures.
        download: whether the library may use the network.
    """

    name: str
    size: int = Field(default=64, ge=1)
    crop: Crop = "adm"
    train_split: str = "train"
    held_out_split: str = "test"
    image_column: str = "image"
    label_column: str | None = "label"
    download: bool = False

    def train(self) -> Images:
        """Open the training split."""
        return self._open(self.train_split)

    def held_out(self) -> Images:
        """Open the held-out split."""
        return self._open(self.held_out_split)

    def _open(self, split: str) -> Images:
        try:
            library = import_module("datasets")
        except ImportError:
            raise MissingExtraError("datasets", "data") from None
        config = library.DownloadConfig(local_files_only=not self.download)
        try:
            rows = library.load_dataset(self.name, split=split, download_config=config)
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{self.name}: datasets cannot open the split {split!r} ({_one_line(error)}); "
                "check the name, or set download: true"
            ) from None
        for column in filter(None, (self.image_column, self.label_column)):
            if column not in rows.column_names:
                raise DataError(
                    f"{self.name}: no column {column!r}; {nearest(column, rows.column_names)}"
                )
        labels, classes = _hub_labels(rows, self.label_column)
        return Indexed(
            lambda row: _picture(rows[row][self.image_column]),
            labels,
            classes,
            self.size,
            f"datasets {self.name} {split} {rows._fingerprint}",
            self.crop,
        ).held()


def labels_of(found: Any) -> list[int]:
    """Return the class ids of a torchvision data set, from a table it keeps if it has one."""
    for name in ("targets", "labels", "_labels"):
        table = getattr(found, name, None)
        if table is not None and len(table) == len(found):
            return [int(label) for label in table]
    return [int(found[row][1]) for row in range(len(found))]


def _class_names(found: Any, labels: Int64[Tensor, "n"]) -> tuple[str, ...]:
    count = int(labels.max()) + 1 if len(labels) else 0
    names = tuple(map(str, getattr(found, "classes", ())))
    return names if len(names) >= count else tuple(map(str, range(count)))


def _hub_labels(rows: Any, column: str | None) -> tuple[Int64[Tensor, "n"], tuple[str, ...]]:
    if column is None:
        return torch.zeros(len(rows), dtype=torch.int64), ()
    values, feature = list(rows[column]), rows.features[column]
    if hasattr(feature, "names"):
        return torch.tensor(values, dtype=torch.int64), tuple(feature.names)
    names = sorted(set(values))
    index = {name: i for i, name in enumerate(names)}
    return torch.tensor([index[v] for v in values], dtype=torch.int64), tuple(map(str, names))


def _picture(value: Any) -> Image.Image:
    if isinstance(value, Image.Image):
        return value
    return Image.fromarray(np.asarray(value, dtype=np.uint8))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


__all__ = ["HuggingFace", "Indexed", "Torchvision", "labels_of"]
