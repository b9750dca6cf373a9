"""Low-rank layers: a frozen layer and a trained difference of few numbers beside it.

    W + scale B A        B is zero at first, so nothing changes before it is trained

Hu et al., "LoRA", arXiv 2106.09685. For convolutions there are two published forms, which agree
for 1 x 1 kernels: in `BlockConv` (PPAP, after loralib) B A is a matrix of rank r k whose rows are
viewed as kernels; in `ChannelConv` (peft) A is a k x k convolution to r channels, B a 1 x 1 one.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d


class LowRank(nn.Module):
    """A frozen layer with a low-rank difference.

    Args:
        base: the layer; its weight is frozen, its bias stays as it is.
        scale: of the difference.
        shapes: of A and B.
    """

    base: nn.Linear | nn.Conv2d

    def __init__(
        self,
        base: nn.Linear | nn.Conv2d,
        scale: float,
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
    ) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        base.weight.requires_grad = False
        self.lora_A = nn.Parameter(base.weight.new_empty(shapes[0]))
        self.lora_B = nn.Parameter(base.weight.new_zeros(shapes[1]))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def delta(self) -> Float[Tensor, "..."]:
        """Return B A in the weight's shape, without the scale."""
        raise NotImplementedError

    def merged(self) -> Float[Tensor, "..."]:
        """Return the weight of a plain layer that does the same."""
        return self.base.weight + self.scale * self.delta()


class LowRankLinear(LowRank):
    """A linear layer: W x + b + scale B (A x).

    Args:
        base: the layer.
        rank: r; A is (r, in), B is (out, r).
        scale: of the difference.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        out, width = base.weight.shape
        super().__init__(base, scale, ((rank, width), (out, rank)))

    def delta(self) -> Float[Tensor, "out in"]:
        """Return B A."""
        return self.lora_B @ self.lora_A

    def forward(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """Return the layer's outputs."""
        return self.base(x) + self.scale * (x @ self.lora_A.T @ self.lora_B.T)


class LowRankConv(LowRank):
    """A convolution without groups, whose weight is W + scale B A."""

    base: nn.Conv2d

    def forward(self, x: Float[Tensor, "b in h w"]) -> Float[Tensor, "b out h2 w2"]:
        """Return the layer's outputs."""
        base = self.base
        return conv2d(x, self.merged(), base.bias, base.stride, base.padding, base.dilation)


class BlockConv(LowRankConv):
    """PPAP's form: the matrix B A, of (out k, in k), viewed row by row as the kernels.

    Args:
        base: the convolution, of square kernel k.
        rank: r; A is (r k, in k), B is (out k, r k).
        scale: of the difference.
    """

    def __init__(self, base: nn.Conv2d, rank: int, scale: float) -> None:
        out, width, kernel, _ = base.weight.shape
        shapes = ((rank * kernel, width * kernel), (out * kernel, rank * kernel))
        super().__init__(base, scale, shapes)

    def delta(self) -> Float[Tensor, "out in k k"]:
        """Return B A as kernels."""
        return (self.lora_B @ self.lora_A).view(self.base.weight.shape)


class ChannelConv(LowRankConv):
    """peft's form: a convolution to r channels, then a 1 x 1 one.

    Args:
        base: the convolution.
        rank: r; A is (r, in, k, k), B is (out, r, 1, 1).
        scale: of the difference.
    """

    def __init__(self, base: nn.Conv2d, rank: int, scale: float) -> None:
        out, *kernel = base.weight.shape
        super().__init__(base, scale, ((rank, *kernel), (out, rank, 1, 1)))

    def delta(self) -> Float[Tensor, "out in k k"]:
        """Return what the two convolutions amount to as one."""
        return torch.einsum("or,rikl->oikl", self.lora_B[:, :, 0, 0], self.lora_A)
