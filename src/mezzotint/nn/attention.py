"""Attention over tokens: softmax(q k^T / sqrt(d)) v, all heads at once."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Multi-head softmax attention of a sequence with itself.

    Args:
        width: channels of a token, a multiple of `heads`.
        heads: number of heads.
        bias: whether the fused query-key-value projection has a bias.
    """

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each image."""
        b, n, d = tokens.shape
        qkv = self.qkv(tokens).view(b, n, 3, self.heads, d // self.heads)  # (B, N, 3, H, D/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, D/H) each
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(b, n, d))
