"""What convolutional tokenizers are made of: an encoder that halves, a decoder that doubles.

    features = quant(encoder(x))        x = decoder(post_quant(z))

Attention of one head stands in the middle of both and behind the blocks of chosen levels. Rombach
et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import ClassVar, Final, Self

from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from mezzotint.nn.resnet import GROUPS, FloatGroupNorm, MapAttention, ResnetBlock, doubling
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig

EPS: Final = 1e-6  # of every norm


class LevelledConfig(AutoencoderConfig):
    """Shape of an autoencoder in levels, each with maps half as large as the one before.

    Attributes:
        width: channels that the levels multiply.
        multipliers: channels of each level over `width`, from the image inwards.
        blocks: residual blocks of each level of the encoder.
    """

    width: int = Field(ge=1)
    multipliers: tuple[PositiveInt, ...] = Field(min_length=1)
    blocks: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _in_groups(self) -> Self:
        if self.width % GROUPS:
            raise ValueError(f"width {self.width} must be a multiple of {GROUPS}")
        return self

    @property
    def strides(self) -> tuple[int, ...]:
        """Rows of an image over rows of the map, at each level."""
        return tuple(2**level for level in range(len(self.multipliers)))

    @property
    def stride(self) -> int:
        """Rows of an image over rows of its latent."""
        return self.strides[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(multiplier * self.width for multiplier in self.multipliers)


class ConvolutionalConfig(LevelledConfig):
    """Shape of an autoencoder with attention; the decoder's levels have one more block.

    Attributes:
        attention: levels of the encoder with attention, each as rows of the image over rows of its
            map: 1, 2, 4, ... The releases name sides of a nominal image of 256 px instead.
        decoder_attention: the same for the decoder.
        inner_channels: channels between the encoder and the quantisation convolution, for one of
            the maps it gives; None is as many as a latent has.
        quantisation: whether 1 x 1 convolutions stand before and behind the latent.
    """

    MAPS: ClassVar[int] = 1
    """Maps as wide as a latent that the encoder gives."""

    attention: tuple[PositiveInt, ...] = ()
    decoder_attention: tuple[PositiveInt, ...] = ()
    inner_channels: PositiveInt | None = None
    quantisation: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for stride in (*self.attention, *self.decoder_attention):
            if stride not in self.strides:
                known = ", ".join(map(str, self.strides))
                raise ValueError(f"attention at stride {stride}: the levels' strides are {known}")
        if not self.quantisation and self.inner_channels not in {None, self.latent_channels}:
            raise ValueError(
                f"inner_channels {self.inner_channels} must be latent_channels "
                f"{self.latent_channels} without quantisation convolutions"
            )
        return self

    @property
    def inner(self) -> int:
        """Channels that the decoder's own part begins with."""
        return self.inner_channels or self.latent_channels


class Convolutional(Autoencoder):
    """Encoder and decoder; fresh ones have PyTorch's own initialisation, as the release (memory).

    Args:
        config: their shape.
    """

    config: ConvolutionalConfig

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__(config)
        latent, inner, maps = config.latent_channels, config.inner, config.MAPS
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant: nn.Module = nn.Identity()
        self.post_quant: nn.Module = nn.Identity()
        if config.quantisation:
            self.quant = nn.Conv2d(maps * inner, maps * latent, 1)
            self.post_quant = nn.Conv2d(latent, inner, 1)


class Level(nn.Module):
    """Residual blocks, attention behind each where there is any, and what halves or doubles.

    Args:
        blocks: residual blocks.
        attention: one behind each block, or none.
        resample: what halves or doubles the map in the end, if anything.
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        *,
        attention: Iterable[nn.Module] = (),
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attention = nn.ModuleList(attention)
        self.resample = resample or nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Refine the map."""
        for k, block in enumerate(self.blocks):
            x = block(x)
            x = self.attention[k](x) if self.attention else x
        return self.resample(x)


class Encoder(nn.Module):
    """From an image to the maps of the inner channels.

    Args:
        config: the autoencoder's shape.
    """

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        widths = (config.width, *config.widths)
        self.conv_in = nn.Conv2d(config.channels, config.width, 3, padding=1)
        self.levels = nn.ModuleList(
            _level(
                widths[k],
                widths[k + 1],
                blocks=config.blocks,
                attention=stride in config.attention,
                resample=halving(widths[k + 1]) if stride < config.stride else None,
            )
            for k, stride in enumerate(config.strides)
        )
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], config.MAPS * config.inner)

    def forward(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b m h w"]:
        """Encode an image."""
        x = self.conv_in(x)
        for level in self.levels:
            x = level(x)
        return self.head(self.middle(x))


class Decoder(nn.Module):
    """From the inner channels to an image; its levels are numbered from the image too.

    Args:
        config: the autoencoder's shape.
    """

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        widths = (*config.widths, config.widths[-1])
        self.conv_in = nn.Conv2d(config.inner, widths[-1], 3, padding=1)
        self.middle = _middle(widths[-1])
        self.levels = nn.ModuleList(
            _level(
                widths[k + 1],
                widths[k],
                blocks=config.blocks + 1,
                attention=stride in config.decoder_attention,
                resample=doubling(widths[k], convolve=True) if stride > 1 else None,
            )
            for k, stride in enumerate(config.strides)
        )
        self.head = _head(widths[0], config.channels)

    def forward(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Decode a map."""
        x = self.middle(self.conv_in(z))
        for level in reversed(self.levels):
            x = level(x)
        return self.head(x)


def halving(width: int) -> nn.Module:
    """Return a 3 x 3 convolution of stride 2 that pads on the right and below alone."""
    conv = nn.Conv2d(width, width, 3, stride=2)
    return nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((0, 1, 0, 1)), conv=conv))


def _level(
    width: int, wider: int, *, blocks: int, attention: bool, resample: nn.Module | None
) -> Level:
    return Level(
        (_block(width if k == 0 else wider, wider) for k in range(blocks)),
        attention=(_attention(wider) for _ in range(blocks * attention)),
        resample=resample,
    )


def _block(width: int, wider: int) -> ResnetBlock:
    block = ResnetBlock(width, wider, eps=EPS)
    block.conv2.reset_parameters()  # the release starts with no branch at zero
    return block


def _attention(width: int) -> MapAttention:
    attention = MapAttention(width, 1, head_major=False, eps=EPS)
    attention.proj.reset_parameters()
    return attention


def _middle(width: int) -> nn.Module:
    return nn.Sequential(_block(width, width), _attention(width), _block(width, width))


def _head(width: int, channels: int) -> nn.Module:
    conv = nn.Conv2d(width, channels, 3, padding=1)
    return nn.Sequential(FloatGroupNorm(width, eps=EPS), nn.SiLU(), conv)


__all__ = [
    "EPS",
    "Convolutional",
    "ConvolutionalConfig",
    "Decoder",
    "Encoder",
    "Level",
    "LevelledConfig",
    "halving",
]
