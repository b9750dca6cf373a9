"""ADM: a U-Net of residual blocks with attention at its smaller maps, conditioned by FiLM.

    out = head(decoder(middle(encoder(x, c)), maps of the encoder, c)),   c = time + class

Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis", arXiv 2105.05233, section 3.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.errors import ConfigError
from mezzotint.networks.adm_encoder import MULTIPLIERS, Encoder, EncoderConfig, Stage
from mezzotint.networks.base import NetworkConfig
from mezzotint.nn.embed import ClassEmbedding, TimeEmbedding
from mezzotint.nn.resnet import FloatGroupNorm, doubling, zeroed

# The release says 4 heads also where the width of a head decides.
_COMMON: Final = {"width": 256, "blocks": 2, "attention": (32, 16, 8), "heads": 4}
_LARGE: Final = {**_COMMON, "head_width": 64, "multipliers": MULTIPLIERS[256]}


class ADMConfig(EncoderConfig, NetworkConfig):
    """Shape of an ADM.

    With `num_classes` 0 there is no class table, and y is ignored. The release has no row for the
    null class, so that its models cannot be guided against their unconditional selves.

    Attributes:
        heads_up: attention heads of the decoder, if not `heads`; `head_width` goes before it.
        outputs: output channels over `channels`; 2 when the variance is learned.
        null_row: whether the class table has a row for the null class.
        low_channels: channels of the low-resolution image that an upsampler is shown beside x.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "64": {
            **_COMMON,
            "width": 192,
            "blocks": 3,
            "multipliers": MULTIPLIERS[64],
            "head_width": 64,
            "head_major": False,
            "dropout": 0.1,
        },
        "128": {**_COMMON, "multipliers": MULTIPLIERS[128]},
        "256": _LARGE,
        "256-unconditional": _LARGE,  # it is `num_classes` 0 that makes it unconditional
        "512": {**_LARGE, "multipliers": MULTIPLIERS[512]},
        "lsun-256": {**_LARGE, "dropout": 0.1},
        "64-256": {
            **_COMMON,
            "width": 192,
            "multipliers": MULTIPLIERS[256],
            "low_channels": 3,
        },
        "128-512": {**_LARGE, "width": 192, "attention": (32, 16), "low_channels": 3},
    }

    heads_up: PositiveInt | None = None
    outputs: int = Field(default=1, ge=1)
    null_row: bool = False
    low_channels: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _decodes(self) -> Self:
        if self.num_classes == 0 and self.null_row:
            raise ValueError("num_classes 0 has no class table; set null_row to false")
        for level, width in enumerate(self.widths):
            if self.attends(level):
                self.check_heads(width, self.heads_up or self.heads)
        return self

    def build(self) -> "ADM":
        """Make the network, freshly initialised: it outputs exactly zero."""
        return ADM(self)


class ADM(nn.Module):
    """The U-Net.

    Args:
        config: the shape.
    """

    def __init__(self, config: ADMConfig) -> None:
        super().__init__()
        self.config = config
        self.null = config.num_classes
        self.class_rows = ("label.table.weight",) if config.num_classes else ()
        self.latent = (config.channels, *config.size)
        condition, first = 4 * config.width, config.widths[0]
        self.time = TimeEmbedding(condition, features=config.width)
        self.label = (
            ClassEmbedding(config.num_classes, condition, null=config.null_row)
            if config.num_classes
            else None
        )
        self.encoder = Encoder(config, config.channels + config.low_channels)
        self.middle = config.middle()
        self.decoder = nn.ModuleList(_decoder(config, list(self.encoder.widths)))
        last = zeroed(nn.Conv2d(first, config.outputs * config.channels, 3, padding=1))
        self.head = nn.Sequential(FloatGroupNorm(first), nn.SiLU(), last)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        time: Float[Tensor, "b"],
        y: Int[Tensor, "b"],
        *,
        low: Float[Tensor, "b d i j"] | None = None,
    ) -> Float[Tensor, "b k h w"]:
        """Return the raw prediction.

        Args:
            x: noisy image or latent.
            time: network time, as the path's `network_time` gives it.
            y: class indices in 0..K, where K is the null class if the table has its row.
            low: the clean image at low resolution, in the range of x, for an upsampler (the
                release's SuperResModel) and for it alone. It is enlarged bilinearly to the places
                of x. A denoiser has one for a whole walk: `functools.partial(network, low=low)`.

        Raises:
            ConfigError: `low` has not `low_channels` channels, or is missing.
        """
        condition = self.time(time)  # (B, 4 M)
        if self.label is not None:
            condition = condition + self.label(y)
        maps = self.encoder(self._seen(x, low), condition)
        x = self.middle(maps[-1], condition)
        for stage in self.decoder:
            x = stage(torch.cat([x, maps.pop()], dim=1), condition)
        return self.head(x)

    def _seen(
        self, x: Float[Tensor, "b c h w"], low: Float[Tensor, "b d i j"] | None
    ) -> Float[Tensor, "b e h w"]:
        """Return x, with the low-resolution image behind it."""
        given, wanted = 0 if low is None else low.shape[1], self.config.low_channels
        if given != wanted:
            raise ConfigError(
                f"low has {given} channels, expected low_channels {wanted}; "
                "an upsampler needs its low-resolution image, another network has none"
            )
        if low is None:
            return x
        return torch.cat([x, functional.interpolate(low, x.shape[-2:], mode="bilinear")], dim=1)


def _decoder(config: ADMConfig, skips: list[int]) -> Iterator[Stage]:
    """Yield the stages from the middle up; each takes the encoder's last map that is left."""
    here, heads = config.widths[-1], config.heads_up or config.heads
    for level, width in reversed(list(enumerate(config.widths))):
        for place in range(config.blocks + 1):
            stage = Stage([config.block(here + skips.pop(), width)])
            here = width
            if config.attends(level):
                stage.append(config.attender(width, heads))
            if level and place == config.blocks:
                stage.append(_doubled(config, width))
            yield stage


def _doubled(config: ADMConfig, width: int) -> nn.Module:
    if config.residual_resampling:
        return config.block(width, width, doubling(width, convolve=False))
    return doubling(width, convolve=config.convolutional_resampling)
