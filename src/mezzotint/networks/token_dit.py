"""ViTok's generator: a DiT whose tokens are those of the latent, turned by their place in the row.

    tokens <- tokens + gate * Branch(LN(tokens) (1 + scale) + shift)

Unlike DiT: no patches, trained positions, affine norms with eps 1e-5, rotary angles by the index, a
gated GELU MLP, no bias of queries, keys and values, and one more norm behind the blocks; conditions
meet one linear map, SiLU standing before the sum is shared. arXiv 2501.09755.
"""

import math
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.networks.base import NetworkConfig
from mezzotint.nn.embed import ClassEmbedding, TimeEmbedding
from mezzotint.nn.gated import GatedMLP
from mezzotint.nn.initial import linear, xavier
from mezzotint.nn.modulate import ModulatedBlock, Modulation, close, modulate
from mezzotint.nn.rotary import TurnedAttention

_SIZES = {
    "B": {"depth": 12, "width": 768, "heads": 12},
    "L": {"depth": 24, "width": 1024, "heads": 16},
    "XL": {"depth": 28, "width": 1152, "heads": 16},
}


class TokenDiTConfig(NetworkConfig):
    """Shape of ViTok's generator; a place of the latent is a token.

    Attributes:
        depth: number of blocks.
        width: channels of a token, a multiple of `heads`.
        heads: attention heads, of an even number of channels.
        mlp_ratio: hidden width of the MLP over `width`.
        theta: the rotary frequencies run from 1 to about 1 / theta.
        outputs: output channels over `channels`; 2 when the variance is learned.
        null_row: whether the class table has a row for the null class.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = _SIZES

    depth: int = Field(ge=1)
    width: int = Field(ge=2)
    heads: int = Field(ge=1)
    mlp_ratio: float = Field(default=2.67, gt=0)
    theta: float = Field(default=10000.0, gt=1)
    outputs: int = Field(default=1, ge=1)
    null_row: bool = True

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of twice the heads {self.heads}"
            )
        return self

    @property
    def length(self) -> int:
        """Tokens of a latent."""
        return math.prod(self.size)

    def build(self) -> "TokenDiT":
        """Make the network, freshly initialised: it outputs exactly zero."""
        return TokenDiT(self)


class Block(ModulatedBlock):
    """A block whose attention is told the angles by which its queries and keys are turned.

    Args:
        width: channels of a token.
        heads: attention heads.
        hidden: hidden width of the MLP.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        norm1, norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        attention = TurnedAttention(width, heads)
        super().__init__(norm1, attention, norm2, GatedMLP(width, hidden, gate="gelu"), width)


class TokenDiT(nn.Module):
    """The generator.

    Args:
        config: the shape.
    """

    def __init__(self, config: TokenDiTConfig) -> None:
        super().__init__()
        self.config = config
        self.null = config.num_classes
        self.class_rows = ("label.table.weight",)
        self.latent = (config.channels, *config.size)
        width = config.width
        self.tokens = nn.Linear(config.channels, width)
        self.positions = nn.Parameter(torch.randn(1, config.length, width) / config.length**0.5)
        self.time = TimeEmbedding(width)
        self.label = ClassEmbedding(config.num_classes, width, null=config.null_row)
        hidden = int(width * config.mlp_ratio)
        self.blocks = nn.ModuleList(Block(width, config.heads, hidden) for _ in range(config.depth))
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.modulation = Modulation(width, 2)
        self.head = nn.Linear(width, config.outputs * config.channels)
        self._initialise()

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b k h w"]:
        """Return the raw prediction.

        Args:
            x: noisy latents.
            time: network time, as the path's `network_time` gives it.
            y: class indices in 0..K, where K is the null class.
        """
        tokens = self.tokens(x.flatten(2).transpose(1, 2)) + self.positions  # (B, L, D)
        condition, angles = self.time(time) + self.label(y), self._angles(x)
        for block in self.blocks:
            tokens = block(tokens, condition, angles)
        shift, scale = self.modulation(condition)
        out = self.head(modulate(self.last_norm(self.norm(tokens)), shift, scale))
        return out.transpose(1, 2).unflatten(2, self.config.size)

    def _angles(self, like: Tensor) -> Float[Tensor, "n p"]:
        half = self.config.width // self.config.heads // 2
        k, index = (torch.arange(n, device=like.device).float() for n in (half, self.config.length))
        return index[:, None] * self.config.theta ** -(k / half)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Draw the initial weights: DiT's; the positions are those of the release."""
        xavier(linear(self))
        for weight in (self.label.table.weight, *(m.weight for m in linear(self.time))):
            nn.init.normal_(weight, std=0.02)
        close(self, self.head)


__all__ = ["TokenDiT", "TokenDiTConfig"]
