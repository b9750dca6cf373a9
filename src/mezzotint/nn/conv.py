"""Convolutional blocks that add to what they are given, and norms that know no batch."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CPU: Final = torch.device("cpu").type
_GROUPS = 8


def group_norm(width: int) -> nn.GroupNorm:
    """Return a group norm in 8 groups over a multiple of 8 channels."""
    return nn.GroupNorm(_GROUPS, width)


class ResidualBlock(nn.Module):
    """x + Conv(SiLU(GN(Conv(SiLU(GN(x)))))), the identity at first (arXiv 1603.05027).

    Args:
        width: channels in.
        wider: channels out.
        halve: halve rows and columns, rounded up in the branch and by ceiling in the mean.
    """

    def __init__(self, width: int, wider: int, *, halve: bool = False) -> None:
        super().__init__()
        self.norm1 = group_norm(width)
        self.conv1 = nn.Conv2d(width, wider, 3, 2 if halve else 1, 1, bias=False)
        self.norm2 = group_norm(wider)
        self.conv2 = nn.Conv2d(wider, wider, 3, 1, 1, bias=False)
        self.activation = nn.SiLU()
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if halve else nn.Identity()
        self.skip = nn.Identity() if width == wider else nn.Conv2d(width, wider, 1, bias=False)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Refine the map."""
        branch = self.conv1(self.activation(self.norm1(x)))
        return self.skip(self.pool(x)) + self.conv2(self.activation(self.norm2(branch)))


def depthwise(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "c 1 k k"],
    bias: Float[Tensor, "c"] | None,
) -> Float[Tensor, "b c h w"]:
    """Convolve every channel by itself, zeros around; on a CPU in the precision of the weights.

    Under autocast to bfloat16 a CPU's backward pass through kernels of 5 x 5 and more takes three
    times as long as in float32.
    """
    padding, groups = weight.shape[-1] // 2, len(weight)
    if x.device.type != CPU:
        return functional.conv2d(x, weight, bias, padding=padding, groups=groups)
    with torch.autocast(CPU, enabled=False):
        wide = x.to(weight.dtype)
        return functional.conv2d(wide, weight, bias, padding=padding, groups=groups).to(x.dtype)


class Depthwise(nn.Conv2d):
    """A depth-wise convolution that keeps rows and columns; see `depthwise` for its precision.

    Args:
        width: channels.
        kernel: side of the kernel, odd.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Convolve."""
        return depthwise(x, self.weight, self.bias)


class DepthwiseBlock(nn.Module):
    """x + gate * MLP(LN(DepthwiseConv(x))), the gate 0.1 at first (arXiv 2201.03545).

    Args:
        width: channels.
        kernel: side of the depthwise kernel, odd.
        expansion: hidden width of the MLP over `width`.
    """

    def __init__(self, width: int, *, kernel: int, expansion: int) -> None:
        super().__init__()
        self.spread = Depthwise(width, kernel)
        self.norm = nn.GroupNorm(1, width)
        self.mlp = nn.Sequential(
            nn.Conv2d(width, expansion * width, 1),
            nn.GELU(),
            nn.Conv2d(expansion * width, width, 1),
        )
        # The paper starts at 1e-6, for networks far deeper than these.
        self.gate = nn.Parameter(torch.full((width, 1, 1), 0.1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Refine the map."""
        return x + self.gate * self.mlp(self.norm(self.spread(x)))


class Halving(nn.Sequential):
    """Between stages: a norm, then a convolution that makes one place of 2 x 2."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__(nn.GroupNorm(1, width), nn.Conv2d(width, wider, 2, 2))
