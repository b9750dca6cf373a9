"""Two U-ViTs over codes: NAT's, which ReCAP accelerates as "MaskGIT-r", and TiTok's UViTBert.

    x <- Block(Linear([x, x of the mirrored block]))

Ni et al., "Revisiting Non-Autoregressive Transformers" and AutoNAT, arXiv 2406.10163 (names and
shapes after liebenxj/ReCAP); Yu et al., "An Image is Worth 32 Tokens", arXiv 2406.07550.
"""

from typing import Any, ClassVar, Final, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.networks.tokens import TiedHead, TokenConfig, TokenTransformer, initialise
from mezzotint.nn.attention import Kept, check_heads
from mezzotint.nn.transformer import Block, through

_EMBEDDING_EPS: Final = 1e-6
_NAT_L: Final = {"depth": 24, "width": 768, "heads": 8, "hidden": 3072}
_TITOK_S: Final = {"depth": 20, "width": 1024, "heads": 16, "hidden": 4096}


class TokenUViTConfig(TokenConfig):
    """Shape of a U-ViT over codes.

    Attributes:
        depth: counts pairs: there are 2 (depth // 2) + 1 blocks.
        width: channels of a token, a multiple of `heads`.
        heads: attention heads.
        hidden: width of the MLPs.
        qkv_bias: whether queries, keys and values have a bias.
        skips: whether the long skips are there.
    """

    depth: int = Field(ge=1)
    width: int = Field(ge=2)
    heads: int = Field(ge=1)
    hidden: int = Field(ge=1)
    qkv_bias: bool = False
    skips: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_heads(self.width, self.heads)
        return self

    @property
    def null(self) -> int:
        """The label after the last class."""
        return self.num_classes


class NATConfig(TokenUViTConfig):
    """Shape of NAT's U-ViT; codes and classes have tables of their own."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "L": {**_NAT_L, "codes": 1024, "size": (16, 16), "num_classes": 1000}
    }

    def build(self) -> "NAT":
        """Make the network, freshly initialised."""
        return NAT(self)


class UViTBertConfig(TokenUViTConfig):
    """Shape of TiTok's UViTBert; codes, mask and classes share a table."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "titok-s-128": {**_TITOK_S, "codes": 4096, "size": (1, 128), "num_classes": 1000}
    }

    def build(self) -> "UViTBert":
        """Make the network, freshly initialised."""
        return UViTBert(self)


class Trunk(nn.Module):
    """Blocks whose first half is joined to the second by long skips.

    Args:
        config: the shape.
    """

    def __init__(self, config: TokenUViTConfig) -> None:
        super().__init__()
        pairs = config.depth // 2

        def block() -> Block:
            return Block(config.width, config.heads, config.hidden, qkv_bias=config.qkv_bias)

        self.first = nn.ModuleList(block() for _ in range(pairs))
        self.middle = block()
        self.last = nn.ModuleList(block() for _ in range(pairs))
        joined = pairs * config.skips
        joins = (nn.Linear(2 * config.width, config.width) for _ in range(joined))
        self.joins = nn.ModuleList(joins)

    def refined(
        self, tokens: Float[Tensor, "b n d"], kept: list[Kept] | None
    ) -> tuple[Float[Tensor, "b n d"], list[Kept]]:
        """Refine tokens that look at each other and at kept ones; return keys and values."""
        pairs = len(self.first)
        own: list[Kept] = []
        skips: list[Tensor] = []
        for index, block in enumerate([*self.first, self.middle, *self.last]):
            if index > pairs and self.joins:
                join = self.joins[index - pairs - 1]
                tokens = join(torch.cat([tokens, skips.pop()], dim=2))
            tokens, found = through([block], tokens, kept and [kept[index]])
            own += found
            if index < pairs:
                skips.append(tokens)
        return tokens, own


class NAT(TokenTransformer):
    """NAT's U-ViT: the class is a token before the codes, embedded by itself.

    The release's dropout of 0.1 on embeddings in training is left out.

    Args:
        config: the shape.
    """

    class_rows = ("labels.weight",)

    def __init__(self, config: NATConfig) -> None:
        super().__init__(config, leading=1)
        self.config = config
        width, rows = config.width, config.codes + 1
        self.words = nn.Embedding(rows, width)
        self.positions = nn.Embedding(config.length, width)
        self.word_norm = nn.LayerNorm(width, eps=_EMBEDDING_EPS)
        self.labels = nn.Embedding(config.num_classes + 1, width)
        self.label_position = nn.Embedding(1, width)
        self.label_norm = nn.LayerNorm(width, eps=_EMBEDDING_EPS)
        self.trunk = Trunk(config)
        self.norm = nn.LayerNorm(width)
        self.head = TiedHead(width, (rows, width), eps=1e-5, detached=True)
        initialise(self)

    def asked(
        self,
        ids: Int[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None,
    ) -> tuple[Float[Tensor, "b n k"], list[Kept]]:
        """Return logits of the codes at some places, and keys and values of all that was asked."""
        x = self.word_norm(self.words(ids) + self.positions(where))
        label = self.label_norm(self.labels(y) + self.label_position.weight)[:, None]
        x, own = self.trunk.refined(torch.cat([label, x], dim=1), kept)
        return self.head(self.norm(x)[:, 1:], self.words.weight)[..., : self.codes], own


class UViTBert(TokenTransformer):
    """TiTok's U-ViT: the class is a token before the codes, from the same table.

    Args:
        config: the shape.
    """

    vocabulary = ("words.weight",)

    def __init__(self, config: UViTBertConfig) -> None:
        super().__init__(config, leading=1)
        self.config = config
        width = config.width
        self.words = nn.Embedding(config.codes + config.num_classes + 2, width)
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.length, width))
        self.trunk = Trunk(config)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.codes)
        initialise(self)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def asked(
        self,
        ids: Int[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None,
    ) -> tuple[Float[Tensor, "b n k"], list[Kept]]:
        """Return logits of the codes at some places, and keys and values of all that was asked."""
        label = self.codes + 1 + y[:, None]
        slots = torch.cat([torch.zeros_like(label), 1 + where], dim=1)
        x = self.words(torch.cat([label, ids], dim=1)) + self.positions[0, slots]
        x, own = self.trunk.refined(x, kept)
        return self.head(self.norm(x)[:, 1:]), own
