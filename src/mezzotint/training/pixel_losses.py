"""How far images are from their originals, pixel by pixel: a mean over the values of each image."""

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mezzotint.diffusion.predictions import per_example


@runtime_checkable
class PixelLoss(Protocol):
    """A distance of images from their originals, pixel by pixel."""

    def __call__(
        self, x: Float[Tensor, "b ..."], original: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return the mean over the values of each image."""
        ...


@dataclass(frozen=True)
class Squared:
    """(x - y)^2, the loss of the paper."""

    def __call__(
        self, x: Float[Tensor, "b ..."], original: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return the mean over the values of each image."""
        return per_example((x - original) ** 2)


@dataclass(frozen=True)
class Absolute:
    """|x - y|."""

    def __call__(
        self, x: Float[Tensor, "b ..."], original: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return the mean over the values of each image."""
        return per_example((x - original).abs())


@dataclass(frozen=True)
class Huber:
    """d^2 / (2 beta) where |d| < beta, |d| - beta / 2 beyond: what ViTok's release runs.

    Attributes:
        beta: where the one becomes the other.
    """

    beta: Annotated[float, Field(gt=0)] = 0.05

    def __call__(
        self, x: Float[Tensor, "b ..."], original: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return the mean over the values of each image."""
        each = functional.smooth_l1_loss(x, original, reduction="none", beta=self.beta)
        return per_example(each)


@dataclass(frozen=True)
class Charbonnier:
    """sqrt(d^2 + eps), the loss of ViTok-v2.

    Attributes:
        eps: keeps the root smooth.
    """

    eps: Annotated[float, Field(gt=0)] = 1e-6

    def __call__(
        self, x: Float[Tensor, "b ..."], original: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return the mean over the values of each image."""
        return per_example(((x - original) ** 2 + self.eps).sqrt())


__all__ = ["Absolute", "Charbonnier", "Huber", "PixelLoss", "Squared"]
