"""From images to numbers that can be compared: the contract of every feature extractor."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float32, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Readout:
    """What an extractor sees in a batch of images; on the CPU.

    Attributes:
        features: the space in which sets of images are compared.
        logits: scores of the extractor's own classes, before the softmax, if it has any.
        spatial: a second space that keeps where things are (sFID), if there is one.
    """

    features: Float32[Tensor, "b d"]
    logits: Float32[Tensor, "b k"] | None = None
    spatial: Float32[Tensor, "b s"] | None = None


class Features(Protocol):
    """A feature extractor; the same image gives the same numbers whatever stands beside it."""

    @property
    def distance(self) -> str:
        """Name of the Fréchet distance: "FID" for Inception alone, else "FD-" and a name."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of weights and preprocessing."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the logits' classes; () when they are unnamed or there are none."""
        ...

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        """Read a batch."""
        ...


__all__ = ["Features", "Readout"]
