"""ADM's encoder, which its U-Net and its noisy classifier share: from an image to a list of maps.

A level is some residual blocks, with attention behind each where the map is small enough; between
levels the map is halved. Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis",
arXiv 2105.05233, section 3.
"""

from typing import Final, Self

from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from mezzotint.config import Config
from mezzotint.nn.resnet import GROUPS, MapAttention, ResnetBlock, halving

# The channel multipliers of the release, by the side of the image.
MULTIPLIERS: Final[dict[int, tuple[float, ...]]] = {
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (0.5, 1, 1, 2, 2, 4, 4),
}


class EncoderConfig(Config):
    """Shape of an encoder.

    Attributes:
        channels: channels of x.
        size: rows and columns of x, multiples of 2^(levels - 1).
        num_classes: classes K.
        width: channels M that the levels multiply; time features have as many, the condition 4 M.
        multipliers: channels of each level over `width`, rounded down to multiples of 32.
        blocks: residual blocks of each level.
        attention: sides at which attention stands. As in the release, a side is first turned into
            a factor, rows // side; there is attention where the map is smaller by that factor.
        heads: attention heads, unless `head_width` is set.
        head_width: channels of a head; heads then grow with the map's channels.
        scale_shift: whether the condition scales and shifts (FiLM), or is added.
        residual_resampling: whether residual blocks halve and double the map.
        convolutional_resampling: whether what halves and doubles it otherwise has weights.
        head_major: whether queries, keys and values lie head by head; true of every release but
            the 64 px U-Net.
        dropout: share that is dropped in every residual block.
    """

    channels: int = Field(ge=1)
    size: tuple[PositiveInt, PositiveInt]
    num_classes: int = Field(ge=0)
    width: int = Field(ge=2)
    multipliers: tuple[float, ...] = Field(min_length=1)
    blocks: int = Field(default=2, ge=1)
    attention: tuple[PositiveInt, ...] = ()
    heads: int = Field(default=1, ge=1)
    head_width: PositiveInt | None = None
    scale_shift: bool = True
    residual_resampling: bool = True
    convolutional_resampling: bool = True
    head_major: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for width in self.widths:
            if width < 1 or width % GROUPS:
                raise ValueError(
                    f"a level has {width} channels, expected a multiple of {GROUPS}; "
                    "change width or multipliers"
                )
        if any(side % self.shrinkage for side in self.size):
            raise ValueError(
                f"size {self.size} must be a multiple of {self.shrinkage}, "
                f"for {len(self.widths)} levels halve it {len(self.widths) - 1} times"
            )
        for level, width in enumerate(self.widths):
            if self.attends(level) or level + 1 == len(self.widths):
                self.check_heads(width, self.heads)
        return self

    def check_heads(self, width: int, heads: int) -> None:
        """Refuse heads that do not divide the channels they stand at."""
        shared = self.head_width or heads
        if width % shared:
            name = "head_width" if self.head_width else "heads"
            raise ValueError(f"{name} {shared} must divide the {width} channels it stands at")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(multiplier * self.width) for multiplier in self.multipliers)

    @property
    def shrinkage(self) -> int:
        """How many times smaller the last level's map is than x."""
        return int(2 ** (len(self.multipliers) - 1))

    def attends(self, level: int) -> bool:
        """Tell whether a level has attention."""
        return 2**level in {self.size[0] // side for side in self.attention}

    def heads_of(self, width: int, heads: int) -> int:
        """Return the heads of attention over `width` channels."""
        return width // self.head_width if self.head_width else heads

    def block(self, width: int, wider: int, resample: nn.Module | None = None) -> ResnetBlock:
        """Make a residual block."""
        return ResnetBlock(
            width,
            wider,
            condition=4 * self.width,
            scale_shift=self.scale_shift,
            resample=resample,
            dropout=self.dropout,
        )

    def attender(self, width: int, heads: int) -> MapAttention:
        """Make attention over a map of `width` channels."""
        return MapAttention(width, self.heads_of(width, heads), head_major=self.head_major)

    def middle(self) -> "Stage":
        """Make what stands behind the last level."""
        width = self.widths[-1]
        ends = [self.block(width, width) for _ in range(2)]
        return Stage([ends[0], self.attender(width, self.heads), ends[1]])


class Stage(nn.ModuleList):
    """Layers one after the other, of which the residual blocks hear the condition."""

    def forward(
        self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b d i j"]:
        """Pass the layers."""
        for layer in self:
            x = layer(x, condition) if isinstance(layer, ResnetBlock) else layer(x)
        return x


class Encoder(nn.ModuleList):
    """From an image to the maps of every stage.

    Args:
        config: the shape.
        channels: channels of what it sees.
    """

    def __init__(self, config: EncoderConfig, channels: int) -> None:
        first = config.widths[0]
        super().__init__([Stage([nn.Conv2d(channels, first, 3, padding=1)])])
        self.widths = [first]
        for level, width in enumerate(config.widths):
            for _ in range(config.blocks):
                stage = Stage([config.block(self.widths[-1], width)])
                if config.attends(level):
                    stage.append(config.attender(width, config.heads))
                self.append(stage)
                self.widths.append(width)
            if level + 1 < len(config.widths):
                self.append(Stage([_halved(config, width)]))
                self.widths.append(width)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b e"]) -> list[Tensor]:
        """Return the map of each stage."""
        maps = []
        for stage in self:
            x = stage(x, condition)
            maps.append(x)
        return maps


def _halved(config: EncoderConfig, width: int) -> nn.Module:
    if config.residual_resampling:
        return config.block(width, width, halving(width, convolve=False))
    return halving(width, convolve=config.convolutional_resampling)
