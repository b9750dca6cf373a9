"""Denoising autoencoders as priors: of codes (PPGN-h) and of images (PPGN-x).

    R(h + sigma z) is trained to be h; then R(h) - h points to likelier codes

Nguyen et al., arXiv 1612.00005, sections 3.1 and 3.3. That of codes has seven layers there
(from memory); that of images is of our own making, for its shape is not known.
"""

from itertools import pairwise
from typing import Any, ClassVar

from pydantic import Field, PositiveInt
from torch import nn

from mezzotint.config import Config


class CodeAutoencoderConfig(Config):
    """Shape of an autoencoder of codes.

    Attributes:
        code: numbers in a code; 0 until the encoder has been seen.
        hidden: widths of the layers between, narrowest in the middle.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "ppgn-h": {"hidden": (2048, 1024, 500, 1024, 2048)}
    }

    code: int = Field(default=0, ge=0)
    hidden: tuple[PositiveInt, ...] = Field(default=(128, 64, 128), min_length=1)

    def build(self) -> "CodeAutoencoder":
        """Make the network, freshly initialised."""
        return CodeAutoencoder(self)


class CodeAutoencoder(nn.Sequential):
    """Linear layers with ReLU between, from a code to a code.

    Args:
        config: their widths.
    """

    def __init__(self, config: CodeAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.code, *config.hidden, config.code)
        for wide, to in pairwise(widths):
            self.extend([nn.Linear(wide, to), nn.ReLU()])
        self.pop(-1)


class ImageAutoencoderConfig(Config):
    """Shape of an autoencoder of images, as large as they are throughout.

    Attributes:
        channels: channels of an image.
        width: channels between.
        depth: layers between.
    """

    channels: int = Field(default=3, ge=1)
    width: int = Field(default=32, ge=1)
    depth: int = Field(default=2, ge=0)

    def build(self) -> "ImageAutoencoder":
        """Make the network, freshly initialised."""
        return ImageAutoencoder(self)


class ImageAutoencoder(nn.Sequential):
    """3 x 3 convolutions with ReLU between, from images to images.

    Args:
        config: their widths.
    """

    def __init__(self, config: ImageAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.channels, *(config.width,) * (config.depth + 1), config.channels)
        for wide, to in pairwise(widths):
            self.extend([nn.Conv2d(wide, to, 3, padding=1), nn.ReLU()])
        self.pop(-1)


__all__ = [
    "CodeAutoencoder",
    "CodeAutoencoderConfig",
    "ImageAutoencoder",
    "ImageAutoencoderConfig",
]
