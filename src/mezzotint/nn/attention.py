"""Attention over tokens, all heads at once: softmax(q k^T / sqrt(d)) v, or linear in the tokens."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.nn.conv import CPU, depthwise
from mezzotint.nn.features import FEATURES, Features

_FEW: Final = 256  # tokens

Kept = tuple[Float[Tensor, "..."], Float[Tensor, "..."]]
"""Keys and values of tokens, as one layer made them: (B, heads, N, depth of a head) both."""


def check_heads(width: int, heads: int) -> None:
    """Raise a ValueError unless heads divide a width."""
    if width % heads:
        raise ValueError(f"width {width} must be a multiple of heads {heads}")


class SelfAttention(nn.Module):
    """Multi-head softmax attention of a sequence with itself, and with tokens kept from before.

    Args:
        width: channels of a token, a multiple of `heads`.
        heads: number of heads.
        bias: whether the fused query-key-value projection has a bias.
        dropout: of the attention weights, in training.
    """

    def __init__(self, width: int, heads: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each image."""
        return self.mixed(tokens)[0]

    def mixed(
        self, tokens: Float[Tensor, "b n d"], kept: Kept | None = None
    ) -> tuple[Float[Tensor, "b n d"], Kept]:
        """Mix the tokens of each image with each other and with kept ones.

        Args:
            tokens: that ask.
            kept: keys and values of others, that are looked at besides.

        Returns:
            The mixed tokens, and the keys and values of those that asked.
        """
        b, n, d = tokens.shape
        qkv = self.qkv(tokens).view(b, n, 3, self.heads, d // self.heads)  # (B, N, 3, H, D/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, D/H) each
        keys, values = joined(kept, (k, v))
        rate = self.dropout if self.training else 0.0
        if rate:
            mixed = functional.scaled_dot_product_attention(q, keys, values, dropout_p=rate)
        else:
            mixed = attend(q, keys, values)
        return self.proj(mixed.transpose(1, 2).reshape(b, n, d)), (k, v)


def joined(kept: Kept | None, own: Kept) -> Kept:
    """Return kept keys and values with those of the tokens that ask behind them."""
    if kept is None:
        return own
    # By token, as they lie in memory: whole rows are copied, not a head's part of each.
    keys, values = (
        torch.cat([before.transpose(1, 2), now.transpose(1, 2)], dim=1).transpose(1, 2)
        for before, now in zip(kept, own, strict=True)
    )
    return keys, values


def attend(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h m d"], v: Float[Tensor, "b h m e"]
) -> Float[Tensor, "b h n e"]:
    """Return softmax(q k^T / sqrt(d)) v, by the kernel that is fast where it runs.

    Trained on a CPU in bfloat16, PyTorch's fused kernel takes 2 to 10 times as long as its formula
    for up to 256 tokens, all of it backward; in float32 it is the faster one (measured on a Xeon
    with AMX, torch 2.14: docs/performance.md).
    """
    plain = q.requires_grad and q.device.type == CPU and q.dtype == torch.bfloat16
    if not plain or k.shape[2] > _FEW:
        return functional.scaled_dot_product_attention(q, k, v)
    weights = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    return weights.softmax(3, dtype=torch.float32).to(v.dtype) @ v


def linear_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    *,
    eps: float = 1e-6,
) -> Float[Tensor, "b h n e"]:
    """Attend with weights that are products of features, at a cost linear in the N tokens.

        o_i = sum_j <q_i, k_j> v_j / (sum_j <q_i, k_j> + N eps)

    Args:
        q, k: features, nowhere negative.
        v: values.
        eps: keeps the normaliser from 0. A token whose features are all tiny feels it: its weights
            sum to less than 1.
    """
    # Both factors keep the sum over the tokens at the scale of a mean, whatever their number.
    scale = k.shape[-2] ** -0.5
    normaliser = 1 / (q @ k.mean(-2, keepdim=True).transpose(-1, -2) + eps)  # (B, H, N, 1)
    summary = (k * scale).transpose(-1, -2) @ (v * scale)  # (B, H, D, E)
    return (q @ summary) * normaliser


