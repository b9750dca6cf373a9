"""DiMR's branches: tokens on a grid through blocks with long skips, to a prediction on that grid.

    h_i = block_i(h_(i-1)), in the second half block_i(Linear([h_(i-1), h_(n-1-i)]))

Tokens stay (batch, places, channels) between blocks, so that a depthwise convolution sees maps with
channels last in memory. arXiv 2406.09416.
"""

from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import gelu

from mezzotint.config import Config
from mezzotint.networks.base import NetworkConfig
from mezzotint.nn.attention import SelfAttention, check_heads
from mezzotint.nn.conv import Depthwise
from mezzotint.nn.embed import PatchEmbedding
from mezzotint.nn.norm import Norm, TimeLayerNorm
from mezzotint.nn.rotary import RotaryAttention, Rotation

Shape = tuple[int, int]


class BranchConfig(Config):
    """What the branches have in common.

    Attributes:
        width: channels.
        depth: number of blocks, odd: half of them, one in the middle, and half that take skips.
        patch: side of the squares that the first convolution cuts the image into.
        shrink: the image is averaged over squares of this side before.
        mlp_ratio: hidden width of the gated MLPs over `width`.
        head_kernel: side of the last convolution, odd.
    """

    width: int = Field(ge=1)
    depth: int = Field(ge=1)
    patch: int = Field(default=1, ge=1)
    shrink: int = Field(default=1, ge=1)
    mlp_ratio: float = Field(default=2.0, gt=0)
    head_kernel: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _odd(self) -> Self:
        for name in ("depth", "head_kernel", "kernel"):
            value = getattr(self, name, 1)
            if value % 2 == 0:
                raise ValueError(f"{name} {value} must be odd, such as {value + 1}")
        return self

    @property
    def cell(self) -> int:
        """Pixels on a side of one place."""
        return self.patch * self.shrink

    @property
    def positioned(self) -> bool:
        """Whether learned positions are added, so that a token without one tells itself apart."""
        return True

    def block(self, norm: Norm, shape: Shape) -> nn.Module:
        """Make a block for a grid of `shape`."""
        raise NotImplementedError

    def unread(self) -> nn.Module:
        """Make what the release holds and never reads, so that its tensors survive."""
        return nn.Identity()


class TransformerBranch(BranchConfig):
    """Attention over all places.

    Attributes:
        heads: attention heads; divides `width`.
        rotary: learned axial rotations and normalised queries and keys in place of the table of
            positions. An option of the release that nothing published uses; it takes no class, and
            above the first branch it has never been compared with the release.
    """

    heads: int = Field(ge=1)
    rotary: bool = False

    @model_validator(mode="after")
    def _divides(self) -> Self:
        check_heads(self.width, self.heads)
        return self

    @property
    def positioned(self) -> bool:
        """Whether learned positions are added, so that a token without one tells itself apart."""
        return not self.rotary

    def block(self, norm: Norm, shape: Shape) -> nn.Module:
        """Make a block for a grid of `shape`."""
        return TransformerBlock(self, norm, shape)

    def unread(self) -> nn.Module:
        """Make what the release holds and never reads, so that its tensors survive."""
        spare = Rotation(self.width, self.heads) if self.rotary else nn.Identity()
        return spare.requires_grad_(requires_grad=False)


class ConvolutionBranch(BranchConfig):
    """Depthwise convolutions.

    Attributes:
        kernel: side of the depthwise kernels, odd.
    """

    kernel: int = Field(default=7, ge=1)

    def block(self, norm: Norm, shape: Shape) -> nn.Module:
        """Make a block for a grid of `shape`."""
        return ConvolutionBlock(self, norm, shape)


class GatedMLP(nn.Module):
    """down(GELU(gate(x)) * up(x)), with the exact GELU (Shazeer, arXiv 2002.05202, GEGLU)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Map the channels at each place."""
        return self.down(gelu(self.gate(x)) * self.up(x))


class TransformerBlock(nn.Module):
    """Attention and MLP, each behind its norm."""

    def __init__(self, config: TransformerBranch, norm: Norm, shape: Shape) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.norm1 = norm(width)
        self.attn = (
            RotaryAttention(width, heads, shape)
            if config.rotary
            else SelfAttention(width, heads, bias=False)
        )
        self.norm2 = norm(width)
        self.mlp = GatedMLP(width, round(width * config.mlp_ratio))

    def forward(self, x: Float[Tensor, "b n d"], tau: Float[Tensor, "b"]) -> Float[Tensor, "b n d"]:
        """Refine the tokens."""
        x = x + self.attn(self.norm1(x, tau))
        return x + self.mlp(self.norm2(x, tau))


