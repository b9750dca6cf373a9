"""DiT: a transformer over patches, conditioned by adaptive layer norm that starts as the identity.

    tokens <- tokens + gate * Branch(LN(tokens) (1 + scale) + shift)

with shift, scale and gate regressed from (time + class). Peebles & Xie, "Scalable Diffusion Models
with Transformers", arXiv 2212.09748. SiT is the same network on a network time in [0, 1].
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.errors import ConfigError
from mezzotint.networks.base import NetworkConfig
from mezzotint.nn.attention import SelfAttention, check_heads
from mezzotint.nn.embed import (
    ClassEmbedding,
    PatchEmbedding,
    TimeEmbedding,
    grid_positions,
    unpatch,
)
from mezzotint.nn.initial import linear, xavier
from mezzotint.nn.modulate import ModulatedBlock, Modulation, close, modulate

MakeAttention = Callable[[int, int], nn.Module]
"""From a width and a number of heads to a module that maps tokens to tokens."""

_ROUNDED = 1e-2  # more than bfloat16 leaves of a code in [-1, 1]

_SIZES = {
    "S": {"depth": 12, "width": 384, "heads": 6},
    "B": {"depth": 12, "width": 768, "heads": 12},
    "L": {"depth": 24, "width": 1024, "heads": 16},
    "XL": {"depth": 28, "width": 1152, "heads": 16},
}


class DiTConfig(NetworkConfig):
    """Shape of a DiT.

    Attributes:
        depth: number of blocks.
        width: channels of a token, a multiple of 4 and of `heads`.
        heads: attention heads.
        patch: side of a patch; divides both sides of x.
        mlp_ratio: hidden width of the MLP over `width`.
        outputs: output channels over `channels`; 2 when the variance is learned.
        null_row: whether the class table has a row for the null class; without it a model cannot
            be guided against its unconditional self.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        f"{name}/{patch}": {**size, "patch": patch}
        for name, size in _SIZES.items()
        for patch in (2, 4, 8)
    }

    depth: int = Field(ge=1)
    width: int = Field(ge=4, multiple_of=4)
    heads: int = Field(ge=1)
    patch: int = Field(default=2, ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0)
    outputs: int = Field(default=1, ge=1)
    null_row: bool = True

    @model_validator(mode="after")
    def _divides(self) -> Self:
        check_heads(self.width, self.heads)
        if any(side % self.patch for side in self.size):
            raise ValueError(f"patch {self.patch} must divide both sides of size {self.size}")
        if self.num_classes == 0 and not self.null_row:
            raise ValueError("num_classes 0 needs null_row: the null class is the only one")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid of patches."""
        return self.size[0] // self.patch, self.size[1] // self.patch

    def attention(self) -> MakeAttention:
        """Return what makes a block's attention."""
        return SelfAttention

    def build(self) -> "DiT":
        """Make the network, freshly initialised: it outputs exactly zero."""
        return DiT(self)


class Block(ModulatedBlock):
    """A block of DiT.

    Args:
        width: channels of a token.
        heads: attention heads.
        hidden: hidden width of the MLP.
        attention: makes the attention.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, attention: MakeAttention = SelfAttention
    ) -> None:
        norm1, norm2 = (nn.LayerNorm(width, eps=1e-6, elementwise_affine=False) for _ in range(2))
        mixed = attention(width, heads)
        mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)
        )
        super().__init__(norm1, mixed, norm2, mlp, width)


class Head(nn.Module):
    """The last norm and the linear map from a token to the values of its patch."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = Modulation(width, 2)
        self.linear = nn.Linear(width, values)

    def forward(
        self, tokens: Float[Tensor, "b n d"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b n f"]:
        """Return the values of each patch, channels last."""
        shift, scale = self.modulation(condition)
        return self.linear(modulate(self.norm(tokens), shift, scale))


class DiT(nn.Module):
    """The diffusion transformer.

    Args:
        config: the shape.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.null = config.num_classes
        self.class_rows = ("label.table.weight",)
        self.latent = (config.channels, *config.size)
        self.shape = config.shape
        width = config.width
        self.patches = PatchEmbedding(config.channels, width, config.patch)
        # A frozen parameter, as released: it travels in checkpoints and in the average.
        self.positions = nn.Parameter(
            torch.zeros(1, math.prod(self.shape), width), requires_grad=False
        )
        self.time = TimeEmbedding(width)
        self.label = ClassEmbedding(config.num_classes, width, null=config.null_row)
        hidden = int(width * config.mlp_ratio)
        attention = config.attention()
        self.blocks = nn.ModuleList(
            Block(width, config.heads, hidden, attention) for _ in range(config.depth)
        )
        self.head = Head(width, config.patch**2 * config.channels * config.outputs)
        self._initialise()

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b k h w"]:
        """Return the raw prediction.

        Args:
            x: noisy image or latent.
            time: network time, as the path's `network_time` gives it.
            y: class indices in 0..K, where K is the null class.
        """
        tokens = self.patches(x) + self.positions  # (B, N, D)
        condition = self.time(time) + self.label(y)  # (B, D)
        for block in self.blocks:
            tokens = block(tokens, condition)
        return unpatch(self.head(tokens, condition), self.shape, self.config.patch)

    def _initialise(self) -> None:
        """Draw the initial weights of the paper (DiT, section 3; adaLN-Zero)."""
        xavier(linear(self))
        projection = self.patches.proj
        nn.init.xavier_uniform_(projection.weight.view(len(projection.weight), -1))
        assert projection.bias is not None
        nn.init.zeros_(projection.bias)
        for weight in (self.label.table.weight, *(m.weight for m in linear(self.time))):
            nn.init.normal_(weight, std=0.02)
        close(self, self.head.linear)
        with torch.no_grad():
            self.positions.copy_(grid_positions(self.config.width, self.shape)[None])


def resized(state: Mapping[str, Tensor], old: DiTConfig, new: DiTConfig) -> dict[str, Tensor]:
    """Return the tensors of a network at another size of input; at the same size, the same ones.

    Only the positions depend on the size, and they are a fixed code that is computed anew. How good
    a network is at a size that it was not trained on is another matter.

    Args:
        state: of a network of `old`.
        old, new: configs that differ in `size` alone.

    Raises:
        ConfigError: they differ in more, or positions are not the fixed code, or keys have learned
            places.
    """
    if old == new:
        return dict(state)
    wanted = old.model_copy(update={"size": new.size})
    if wanted != new:
        names = dict(wanted) | dict(new)
        other = [name for name in names if getattr(wanted, name, None) != getattr(new, name, None)]
        raise ConfigError(f"only size may change, but the configs differ in {', '.join(other)} too")
    if any(name.endswith(".places") for name in state):
        raise ConfigError(
            "keys have learned places (form.key_positions), so there are none for another size; "
            "keep the size"
        )
    positions = state["positions"]
    fixed = grid_positions(old.width, old.shape)[None].to(positions.device)
    if not torch.allclose(positions.float(), fixed, atol=_ROUNDED):
        raise ConfigError(
            f"positions are not the fixed code of a {old.shape[0]} x {old.shape[1]} grid, so there "
            "are none for another size; keep the size, or train at the other"
        )
    return {**state, "positions": grid_positions(new.width, new.shape)[None].to(positions)}
