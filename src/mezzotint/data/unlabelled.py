"""Pictures without their labels: what an unconditional model is trained on."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

import torch
from jaxtyping import Int64, Shaped
from pydantic import InstanceOf
from torch import Tensor

from mezzotint.config import part
from mezzotint.data.images import Data, Images, Mirror
from mezzotint.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Bare:
    """Pictures whose labels are not looked at.

    Args:
        images: the pictures.
    """

    images: Images

    @property
    def classes(self) -> tuple[str, ...]:
        """No names."""
        return ()

    @property
    def labels(self) -> Int64[Tensor, "n"]:
        """Zero for every picture."""
        return torch.zeros(len(self), dtype=torch.int64)

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.images.size

    @property
    def digest(self) -> str:
        """Digest of the pictures' digest; not theirs, for a run on labels is another run."""
        return _bare(self.images.digest)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Int64[Tensor, "b"]) -> Shaped[Tensor, "b ..."]:
        """Return the pictures of `rows`, or what a cache holds of them."""
        return self.images.read(rows)


class Unlabelled(Data):
    """Another data set without its labels.

    Args:
        inner: the data set; its `balanced` has no meaning here.
    """

    inner: Annotated[InstanceOf[Data], part("data")]

    def train(self) -> Bare:
        """Open the training part."""
        return Bare(self.inner.train())

    def held_out(self) -> Bare:
        """Open the held-out part."""
        return Bare(self.inner.held_out())

    @property
    def tokenizer(self) -> Any:
        """What a recipe's tokenizer is that names none: the inner data's."""
        return self.inner.tokenizer

    def pictures(self) -> tuple[Data, str | None]:
        """Return the data whose pictures are read, without labels too."""
        found, digest = self.inner.pictures()
        if found is self.inner:
            return self, None
        return Unlabelled(inner=found), None if digest is None else _bare(digest)

    def through(self, tokenizer: Tokenizer) -> Tokenizer:
        """Return what makes latents of what is read."""
        return self.inner.through(tokenizer)

    def mirror(self) -> Mirror:
        """Return what turns chosen ones of what is read into their mirror images."""
        return self.inner.mirror()


def _bare(digest: str) -> str:
    return sha256(f"unlabelled {digest}".encode()).hexdigest()


__all__ = ["Bare", "Unlabelled"]
