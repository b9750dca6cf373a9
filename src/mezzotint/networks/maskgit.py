"""MaskGIT: BERT over codes, every norm behind what it norms; and TiTok's ImageBert, its relative.

    x = LN(words + positions)      x <- LN(x + attention(x))      x <- LN(x + mlp(x))

Chang et al., "MaskGIT: Masked Generative Image Transformer", arXiv 2202.04200; Yu et al., "An Image
is Worth 32 Tokens", arXiv 2406.07550.
"""

from typing import Any, ClassVar, Final, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.networks.tokens import TiedHead, TokenConfig, TokenTransformer, initialise
from mezzotint.nn.attention import Kept, SelfAttention, check_heads
from mezzotint.nn.transformer import through

EPS: Final = 1e-12
_PUBLISHED: Final = {"depth": 24, "width": 768, "heads": 16, "hidden": 3072}
_IMAGEBERT: Final = {**_PUBLISHED, "tied": False, "null_row": True, "num_classes": 1000}


class MaskGITConfig(TokenConfig):
    """Shape of a MaskGIT.

    Attributes:
        depth: blocks.
        width: channels of a token, a multiple of `heads`.
        heads: attention heads.
        hidden: width of the MLPs.
        tied: whether the embedding table is the head's matrix, GELU is approximated by tanh, and
            the mask is the table's last row, as in MaskGIT; in TiTok's ImageBert the head is a
            matrix of its own, GELU is exact, and classes stand behind the mask.
        null_row: whether there is a null class; MaskGIT's release has none.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "256": {**_PUBLISHED, "codes": 1024, "size": (16, 16), "num_classes": 1000},
        "512": {**_PUBLISHED, "codes": 1024, "size": (32, 32), "num_classes": 1000},
        "titok-l-32": {**_IMAGEBERT, "codes": 4096, "size": (1, 32)},
        "titok-b-64": {**_IMAGEBERT, "codes": 4096, "size": (1, 64)},
        "imagebert-256": {**_IMAGEBERT, "codes": 1024, "size": (16, 16)},
    }

    depth: int = Field(ge=1)
    width: int = Field(ge=2)
    heads: int = Field(ge=1)
    hidden: int = Field(ge=1)
    tied: bool = True
    null_row: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_heads(self.width, self.heads)
        if not self.num_classes + self.null_row:
            raise ValueError("num_classes is 0: set null_row to true, for the leading slot's sake")
        return self

    @property
    def null(self) -> int | None:
        """The label after the last class, where there is a row for it."""
        return self.num_classes if self.null_row else None

    @property
    def rows(self) -> int:
        """Rows of the table: codes, classes, the null class if any, the mask."""
        return self.codes + self.num_classes + self.null_row + 1

    @property
    def mask(self) -> int:
        """The mask's row."""
        return self.rows - 1 if self.tied else self.codes

    @property
    def first_class(self) -> int:
        """The row of class 0."""
        return self.codes + (not self.tied)

    def build(self) -> "MaskGIT":
        """Make the network, freshly initialised."""
        return MaskGIT(self)


class PostNormBlock(nn.Module):
    """Attention and MLP, each added to what it was given, and then normed."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        width = config.width
        self.attn = SelfAttention(width, config.heads)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        gelu = nn.GELU("tanh" if config.tied else "none")
        self.mlp = nn.Sequential(
            nn.Linear(width, config.hidden), gelu, nn.Linear(config.hidden, width)
        )
        self.norm2 = nn.LayerNorm(width, eps=EPS)

    def refined(
        self, tokens: Float[Tensor, "b n d"], kept: Kept | None = None
    ) -> tuple[Float[Tensor, "b n d"], Kept]:
        """Refine tokens that look at each other and at kept ones; return their keys and values."""
        mixed, own = self.attn.mixed(tokens, kept)
        tokens = self.norm1(tokens + mixed)
        return self.norm2(tokens + self.mlp(tokens)), own


class MaskGIT(TokenTransformer):
    """The transformer; the class is a token before the others.

    The release's dropout of 0.1 in training is left out.

    Args:
        config: the shape.
    """

    vocabulary = ("words.weight", "head.bias")

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__(config, leading=1)
        self.config = config
        width = config.width
        self.words = nn.Embedding(config.rows, width)
        self.positions = nn.Embedding(1 + config.length, width)
        self.types = None if config.tied else nn.Embedding(2, width)  # of which the first is used
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.blocks = nn.ModuleList(PostNormBlock(config) for _ in range(config.depth))
        self.head: nn.Module
        if config.tied:
            self.head = TiedHead(width, (config.rows, width), eps=EPS, approximate="tanh")
        else:
            self.head = nn.Linear(width, config.codes)
        initialise(self)

    def hidden(
        self,
        ids: Int[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None,
    ) -> tuple[Float[Tensor, "b m d"], list[Kept]]:
        """Return what leaves the last block, the class's slot first."""
        label = self.config.first_class + (y if self.num_classes else torch.zeros_like(y))
        ids = torch.cat([label[:, None], ids], dim=1)
        slots = torch.cat([torch.zeros_like(label)[:, None], 1 + where], dim=1)
        x = self.words(ids) + self.positions(slots)
        if self.types is not None:
            x = x + self.types.weight[0]
        return through(self.blocks, self.norm(x), kept)

    def read(self, hidden: Float[Tensor, "b m d"]) -> Float[Tensor, "b m v"]:
        """Return the head's logits: of all rows of the table if it is tied, else of the codes."""
        return self.head(hidden, self.words.weight) if self.config.tied else self.head(hidden)

    def asked(
        self,
        ids: Int[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None,
    ) -> tuple[Float[Tensor, "b n k"], list[Kept]]:
        """Return logits of the codes at some places, and keys and values of all that was asked."""
        x, own = self.hidden(ids, where, y, kept)
        return self.read(x[:, 1:])[..., : self.codes], own
