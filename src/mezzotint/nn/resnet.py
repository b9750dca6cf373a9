"""Residual blocks over maps that may hear a condition, and the attention between their places.

    skip(R x) + Conv(SiLU(N(Conv(R SiLU(GN(x))), c)))

R halves or doubles the map, or is the identity; N is a group norm that c shifts, scales, or leaves
alone. Norms are in 32 groups and in float32; what ends a branch starts at zero.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 32


class FloatGroupNorm(nn.GroupNorm):
    """A group norm in 32 groups that computes in float32, whatever it is given.

    Args:
        width: channels, a multiple of 32.
        eps: added to the variance.
    """

    def __init__(self, width: int, *, eps: float = 1e-5) -> None:
        super().__init__(GROUPS, width, eps)

    def forward(self, x: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c ..."]:
        """Normalise, in the dtype of `x`."""
        weight, bias = self.weight.float(), self.bias.float()
        normed = functional.group_norm(x.float(), self.num_groups, weight, bias, self.eps)
        return normed.to(x.dtype)


class ShiftedNorm(nn.Module):
    """GN(x + W SiLU(c)): the condition is added, then normed with the map.

    Args:
        width: channels of the map.
        condition: channels of the condition.
        eps: of the norm.
    """

    def __init__(self, width: int, condition: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = FloatGroupNorm(width, eps=eps)
        self.linear = nn.Linear(condition, width)

    def forward(
        self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b c h w"]:
        """Shift and normalise."""
        shift = self.linear(functional.silu(condition))
        return self.norm(x + shift[:, :, None, None])


class ScaledNorm(nn.Module):
    """GN(x) (1 + scale) + shift with [scale, shift] = W SiLU(c) (FiLM, arXiv 1709.07871).

    Args:
        width: channels of the map.
        condition: channels of the condition.
        eps: of the norm.
    """

    def __init__(self, width: int, condition: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = FloatGroupNorm(width, eps=eps)
        self.linear = nn.Linear(condition, 2 * width)

    def forward(
        self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b c h w"]:
        """Normalise, scale and shift."""
        both = self.linear(functional.silu(condition))[:, :, None, None]
        scale, shift = both.chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


class ResnetBlock(nn.Module):
    """A residual block of two 3 x 3 convolutions; the identity at first, where widths agree.

    Args:
        width: channels in, a multiple of 32.
        wider: channels out, a multiple of 32.
        condition: channels of the condition; 0 for a block that hears none.
        scale_shift: whether the condition scales and shifts the second norm, or is added before.
        resample: halves or doubles the map, without parameters: applied to branch and skip.
        dropout: share of the branch that is dropped before its last convolution.
        eps: of the norms.
    """

    def __init__(
        self,
        width: int,
        wider: int,
        *,
        condition: int = 0,
        scale_shift: bool = False,
        resample: nn.Module | None = None,
        dropout: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        conditioned = ScaledNorm if scale_shift else ShiftedNorm
        self.norm1 = FloatGroupNorm(width, eps=eps)
        self.resample = resample or nn.Identity()
        self.conv1 = nn.Conv2d(width, wider, 3, padding=1)
        self.norm2 = (
            conditioned(wider, condition, eps=eps) if condition else FloatGroupNorm(wider, eps=eps)
        )
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(wider, wider, 3, padding=1))
        self.skip = nn.Identity() if width == wider else nn.Conv2d(width, wider, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], *condition: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b d i j"]:
        """Refine the map.

        Args:
            x: the map.
            condition: one, if the block hears one.
        """
        branch = self.conv1(self.resample(functional.silu(self.norm1(x))))
        branch = functional.silu(self.norm2(branch, *condition))
        return self.skip(self.resample(x)) + self.conv2(self.dropout(branch))


class MapAttention(nn.Module):
    """x + Conv(attention(GN(x))) over the places of a map; the identity at first.

    Args:
        width: channels, a multiple of 32 and of `heads`.
        heads: number of heads.
        head_major: how the queries, keys and values lie in their projection; see `attend`.
        eps: of the norm.
    """

    def __init__(self, width: int, heads: int, *, head_major: bool, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads, self.head_major = heads, head_major
        self.norm = FloatGroupNorm(width, eps=eps)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj = zeroed(nn.Conv1d(width, width, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix the places of each map."""
        qkv = self.qkv(self.norm(x).flatten(2))  # (B, 3 C, H W)
        mixed = attend(qkv, self.heads, head_major=self.head_major)
        return x + self.proj(mixed).view(x.shape)


def attend(qkv: Float[Tensor, "b d n"], heads: int, *, head_major: bool) -> Float[Tensor, "b c n"]:
    """Return softmax(q k^T / sqrt(c)) v of every head, side by side.

    Args:
        qkv: queries, keys and values: 3 C channels of N places.
        heads: number of heads.
        head_major: the channels are (head, q k v, channel); otherwise (q k v, head, channel).
    """
    b, d, n = qkv.shape
    parts = (heads, 3) if head_major else (3, heads)
    q, k, v = qkv.view(b, *parts, d // (3 * heads), n).mT.unbind(
        2 if head_major else 1
    )  # (B, H, N, C/H) each
    mixed = functional.scaled_dot_product_attention(q, k, v)
    return mixed.mT.reshape(b, d // 3, n)


def halving(width: int, *, convolve: bool) -> nn.Module:
    """Return what halves a map: a 3 x 3 convolution of stride 2, or the mean of 2 x 2 places."""
    if not convolve:
        return nn.AvgPool2d(2)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(width, width, 3, stride=2, padding=1)))


def doubling(width: int, *, convolve: bool) -> nn.Module:
    """Return what doubles a map: each place four times, and then perhaps a 3 x 3 convolution."""
    near = nn.Upsample(scale_factor=2, mode="nearest")
    if not convolve:
        return near
    return nn.Sequential(OrderedDict(near=near, conv=nn.Conv2d(width, width, 3, padding=1)))


def zeroed(layer: nn.Conv1d | nn.Conv2d) -> nn.Conv1d | nn.Conv2d:
    """Set the weights and biases of a layer to zero, and return it."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer
