"""MaskGIT's vector-quantised autoencoder: no attention, and shortcuts that skip the input.

    out = f(x) + x        where widths agree; otherwise        out = f(x) + W f(x)

The release convolves the branch where the input was meant; what it was trained with is kept. It
works on images in [0, 1]. Chang et al., "MaskGIT", arXiv 2202.04200; MAGE and AutoNAT use it too.
"""

from typing import Any, ClassVar

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.nn.resnet import FloatGroupNorm, doubling
from mezzotint.nn.resnet import halving as averaging
from mezzotint.tokenizers.convolutional import EPS, Level, LevelledConfig
from mezzotint.tokenizers.vq import Codebook, QuantisedConfig, VectorQuantised


class MaskGITVQConfig(LevelledConfig, QuantisedConfig):
    """Shape of MaskGIT's autoencoder.

    Attributes:
        middle: blocks between the last level and the latent; None is as many as a level has. Ports
            with the names of taming-transformers always have 2.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "f16-1024": {
            "latent_channels": 256,
            "codes": 1024,
            "width": 128,
            "multipliers": (1, 1, 2, 2, 4),
        },
    }

    middle: PositiveInt | None = None

    @property
    def middle_blocks(self) -> int:
        """Blocks between the last level and the latent."""
        return self.middle or self.blocks

    def build(self) -> "MaskGITVQ":
        """Make the network, freshly initialised."""
        return MaskGITVQ(self)


class MaskGITVQ(VectorQuantised):
    """The autoencoder; encoder and decoder work on images in [0, 1].

    Args:
        config: its shape.
    """

    config: MaskGITVQConfig

    def __init__(self, config: MaskGITVQConfig) -> None:
        super().__init__(config)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.codebook = Codebook(config.codes, config.latent_channels, spherical=False)

    def features(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Return what the codebook is asked about.

        Args:
            x: images in [-1, 1].
        """
        return self.encoder((x + 1) / 2)

    def restored(self, codes: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Return the images of codes, about in [-1, 1]."""
        return 2 * self.decoder(codes) - 1


class BranchBlock(nn.Module):
    """Two normed 3 x 3 convolutions without bias, and the release's shortcut.

    Args:
        width: channels in, a multiple of 32.
        wider: channels out, a multiple of 32.
    """

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.norm1 = FloatGroupNorm(width, eps=EPS)
        self.conv1 = nn.Conv2d(width, wider, 3, padding=1, bias=False)
        self.norm2 = FloatGroupNorm(wider, eps=EPS)
        self.conv2 = nn.Conv2d(wider, wider, 3, padding=1, bias=False)
        self.skip = None if width == wider else nn.Conv2d(wider, wider, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Refine the map."""
        branch = self.conv1(functional.silu(self.norm1(x)))
        branch = self.conv2(functional.silu(self.norm2(branch)))
        return branch + (x if self.skip is None else self.skip(branch))


class Encoder(nn.Module):
    """From an image to features; maps are halved by the mean of 2 x 2 places.

    Args:
        config: the autoencoder's shape.
    """

    def __init__(self, config: MaskGITVQConfig) -> None:
        super().__init__()
        widths = (config.width, *config.widths)
        self.conv_in = nn.Conv2d(config.channels, config.width, 3, padding=1, bias=False)
        self.levels = nn.ModuleList(
            Level(
                _blocks(widths[k], widths[k + 1], config.blocks),
                resample=averaging(widths[k + 1], convolve=False)
                if stride < config.stride
                else None,
            )
            for k, stride in enumerate(config.strides)
        )
        self.middle = nn.Sequential(*_blocks(widths[-1], widths[-1], config.middle_blocks))
        out = nn.Conv2d(widths[-1], config.latent_channels, 1)
        self.head = nn.Sequential(FloatGroupNorm(widths[-1], eps=EPS), nn.SiLU(), out)

    def forward(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Encode images in [0, 1]."""
        x = self.conv_in(x)
        for level in self.levels:
            x = level(x)
        return self.head(self.middle(x))


class Decoder(nn.Module):
    """From codes to an image; its levels are numbered from the image too.

    Args:
        config: the autoencoder's shape.
    """

    def __init__(self, config: MaskGITVQConfig) -> None:
        super().__init__()
        widths = (*config.widths, config.widths[-1])
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.middle = nn.Sequential(*_blocks(widths[-1], widths[-1], config.middle_blocks))
        self.levels = nn.ModuleList(
            Level(
                _blocks(widths[k + 1], widths[k], config.blocks),
                resample=doubling(widths[k], convolve=True) if stride > 1 else None,
            )
            for k, stride in enumerate(config.strides)
        )
        out = nn.Conv2d(widths[0], config.channels, 3, padding=1)
        self.head = nn.Sequential(FloatGroupNorm(widths[0], eps=EPS), nn.SiLU(), out)

    def forward(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Decode to images about in [0, 1]."""
        x = self.middle(self.conv_in(z))
        for level in reversed(self.levels):
            x = level(x)
        return self.head(x)


def _blocks(width: int, wider: int, count: int) -> list[BranchBlock]:
    return [BranchBlock(width if k == 0 else wider, wider) for k in range(count)]


__all__ = ["MaskGITVQ", "MaskGITVQConfig"]
