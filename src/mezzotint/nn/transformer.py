"""A transformer over tokens that can be asked again about some of them.

    tokens = layers(tokens)                        every token looks at every other
    some   = layers(some, kept)                    some look at each other, and at what is kept

What is kept are keys and values of the others in each layer (ReCAP, arXiv 2505.19089).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mezzotint.nn.attention import Kept, SelfAttention


def mlp(width: int, hidden: int, activation: nn.Module) -> nn.Sequential:
    """Return Linear, activation, Linear, from `width` to `width`."""
    return nn.Sequential(nn.Linear(width, hidden), activation, nn.Linear(hidden, width))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to what it was given.

    Args:
        width: channels of a token.
        heads: attention heads.
        hidden: width of the MLP.
        qkv_bias: whether queries, keys and values have a bias.
        eps: of the norms.
        dropout: of what attention and each linear layer of the MLP put out, in training.
        attention_dropout: of the attention weights, in training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        qkv_bias: bool,
        eps: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = SelfAttention(width, heads, bias=qkv_bias, dropout=attention_dropout)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp(width, hidden, nn.Sequential(nn.GELU(), nn.Dropout(dropout)))
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Refine the tokens."""
        return self.refined(tokens)[0]

    def refined(
        self, tokens: Float[Tensor, "b n d"], kept: Kept | None = None
    ) -> tuple[Float[Tensor, "b n d"], Kept]:
        """Refine tokens that look at each other and at kept ones; return their keys and values."""
        mixed, own = self.attn.mixed(self.norm1(tokens), kept)
        tokens = tokens + self.drop(mixed)
        return tokens + self.drop(self.mlp(self.norm2(tokens))), own


@dataclass(frozen=True)
class Context:
    """Keys and values of all tokens in each layer, from one full pass.

    Attributes:
        layers: of each layer; leading tokens, such as the class, stand first.
        leading: how many those are; they are not kept, but asked again.
    """

    layers: tuple[Kept, ...]
    leading: int

    def without(self, where: Int[Tensor, "b n"]) -> list[Kept]:
        """Return what is kept of the tokens that are not at `where`, layer by layer."""
        others = self.leading + outside(where, self.layers[0][0].shape[2] - self.leading)
        return [at_places(layer, others) for layer in self.layers]


def outside(where: Int[Tensor, "b n"], length: int) -> Int[Tensor, "b m"]:
    """Return the places below `length` that are not at `where`, ascending.

    Args:
        where: distinct places, as many in each row.
        length: of the row.
    """
    inside = torch.zeros(len(where), length, dtype=torch.bool, device=where.device)
    inside.scatter_(1, where, value=True)
    return (~inside).nonzero()[:, 1].view(len(where), -1)


def at_places(layer: Kept, places: Int[Tensor, "b m"]) -> Kept:
    """Return the keys and values of some tokens, given by where they stand in the layer's."""
    image = torch.arange(len(places), device=places.device)[:, None]
    # By token: what lies together in memory is copied together, which gather() does not see.
    keys, values = (each.transpose(1, 2)[image, places].transpose(1, 2) for each in layer)
    return keys, values


def through(
    blocks: Iterable[nn.Module],
    tokens: Float[Tensor, "b n d"],
    kept: Sequence[Kept] | None,
    *condition: Float[Tensor, "b d"],
) -> tuple[Float[Tensor, "b n d"], list[Kept]]:
    """Refine tokens by one block after another.

    Args:
        blocks: that have `refined`.
        tokens: that ask.
        kept: of the others in each block, or None.
        condition: what every block is told besides.

    Returns:
        The tokens, and their own keys and values in each block.
    """
    own: list[Kept] = []
    for index, block in enumerate(blocks):
        others = kept[index] if kept else None
        tokens, pair = block.refined(tokens, others, *condition)  # type: ignore[operator]
        own.append(pair)
    return tokens, own
