"""The convolutional KL autoencoder: images to a Gaussian a place, and back.

    z = mean + exp(log-variance / 2) * noise        [mean, log-variance] = encode(x)

The encoder halves the map between its levels, the decoder doubles it; attention of one head stands
in the middle of both and behind the blocks of chosen levels. Rombach et al., "High-Resolution Image
Synthesis with Latent Diffusion Models", arXiv 2112.10752; MAR's KL-16 after arXiv 2406.11838.
"""

from collections import OrderedDict
from typing import Any, ClassVar, Final, Self

from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from mezzotint.nn.resnet import GROUPS, FloatGroupNorm, MapAttention, ResnetBlock, doubling
from mezzotint.noise import Noise
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig, Pass

EPS: Final = 1e-6  # of every norm
LOG_VARIANCES: Final = (-30.0, 20.0)  # what a log-variance is clamped to

# What latents are multiplied by before a generator sees them: one over their deviation on the
# release's own images. "f8": specifications of DiT and U-ViT; "f16": specification of MAR.
SCALES: Final[dict[str, float]] = {"f8": 0.18215, "f16": 0.2325}


class KLConfig(AutoencoderConfig):
    """Shape of a KL autoencoder.

    Attributes:
        width: channels that the levels multiply.
        multipliers: channels of each level over `width`, from the image inwards.
        blocks: residual blocks of each level of the encoder; the decoder's have one more.
        attention: levels of the encoder with attention, each as rows of the image over rows of its
            map: 1, 2, 4, ... The releases name sides of a nominal image of 256 px instead.
        decoder_attention: the same for the decoder.
        inner_channels: channels between the encoder and the quantisation convolution, for one of
            the two moments; None is as many as a latent has.
        quantisation: whether 1 x 1 convolutions stand before and behind the latent.
    """

    # "f8" is from memory, but for scale, stride and channels; the specification of MAR gives "f16".
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "f8": {"latent_channels": 4, "width": 128, "multipliers": (1, 2, 4, 4)},
        "f16": {
            "latent_channels": 16,
            "width": 128,
            "multipliers": (1, 1, 2, 2, 4),
            "attention": (16,),
        },
    }

    width: int = Field(ge=1)
    multipliers: tuple[PositiveInt, ...] = Field(min_length=1)
    blocks: int = Field(default=2, ge=1)
    attention: tuple[PositiveInt, ...] = ()
    decoder_attention: tuple[PositiveInt, ...] = ()
    inner_channels: PositiveInt | None = None
    quantisation: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % GROUPS:
            raise ValueError(f"width {self.width} must be a multiple of {GROUPS}")
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

    @property
    def inner(self) -> int:
        """Channels that the decoder's own part begins with."""
        return self.inner_channels or self.latent_channels

    def build(self) -> "KL":
        """Make the network, freshly initialised."""
        return KL(self)


class KL(Autoencoder):
    """The autoencoder; a fresh one has PyTorch's own initialisation, as the release (from memory).

    Args:
        config: its shape.
    """

    FRONT = ("encoder.", "quant.")

    config: KLConfig

    def __init__(self, config: KLConfig) -> None:
        super().__init__(config)
        latent, inner = config.latent_channels, config.inner
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant: nn.Module = nn.Identity()
        self.post_quant: nn.Module = nn.Identity()
        if config.quantisation:
            self.quant = nn.Conv2d(2 * inner, 2 * latent, 1)
            self.post_quant = nn.Conv2d(latent, inner, 1)

    def encode(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b m h w"]:
        """Return the moments: means, then log-variances, as the network gives them."""
        return self.quant(self.encoder(x))

    def draw(self, codes: Float[Tensor, "b m h w"], noise: Noise) -> Float[Tensor, "b z h w"]:
        """Draw from the Gaussians that moments describe.

        Args:
            codes: means, then log-variances.
            noise: gives a standard normal number a value.
        """
        mean, log_variance = moments(codes)
        return mean + (0.5 * log_variance).exp() * noise(mean)

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Return images, about in [-1, 1]."""
        return self.decoder(self.post_quant(z))

    def reconstruct(self, x: Float[Tensor, "b c H W"], noise: Noise) -> Pass:
        """Return images from drawn latents, and the mean divergence of a value of a latent."""
        codes = self.encode(x)
        return Pass(self.decode(self.draw(codes, noise)), mean_divergence(codes))


def moments(
    codes: Float[Tensor, "b m h w"],
) -> tuple[Float[Tensor, "b z h w"], Float[Tensor, "b z h w"]]:
    """Split codes into means and log-variances, these clamped to [-30, 20]."""
    mean, log_variance = codes.chunk(2, dim=1)
    return mean, log_variance.clamp(*LOG_VARIANCES)


def divergence(codes: Float[Tensor, "b m h w"]) -> Float[Tensor, "b"]:
    """Return KL(N(mean, variance) || N(0, 1)) = sum (mean^2 + variance - 1 - log variance) / 2.

    Args:
        codes: means, then log-variances.

    Returns:
        Nats an image.
    """
    mean, log_variance = moments(codes)
    each = mean.square() + log_variance.exp() - 1 - log_variance
    return 0.5 * each.flatten(1).sum(1)


def mean_divergence(codes: Float[Tensor, "b m h w"]) -> Float[Tensor, "b"]:
    """Return the divergence over the number of values of a latent, in float32."""
    return divergence(codes.float()) / (codes[0].numel() // 2)


class Level(nn.Module):
    """Residual blocks, attention behind each where there is any, and what halves or doubles.

    Args:
        width: channels in.
        wider: channels out.
        blocks: residual blocks.
        attention: whether attention stands behind each.
        resample: what halves or doubles the map in the end, if anything.
    """

    def __init__(
        self, width: int, wider: int, *, blocks: int, attention: bool, resample: nn.Module | None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _block(width if k == 0 else wider, wider) for k in range(blocks)
        )
        self.attention = nn.ModuleList(_attention(wider) for _ in range(blocks * attention))
        self.resample = resample or nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Refine the map."""
        for k, block in enumerate(self.blocks):
            x = block(x)
            x = self.attention[k](x) if self.attention else x
        return self.resample(x)


class Encoder(nn.Module):
    """From an image to twice the inner channels.

    Args:
        config: the autoencoder's shape.
    """

    def __init__(self, config: KLConfig) -> None:
        super().__init__()
        widths = (config.width, *config.widths)
        self.conv_in = nn.Conv2d(config.channels, config.width, 3, padding=1)
        self.levels = nn.ModuleList(
            Level(
                widths[k],
                widths[k + 1],
                blocks=config.blocks,
                attention=stride in config.attention,
                resample=halving(widths[k + 1]) if stride < config.stride else None,
            )
            for k, stride in enumerate(config.strides)
        )
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * config.inner)

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

    def __init__(self, config: KLConfig) -> None:
        super().__init__()
        widths = (*config.widths, config.widths[-1])
        self.conv_in = nn.Conv2d(config.inner, widths[-1], 3, padding=1)
        self.middle = _middle(widths[-1])
        self.levels = nn.ModuleList(
            Level(
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


__all__ = ["KL", "LOG_VARIANCES", "SCALES", "KLConfig", "divergence", "mean_divergence", "moments"]
