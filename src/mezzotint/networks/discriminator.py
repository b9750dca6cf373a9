"""A discriminator of images: one number an image, high for real ones.

Strided convolutions with leaky ReLU and one linear layer, without norms. That of the PPGN paper is
not known; this one follows the custom of its time (Radford et al., arXiv 1511.06434).
"""

from itertools import pairwise
from typing import Final, Self

from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from mezzotint.config import Config

_SLOPE: Final = 0.2


class StridedDiscriminatorConfig(Config):
    """Shape of the discriminator.

    Attributes:
        channels: channels of an image.
        size: rows and columns of an image.
        widths: channels of each layer; each halves the map, rounding up.
    """

    channels: int = Field(default=3, ge=1)
    size: tuple[PositiveInt, PositiveInt]
    widths: tuple[PositiveInt, ...] = Field(default=(32, 64), min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.size) < 2 ** len(self.widths):
            raise ValueError(
                f"size {self.size} cannot be halved {len(self.widths)} times; take fewer widths"
            )
        return self

    def build(self) -> "StridedDiscriminator":
        """Make the network, freshly initialised."""
        return StridedDiscriminator(self)


class StridedDiscriminator(nn.Module):
    """The discriminator.

    Args:
        config: its shape.
    """

    def __init__(self, config: StridedDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential()
        rows, columns = config.size
        for width, wider in pairwise((config.channels, *config.widths)):
            self.body.extend([nn.Conv2d(width, wider, 3, 2, 1), nn.LeakyReLU(_SLOPE)])
            rows, columns = -(-rows // 2), -(-columns // 2)
        self.head = nn.Linear(config.widths[-1] * rows * columns, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
        """Return a logit of being real for each image."""
        return self.head(self.body(x).flatten(1))[:, 0]


__all__ = ["StridedDiscriminator", "StridedDiscriminatorConfig"]
