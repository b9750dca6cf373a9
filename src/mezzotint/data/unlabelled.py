"""Pictures without their labels: what an unconditional model is trained on."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

import torch
from jaxtyping import Int64, UInt8
from pydantic import InstanceOf
from torch import Tensor

from mezzotint.config import part
from mezzotint.data.images import Data, Images


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
        return sha256(f"unlabelled {self.images.digest}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the pictures of `rows`."""
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


__all__ = ["Bare", "Unlabelled"]