class ConvolutionBlock(nn.Module):
    """A depthwise convolution without a norm, and an MLP behind one."""

    def __init__(self, config: ConvolutionBranch, norm: Norm, shape: Shape) -> None:
        super().__init__()
        width, kernel = config.width, config.kernel
        self.shape = shape
        self.spread = Depthwise(width, kernel)
        self.norm2 = norm(width)
        self.mlp = GatedMLP(width, round(width * config.mlp_ratio))

    def forward(self, x: Float[Tensor, "b n d"], tau: Float[Tensor, "b"]) -> Float[Tensor, "b n d"]:
        """Refine the map."""
        rows = x.unflatten(1, self.shape)  # (B, H, W, D), channels last in memory too
        rows = rows + self.spread(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (rows + self.mlp(self.norm2(rows, tau))).flatten(1, 2)


class Rise(nn.Module):
    """Carry all maps of a coarser branch up: LN, a linear map to q x q finer places, LN."""

    def __init__(self, width: int, wider: int, ratio: int, shape: Shape) -> None:
        super().__init__()
        self.ratio, self.shape = ratio, shape
        self.norm1 = TimeLayerNorm(width)
        self.linear = nn.Linear(width, ratio**2 * wider)
        self.norm2 = TimeLayerNorm(wider)

    def forward(
        self, maps: list[Float[Tensor, "b n d"]], tau: Float[Tensor, "b"]
    ) -> Float[Tensor, "b m k"]:
        """Return what is added to the finer branch's tokens."""
        # The norm is over the maps together, so they cannot be projected one by one.
        cells = self.linear(self.norm1(torch.cat(maps, 2), tau))
        cells = cells.unflatten(2, (self.ratio, self.ratio, -1)).unflatten(1, self.shape)
        return self.norm2(cells.transpose(2, 3).flatten(1, 4), tau)  # (B, H q W q, K)


class Branch(nn.Module):
    """One resolution: patches, what rises from below, blocks with long skips, a prediction."""

    def __init__(
        self, config: BranchConfig, below: BranchConfig | None, whole: NetworkConfig, norm: Norm
    ) -> None:
        super().__init__()
        rows, columns = (side // config.cell for side in whole.size)
        self.shape, width, kernel = (rows, columns), config.width, config.head_kernel
        self.shrink = nn.AvgPool2d(config.shrink)
        self.patches = PatchEmbedding(whole.channels, width, config.patch)
        table = torch.zeros(rows * columns, width)
        self.positions = nn.Parameter(table) if config.positioned else None
        if below is not None:
            ratio = below.cell // config.cell
            coarse = (rows // ratio, columns // ratio)
            self.rise = Rise(below.width * (below.depth + 1), width, ratio, coarse)
        self.unread = config.unread()
        blocks = (config.block(norm, self.shape) for _ in range(config.depth))
        self.blocks = nn.ModuleList(blocks)
        self.skips = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(config.depth // 2))
        self.norm = TimeLayerNorm(width)
        self.head = nn.Conv2d(width, whole.channels, kernel, padding=kernel // 2)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        tau: Float[Tensor, "b"],
        below: list[Float[Tensor, "b _ _"]],
        token: Float[Tensor, "b d"] | None,
    ) -> tuple[Float[Tensor, "b c i j"], list[Float[Tensor, "b n d"]]]:
        """Return the prediction, and the blocks' input and outputs without the token."""
        h = self.patches(self.shrink(x))
        h = h if self.positions is None else h + self.positions
        h = h + self.rise(below, tau) if below else h
        places = h.shape[1]
        h = h if token is None else torch.cat([token[:, None], h], 1)
        maps, half = [h], len(self.skips)
        for index, block in enumerate(self.blocks):
            if index > half:
                h = self.skips[index - half - 1](torch.cat([h, maps[2 * half + 1 - index]], 2))
            h = block(h, tau)
            maps.append(h)
        maps = [each[:, -places:] for each in maps]
        last = self.norm(maps[-1], tau).transpose(1, 2).unflatten(2, self.shape)
        return self.head(last), maps