class HeadConvolution(nn.Conv2d):
    """A depth-wise convolution of the channels of one head, the same for all heads.

    Args:
        depth: channels of a head.
        shape: rows and columns of the grid of tokens, zeros around it.
        kernel: side of the kernel, odd.
    """

    def __init__(self, depth: int, *, shape: tuple[int, int], kernel: int) -> None:
        super().__init__(depth, depth, kernel, padding=kernel // 2, groups=depth)
        self.shape = shape

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Convolve the tokens, laid row by row on their grid."""
        width = tokens.shape[-1]
        heads = width // self.groups
        cells = tokens.unflatten(1, self.shape).permute(0, 3, 1, 2)  # (B, D, R, C)
        # Repeating the kernel spares the copies that put the heads into the batch would take.
        assert self.bias is not None
        weight, bias = self.weight.repeat(heads, 1, 1, 1), self.bias.repeat(heads)
        out = depthwise(cells, weight, bias)
        return out.permute(0, 2, 3, 1).flatten(1, 2)


Convolved = Literal["values", "inputs"]
"""What a convolution beside linear attention reads; of the values, one kernel serves all heads."""


class Reading(NamedTuple):
    """What the convolution reads of tokens and values, and whether all heads share its kernel."""

    of: Callable[[Tensor, Tensor], Tensor]
    shared: bool


READINGS: Final[Mapping[Convolved, Reading]] = {
    "values": Reading(lambda _, values: values, shared=True),
    "inputs": Reading(lambda tokens, _: tokens, shared=False),
}


@dataclass(frozen=True)
class Form:
    """What relatives of LiT's attention do otherwise (papers/lit.md, 2.2).

    Args:
        features: phi; `focused` is FLatten's.
        convolves: the values, head by head, or as LINA the inputs, with a kernel a channel.
        key_positions: whether a learned vector is added to the key of each place, as FLatten's.
        qk_norm: whether queries and keys are divided by their root mean square, and scaled.
    """

    features: Features = "relu"
    convolves: Convolved = "values"
    key_positions: bool = False
    qk_norm: bool = False


class LinearAttention(nn.Module):
    """Multi-head attention without softmax, and a depth-wise convolution beside it.

        proj(LinearAttention(phi(q), phi(k), v) + Convolution(v)),  phi(q) = relu(q) + floor

    There is no scaling by sqrt(d). Features, sums and the normaliser are computed in float32
    whatever the autocast. Time and memory are linear in the number of tokens. arXiv 2501.12976.

    Args:
        width: channels of a token, a multiple of `heads`.
        heads: number of heads; a token costs width^2 / heads, so few are dear, but mix more.
        shape: rows and columns of the grid of tokens, which come row by row.
        kernel: side of the convolution's kernel, odd; 0 leaves the convolution out.
        bias: whether the projections to queries, keys and values have a bias.
        floor: added to the features.
        eps: added to the normaliser.
        form: LiT's own, or that of a relative.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        shape: tuple[int, int],
        kernel: int = 5,
        bias: bool = True,
        floor: float = 1e-6,
        eps: float = 1e-6,
        form: Form = Form(),
    ) -> None:
        super().__init__()
        self.heads, self.eps = heads, eps
        self.q = nn.Linear(width, width, bias=bias)
        self.kv = nn.Linear(width, 2 * width, bias=bias)
        self.proj = nn.Linear(width, width)
        self.features = FEATURES[form.features](width, floor)
        self.places = None
        if form.key_positions:
            self.places = nn.Parameter(torch.zeros(shape[0] * shape[1], width))
        self.norms = None
        if form.qk_norm:
            self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.reading = READINGS[form.convolves]
        depth = width // heads if self.reading.shared else width
        self.conv = HeadConvolution(depth, shape=shape, kernel=kernel) if kernel else None

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each image."""
        q = self.q(tokens)
        k, v = self.kv(tokens).chunk(2, dim=-1)
        mixed = self.mixed(q, k, v)
        if self.conv is not None:
            mixed = mixed + self.conv(self.reading.of(tokens, v))
        return self.proj(mixed)

    def mixed(
        self, q: Float[Tensor, "b n d"], k: Float[Tensor, "b n d"], v: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n d"]:
        """Attend alone, before the convolution is added; the result is in the dtype of `v`."""
        with _without_autocast(v.device):
            if self.norms is not None:
                q, k = (norm(x) for norm, x in zip(self.norms, (q, k), strict=True))
            if self.places is not None:
                k = k + self.places
            features = (self.features(q), self.features(k))
            values = v.to(features[0].dtype)
            split = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (*features, values))
            return linear_attention(*split, eps=self.eps).transpose(1, 2).flatten(2).to(v.dtype)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off where there is such a thing; the meta device has none."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
