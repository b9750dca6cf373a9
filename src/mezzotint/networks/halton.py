"""Halton-MaskGIT: a transformer over codes that is modulated by its class.

    x <- x + gate1 attention(RMS(x) (1 + scale1) + shift1)      x <- x + gate2 swiglu(...)

Besnier et al., "Halton Scheduler for Masked Generative Image Transformer", ICLR 2025; names and
shapes after valeoai/Halton-MaskGIT.
"""

from typing import Any, ClassVar, Final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.networks.tokens import TokenConfig, TokenTransformer, initialise
from mezzotint.nn.attention import Kept, joined
from mezzotint.nn.modulate import Modulation, modulate
from mezzotint.nn.transformer import through

EPS: Final = 1e-5
_MULTIPLE: Final = 256  # of the feed-forward's width

_SIZES: Final = {
    "T": {"width": 384, "depth": 6, "heads": 6},
    "S": {"width": 512, "depth": 12, "heads": 6},
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1024, "depth": 24, "heads": 16},
    "XL": {"width": 1152, "depth": 28, "heads": 16},
}
_GRIDS: Final = {"256": (16, 16), "384": (24, 24)}


class HaltonConfig(TokenConfig):
    """Shape of a Halton-MaskGIT.

    Attributes:
        depth: blocks.
        width: channels of a token.
        heads: attention heads, of width // heads channels each; they need not divide the width.
        mlp: width that the feed-forward would have without gates; 4 `width` if it is None.
        registers: learned tokens beside those of the image.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        f"{name}-{pixels}": {**size, "codes": 16384, "size": grid, "num_classes": 1000}
        for name, size in _SIZES.items()
        for pixels, grid in _GRIDS.items()
    }

    depth: int = Field(ge=1)
    width: int = Field(ge=2)
    heads: int = Field(ge=1)
    mlp: int | None = Field(default=None, ge=1)
    registers: int = Field(default=1, ge=0)

    @property
    def null(self) -> int:
        """The label after the last class."""
        return self.num_classes

    @property
    def hidden(self) -> int:
        """Width of the gated feed-forward."""
        return self.wide(self.mlp or 4 * self.width)

    @staticmethod
    def wide(mlp: int) -> int:
        """Return two thirds of a width, rounded up to a multiple of 256."""
        return _MULTIPLE * -(-int(2 * mlp / 3) // _MULTIPLE)

    def build(self) -> "Halton":
        """Make the network, freshly initialised."""
        return Halton(self)


class NormedAttention(nn.Module):
    """Softmax attention whose queries and keys are normed over all heads; there are no biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = heads * (width // heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, width, bias=False)

    def mixed(
        self, tokens: Float[Tensor, "b n d"], kept: Kept | None = None
    ) -> tuple[Float[Tensor, "b n d"], Kept]:
        """Mix tokens with each other and with kept ones; return their keys and values."""
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        normed = (_rms(q), _rms(k), v)
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in normed)
        mixed = functional.scaled_dot_product_attention(q, *joined(kept, (k, v)))
        return self.proj(mixed.transpose(1, 2).flatten(2)), (k, v)


def _rms(x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    return functional.rms_norm(x.float(), x.shape[-1:], eps=EPS).to(x.dtype)


class GatedMLP(nn.Module):
    """down(silu(gate x) up x), without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Refine each token by itself."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class ModulatedBlock(nn.Module):
    """Attention and a gated MLP; shift, scale and gate of both come from the class."""

    def __init__(self, config: HaltonConfig) -> None:
        super().__init__()
        width = config.width
        self.modulation = Modulation(width, 6)
        self.norm1 = nn.RMSNorm(width, eps=EPS)
        self.attn = NormedAttention(width, config.heads)
        self.norm2 = nn.RMSNorm(width, eps=EPS)
        self.mlp = GatedMLP(width, config.hidden)

    def refined(
        self,
        tokens: Float[Tensor, "b n d"],
        kept: Kept | None,
        condition: Float[Tensor, "b d"],
    ) -> tuple[Float[Tensor, "b n d"], Kept]:
        """Refine tokens that look at each other and at kept ones; return their keys and values."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)
        mixed, own = self.attn.mixed(modulate(self.norm1(tokens), shift1, scale1), kept)
        tokens = tokens + gate1[:, None] * mixed
        return tokens + gate2[:, None] * self.mlp(modulate(self.norm2(tokens), shift2, scale2)), own


class Halton(TokenTransformer):
    """The transformer; its logits have a place for the mask, after those of the codes.

    The release's dropout of 0.1 in training is left out.

    Args:
        config: the shape.
    """

    class_rows = ("labels.weight",)

    def __init__(self, config: HaltonConfig) -> None:
        super().__init__(config, leading=config.registers)
        self.config = config
        width = config.width
        self.labels = nn.Embedding(config.num_classes + 1, width)
        self.words = nn.Embedding(config.codes + 1, width)
        self.positions = nn.Embedding(config.length, width)
        self.registers = nn.Embedding(config.registers, width) if config.registers else None
        self.blocks = nn.ModuleList(ModulatedBlock(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=EPS)
        self.shift = nn.Parameter(torch.zeros(width))
        self.modulation = Modulation(width, 2)
        self.bias = nn.Parameter(torch.zeros(config.codes + 1))
        initialise(self)
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):  # the release cuts nothing off
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            if name.startswith("blocks.") and name.endswith(".modulation.linear"):
                nn.init.zeros_(module.weight)

    def asked(
        self,
        ids: Int[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None,
    ) -> tuple[Float[Tensor, "b n v"], list[Kept]]:
        """Return logits of codes and mask, and keys and values of all that was asked."""
        condition = self.labels(y)
        x = self.words(ids) + self.positions(where)
        if self.registers is not None:
            x = torch.cat([self.registers.weight.expand(len(x), -1, -1), x], dim=1)
        x, own = through(self.blocks, x, kept, condition)
        shift, scale = self.modulation(condition)
        x = modulate(self.norm(x[:, self.leading :]) + self.shift, shift, scale)
        return functional.linear(x, self.words.weight, self.bias), own
