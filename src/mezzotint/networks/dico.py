"""DiCo: a U of convolutional blocks, each conditioned by adaptive layer norm, with no attention.

    x <- x + gate * Conv(GELU(Depthwise(Conv(LN(x) (1 + scale) + shift)))) with channels weighed
    x <- x + gate * MLP(LN(x) (1 + scale) + shift)

with shift, scale and gate regressed from (time + class), one condition for each width. Ai et al.,
"DiCo: Revitalizing ConvNets for Scalable and Efficient Diffusion Modeling", arXiv 2505.11196.
Inside, maps have their channels last: the 1 x 1 convolutions are then plain matrix products.
"""

import math
from typing import Annotated, Any, ClassVar, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.networks.base import NetworkConfig
from mezzotint.nn.embed import ClassEmbedding, TimeEmbedding
from mezzotint.nn.initial import xavier
from mezzotint.nn.modulate import Modulation, close, modulate

_STRIDE = 4  # two halvings
_Depth = Annotated[int, Field(ge=1)]


class DiCoConfig(NetworkConfig):
    """Shape of a DiCo.

    Any input whose sides are multiples of 4 is taken, whatever `size`; but the channel attention
    pools over the whole map, so what a part of it shows is felt everywhere.

    Attributes:
        width: channels of the finest stage, even; the next two are 2 and 4 times as wide.
        depths: blocks of the five stages: fine, middle, coarse, middle and fine again. The last is
            2 `width` wide, as released.
        mlp_ratio: hidden width of the MLP over that of its block.
        outputs: output channels over `channels`; 2 when the variance is learned.
        null_row: whether the class tables have a row for the null class; without it a model cannot
            be guided against its unconditional self.
        kernel: side of the depthwise kernels, odd; released with 3, and 5 and 7 are ablations of
            the paper (table 5), without code.
        attention: whether channels are weighed; False is an ablation of the paper, without code.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "S": {"width": 128, "depths": (5, 4, 4, 4, 4), "mlp_ratio": 2.0},
        "B": {"width": 256, "depths": (5, 4, 4, 4, 4), "mlp_ratio": 2.0},
        "L": {"width": 352, "depths": (9, 8, 9, 8, 9), "mlp_ratio": 2.0},
        "XL": {"width": 416, "depths": (9, 9, 10, 9, 9), "mlp_ratio": 2.0},
        "H": {"width": 416, "depths": (14, 12, 10, 12, 14), "mlp_ratio": 4.0},
    }

    width: int = Field(ge=2, multiple_of=2)
    depths: tuple[_Depth, _Depth, _Depth, _Depth, _Depth]
    mlp_ratio: float = Field(default=2.0, gt=0)
    outputs: int = Field(default=1, ge=1)
    null_row: bool = True
    kernel: int = Field(default=3, ge=1)
    attention: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(side % _STRIDE for side in self.size):
            raise ValueError(f"size {self.size}: both sides must be multiples of {_STRIDE}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd: it is centred on its place")
        if self.num_classes == 0 and not self.null_row:
            raise ValueError("num_classes 0 needs null_row: the null class is the only one")
        return self

    def build(self) -> "DiCo":
        """Make the network, freshly initialised: it outputs exactly zero."""
        return DiCo(self)


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution of maps with channels last, as the matrix product that it is."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__(width, wider, 1)

    def forward(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w e"]:
        """Mix the channels of each place."""
        return functional.linear(x, self.weight.flatten(1), self.bias)


class Spatial(nn.Conv2d):
    """A convolution of maps with channels last that keeps rows and columns, zeros around."""

    def __init__(
        self, width: int, wider: int, *, kernel: int = 3, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__(width, wider, kernel, padding=kernel // 2, groups=groups, bias=bias)

    def forward(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w e"]:
        """Mix the channels of neighbouring places."""
        first = x.permute(0, 3, 1, 2)
        # Weights or map are turned round at every call: the smaller. Weights that lie turned would
        # save it, but the moments of a resumed run do not, and fused AdamW pairs them by place.
        if x.shape[1:].numel() < self.weight.numel():
            first = first.contiguous()
        return _channels_last(super().forward(first))


class Resampling(nn.Module):
    """A 3 x 3 convolution, and then places become channels, or channels places.

    Args:
        width: channels in.
        wider: channels of the convolution.
        shuffle: `nn.PixelUnshuffle(2)` or `nn.PixelShuffle(2)`.
    """

    def __init__(self, width: int, wider: int, shuffle: nn.Module) -> None:
        super().__init__()
        self.conv = Spatial(width, wider, bias=False)
        self.shuffle = shuffle

    def forward(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b i j e"]:
        """Halve rows and columns, or double them."""
        return _channels_last(self.shuffle(self.conv(x).permute(0, 3, 1, 2)))


class ChannelAttention(nn.Module):
    """x sigmoid(Conv(mean of x over the map)): compact channel attention (DiCo, section 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Pointwise(width, width)

    def gate(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b 1 1 d"]:
        """Return the weight of each channel, in (0, 1)."""
        return self.conv(x.mean((1, 2), keepdim=True)).sigmoid()

    def forward(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w d"]:
        """Weigh the channels."""
        return x * self.gate(x)


class Block(nn.Module):
    """Convolutions and MLP, each shifted, scaled and gated by the condition.

    Args:
        width: channels.
        hidden: channels inside the MLP.
        kernel: side of the depthwise kernel, odd.
        attention: what weighs the channels of the activated map.
    """

    def __init__(self, width: int, hidden: int, *, kernel: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.conv_in = Pointwise(width, width)
        self.depthwise = Spatial(width, width, kernel=kernel, groups=width)
        self.activation = nn.GELU()
        self.attention = attention
        self.conv_out = Pointwise(width, width)
        self.mlp = nn.Sequential(Pointwise(width, hidden), nn.GELU(), Pointwise(hidden, width))
        self.modulation = Modulation(width, 6)

    def forward(
        self, x: Float[Tensor, "b h w d"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b h w d"]:
        """Refine the map."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)
        mixed = self.depthwise(self.conv_in(modulate(self.norm(x), shift1, scale1)))
        mixed = self.conv_out(self.attention(self.activation(mixed)))
        x = torch.addcmul(x, gate1[:, None, None], mixed)
        mixed = self.mlp(modulate(self.norm(x), shift2, scale2))
        return torch.addcmul(x, gate2[:, None, None], mixed)


class Stage(nn.ModuleList):
    """Blocks of one width under one condition."""

    def forward(
        self, x: Float[Tensor, "b h w d"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b h w d"]:
        """Refine the map, block by block."""
        for block in self:
            x = block(x, condition)
        return x


class Head(nn.Module):
    """The last norm and the 3 x 3 convolution to the outputs."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = Modulation(width, 2)
        self.conv = Spatial(width, values)

    def forward(
        self, x: Float[Tensor, "b h w d"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b h w k"]:
        """Return the outputs."""
        shift, scale = self.modulation(condition)
        return self.conv(modulate(self.norm(x), shift, scale))


class DiCo(nn.Module):
    """The diffusion ConvNet.

    Args:
        config: the shape.
    """

    def __init__(self, config: DiCoConfig) -> None:
        super().__init__()
        self.config = config
        self.null = config.num_classes
        self.latent = (config.channels, *config.size)
        fine, middle, coarse = widths = tuple(config.width * factor for factor in (1, 2, 4))
        self.class_rows = tuple(f"labels.{k}.table.weight" for k in range(len(widths)))
        self.stem = Spatial(config.channels, fine)
        self.times = nn.ModuleList(TimeEmbedding(width) for width in widths)
        self.labels = nn.ModuleList(
            ClassEmbedding(config.num_classes, width, null=config.null_row) for width in widths
        )
        stages = zip((fine, middle, coarse, middle, middle), config.depths, strict=True)
        self.stages = nn.ModuleList(_stage(config, width, depth) for width, depth in stages)
        self.downs = nn.ModuleList(
            Resampling(width, width // 2, nn.PixelUnshuffle(2)) for width in (fine, middle)
        )
        self.ups = nn.ModuleList(
            Resampling(width, 2 * width, nn.PixelShuffle(2)) for width in (coarse, middle)
        )
        # The last stage is as wide as the one before: its join does not halve the channels.
        self.joins = nn.ModuleList(Pointwise(width, middle) for width in (2 * middle, 2 * fine))
        self.head = Head(middle, config.channels * config.outputs)
        self._initialise()

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b k h w"]:
        """Return the raw prediction.

        Args:
            x: noisy image or latent; both sides are multiples of 4.
            time: network time, as the path's `network_time` gives it.
            y: class indices in 0..K, where K is the null class.

        Raises:
            ValueError: a side is no multiple of 4.
        """
        if any(side % _STRIDE for side in x.shape[2:]):
            raise ValueError(f"x {tuple(x.shape)}: both sides must be multiples of {_STRIDE}")
        fine, middle, coarse = (
            embed(time) + label(y) for embed, label in zip(self.times, self.labels, strict=True)
        )
        x = self.stem(_channels_last(x))  # (B, H, W, D)
        x = first = self.stages[0](x, fine)
        x = second = self.stages[1](self.downs[0](x), middle)  # (B, H/2, W/2, 2D)
        x = self.stages[2](self.downs[1](x), coarse)  # (B, H/4, W/4, 4D)
        x = self.joins[0](torch.cat([self.ups[0](x), second], dim=3))
        x = self.stages[3](x, middle)  # (B, H/2, W/2, 2D)
        x = self.joins[1](torch.cat([self.ups[1](x), first], dim=3))
        x = self.stages[4](x, middle)  # (B, H, W, 2D)
        return self.head(x, middle).permute(0, 3, 1, 2).contiguous()

    def _initialise(self) -> None:
        """Draw the initial weights of the release, which the paper does not give."""
        # A depthwise convolution has 9 values in, 9 times width out.
        xavier(m for m in self.modules() if isinstance(m, nn.Linear | nn.Conv2d))
        limit = math.sqrt(6 / (self.stem.weight[0].numel() + len(self.stem.weight)))
        nn.init.uniform_(self.stem.weight, -limit, limit)  # Xavier's, of the matrix (D, 9C)
        tables = [p for label in self.labels for p in label.parameters()]
        tables += [p for time in self.times for p in time.parameters() if p.dim() > 1]
        for weight in tables:
            nn.init.normal_(weight, std=0.02)
        close(self, self.head.conv)


def _stage(config: DiCoConfig, width: int, depth: int) -> Stage:
    hidden = int(width * config.mlp_ratio)
    return Stage(
        Block(
            width,
            hidden,
            kernel=config.kernel,
            attention=ChannelAttention(width) if config.attention else nn.Identity(),
        )
        for _ in range(depth)
    )


def _channels_last(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w c"]:
    """Return the same map, its channels last and side by side in memory."""
    return x.permute(0, 2, 3, 1).contiguous()
