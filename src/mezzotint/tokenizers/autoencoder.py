"""What the network inside a learned tokenizer promises; images are floats in [-1, 1] here.

    codes = encode(x)       deterministic        z = draw(codes, noise)        x = decode(z)

It knows neither uint8 nor the scale of what a generator sees: `mezzotint.stored` does.
"""

from typing import ClassVar, NamedTuple

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import Config
from mezzotint.errors import ConfigError, DataError
from mezzotint.noise import Noise


class Pass(NamedTuple):
    """What training sees of an autoencoder.

    Attributes:
        images: as they came back, with gradient.
        penalty: of each image's codes, such as their divergence; a weight makes it a loss.
    """

    images: Float[Tensor, "b c H W"]
    penalty: Float[Tensor, "b"]


class AutoencoderConfig(Config):
    """Base of the autoencoders' configs.

    Attributes:
        channels: channels of an image.
        latent_channels: channels of a latent.
    """

    channels: int = Field(default=3, ge=1)
    latent_channels: int = Field(ge=1)

    @property
    def stride(self) -> int:
        """Rows of an image over rows of its latent."""
        raise NotImplementedError

    def rows(self, size: int) -> int:
        """Return the rows of the latent of an image of `size` rows.

        Raises:
            ConfigError: they do not come out whole.
        """
        if size % self.stride:
            raise ConfigError(
                f"size {size} is not a multiple of {self.stride}, by which this tokenizer "
                "divides rows and columns; choose images of another size"
            )
        return size // self.stride

    def latent(self, size: int) -> tuple[int, int, int]:
        """Return channels, rows and columns of the latent of a square image.

        Raises:
            ConfigError: there is none for this size.
        """
        rows = self.rows(size)
        return self.latent_channels, rows, rows

    def check(self, rows: int, columns: int) -> None:
        """Refuse sides that would be cut off, or that no network can take.

        Raises:
            DataError: a side is not a multiple of the stride.
        """
        if rows % self.stride or columns % self.stride:
            raise DataError(
                f"images of {rows} x {columns} pixels, but this tokenizer makes one place of "
                f"{self.stride} x {self.stride}; crop or resize them to multiples of it"
            )

    def image(self, size: int) -> tuple[int, int]:
        """Return rows and columns of what is encoded at once, of images of `size` rows."""
        return size, size

    @property
    def vocabulary(self) -> int:
        """How many values a place of the latent may take; 0 where they are real numbers."""
        return 0

    def build(self) -> "Autoencoder":
        """Make the network, freshly initialised."""
        raise NotImplementedError


class Autoencoder(nn.Module):
    """From images to codes, to latents, and back to images.

    Args:
        config: channels of both.
    """

    FRONT: ClassVar[tuple[str, ...]] = ()
    """How the names of the tensors begin that make the codes: what stage two freezes."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config

    def reconstruct(self, x: Float[Tensor, "b c H W"], noise: Noise) -> Pass:
        """Return images as they come back in training, and the penalty of their codes.

        Args:
            x: images in [-1, 1].
            noise: draws latents from codes.
        """
        raise NotImplementedError

    def encode(self, x: Float[Tensor, "b c H W"]) -> Tensor:
        """Return deterministic codes.

        Args:
            x: images in [-1, 1].
        """
        raise NotImplementedError

    def draw(self, codes: Tensor, noise: Noise) -> Float[Tensor, "b z h w"]:
        """Draw latents from codes, as the decoder takes them."""
        raise NotImplementedError

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Return images, in [-1, 1] as far as the network keeps to it."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Return images as they come back, nothing being drawn on the way."""
        return self.decode(self.draw(self.encode(x), _silence))


def _silence(like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    return like.new_zeros(like.shape)


__all__ = ["Autoencoder", "AutoencoderConfig", "Pass"]
