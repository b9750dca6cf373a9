"""Labelled pictures of one size: the contract between data and training.

Pictures are uint8 in [0, 255], three channels, height = width. `read(rows)` is a pure function, so
any number of threads may call it and a resumed run sees what an uninterrupted one would have.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from mezzotint import config
from mezzotint.config import Config
from mezzotint.errors import ConfigError
from mezzotint.tokenizers.base import Tokenizer

Mirror = Callable[[Tensor, Tensor], Tensor]
"""From what is read, and which rows of it, to the same with these rows mirrored."""
IN_MEMORY_BYTES = 2 * 1024**3
"""Sets that decode to less than this are held as one tensor."""


@runtime_checkable
class Images(Protocol):
    """Labelled pictures of one size."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids; () means unlabelled."""

    @property
    def labels(self) -> Int64[Tensor, "n"]:
        """Class ids on the CPU; all zero when unlabelled."""

    @property
    def size(self) -> int:
        """Height and width in pixels."""

    @property
    def digest(self) -> str:
        """Hex digest of what the pixels and labels are made from."""

    def __len__(self) -> int: ...

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the pictures of `rows`, the same ones whenever asked."""
        ...


class Data(Config):
    """The `data:` section of a recipe: says where pictures come from, and opens them.

    Args:
        balanced: whether the loader should draw every class equally often.
    """

    balanced: bool = False

    @abstractmethod
    def train(self) -> Images:
        """Open the training part."""

    @abstractmethod
    def held_out(self) -> Images:
        """Open the held-out part, which shares no picture with `train()` and may be empty."""

    @property
    def tokenizer(self) -> Any:
        """What a recipe's tokenizer is that names none."""
        return "pixels"

    def pictures(self) -> tuple["Data", str | None]:
        """Return the data whose pictures are read here, and their digest where that is another."""
        return self, None

    def through(self, tokenizer: Tokenizer) -> Tokenizer:
        """Return what makes latents of what is read here: the tokenizer, for pictures."""
        return tokenizer

    def mirror(self) -> Mirror:
        """Return what turns chosen ones of what is read here into their mirror images."""
        return mirrored


def mirrored(
    images: UInt8[Tensor, "b c h w"], which: Bool[Tensor, "b"]
) -> UInt8[Tensor, "b c h w"]:
    """Mirror chosen pictures, left to right."""
    return torch.where(which[:, None, None, None], images.flip(3), images)


@dataclass(frozen=True)
class Labelling:
    """A second label of every picture, such as its drawing style."""

    names: tuple[str, ...]
    labels: Int64[Tensor, "n"]


@dataclass(frozen=True)
class InMemory:
    """Pictures that are held decoded in one tensor."""

    pixels: UInt8[Tensor, "n 3 h w"]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    digest: str
    others: Mapping[str, Labelling] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.pixels.shape[-1]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the pictures of `rows`."""
        return self.pixels[rows]

    def only(self, rows: Int64[Tensor, "m"]) -> "InMemory":
        """Return these rows as pictures of their own."""
        return InMemory.of(
            self.pixels[rows],
            self.labels[rows],
            self.classes,
            others={n: Labelling(o.names, o.labels[rows]) for n, o in self.others.items()},
        )

    @classmethod
    def of(
        cls,
        pixels: UInt8[Tensor, "n 3 h w"],
        labels: Int64[Tensor, "n"],
        classes: tuple[str, ...],
        *,
        others: Mapping[str, Labelling] | None = None,
    ) -> "InMemory":
        """Hold the pictures, with the digest of their content."""
        return cls(pixels, labels, classes, digest_of(pixels, labels, classes), others or {})


_WHOLE: Final = 2**31
_ROOT: Final = 1572067139
"""The fraction of the square root of three, of that; times of held-out images take the golden's."""


def spread(there: int, count: int) -> Int64[Tensor, "m"]:
    """Return up to `count` of `there` rows, one from each of as many equal stretches of the set.

    Where in its stretch a row lies changes as multiples of the square root of three do: at equal
    distances, a set whose classes take turns would show some of them only.
    """
    count = min(count, there)
    number = torch.arange(count)
    first, end = (k * there // max(count, 1) for k in (number, number + 1))
    return first + (number * _ROOT % _WHOLE * (end - first)) // _WHOLE


def digest_of(
    pixels: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, "n"], classes: tuple[str, ...]
) -> str:
    """Return the SHA-256 of shape, pixels, labels and class names."""
    content = sha256(repr((tuple(pixels.shape), classes)).encode())
    content.update(pixels.contiguous().numpy().data)
    content.update(labels.to(torch.int64).numpy().data)
    return content.hexdigest()


def held_out_of(tree: Mapping[str, Any]) -> Images:
    """Return the held-out images of the data that a model was trained on.

    Args:
        tree: of the model's config, with its provenance.

    Raises:
        ConfigError: the tree does not tell on which data it was trained.
    """
    recipe = config.dump(tree).get("provenance", {}).get("recipe", {})
    data = config.load_at("provenance.recipe.data", "data", recipe.get("data"))
    if not isinstance(data, Data):
        raise ConfigError("provenance.recipe.data: missing, so there are no held-out images")
    return data.held_out()


__all__ = [
    "IN_MEMORY_BYTES",
    "Data",
    "Images",
    "InMemory",
    "Labelling",
    "Mirror",
    "digest_of",
    "held_out_of",
    "mirrored",
    "spread",
]
