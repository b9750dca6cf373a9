"""What networks over discrete tokens share: some codes are masked, all or some are asked about.

    features, context = prefill(tokens, masked, y)         logits of every place
    features = extend(tokens, masked, where, context, y)   of some places again, the others kept

A network says how it embeds and refines the places that are asked; the rest stands here once.
"""

from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.config import Config
from mezzotint.errors import ConfigError
from mezzotint.nn.attention import Kept
from mezzotint.nn.transformer import Context


class TokenConfig(Config):
    """Base of the configs of networks over discrete tokens.

    Attributes:
        codes: entries of the codebook K; codes run from 0 to K - 1.
        size: rows and columns of the grid of tokens; one row for tokens without a grid.
        num_classes: classes; 0 is unconditional.
        over_tokens: a masked generator may be made of it.
    """

    over_tokens: ClassVar[bool] = True

    codes: int = Field(ge=1)
    size: tuple[int, int]
    num_classes: int = Field(ge=0)

    @model_validator(mode="after")
    def _has_tokens(self) -> Self:
        if min(self.size) < 1:
            raise ValueError(f"size {self.size}: expected at least one row and one column")
        return self

    @classmethod
    def known(cls, shape: tuple[int, ...], vocabulary: int, num_classes: int) -> dict[str, Any]:
        """Return the fields that tokenizer and data decide.

        Args:
            shape: of a latent, the grid of tokens last.
            vocabulary: values that a token may take; 0 where latents are real numbers.
            num_classes: of the data.

        Raises:
            ConfigError: latents are real numbers.
        """
        if not vocabulary:
            raise ConfigError(
                "tokenizer: it gives real numbers; this network works on codes, so take one with "
                "a codebook, such as {kind: stored, source: emoji-vq}"
            )
        size = tuple(shape[-2:]) if len(shape) > 1 else (1, *shape)
        return {"codes": vocabulary, "size": size, "num_classes": num_classes}

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.size

    @property
    def length(self) -> int:
        """Tokens of an image."""
        return self.size[0] * self.size[1]

    @property
    def null(self) -> int | None:
        """Label of the null class, or None where there is none."""
        return None

    @property
    def mask(self) -> int:
        """The code that stands for a masked token."""
        return self.codes

    def build(self) -> "TokenTransformer":
        """Make the network, freshly initialised."""
        raise NotImplementedError


class TokenTransformer(nn.Module):
    """A bidirectional transformer over the tokens of an image.

    Args:
        config: the shape.
        leading: slots before the tokens, such as the class; they are asked in every pass.

    Attributes:
        class_rows: names of the tensors that hold a row for each class, and for nothing else.
        vocabulary: names of the tables of codes that hold classes too.
        drops: whether training may hide tokens from a part of the network altogether.
    """

    class_rows: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    drops: bool = False

    def __init__(self, config: TokenConfig, leading: int) -> None:
        super().__init__()
        self.leading = leading
        self.length, self.codes = config.length, config.codes
        self.num_classes, self.null, self.mask = config.num_classes, config.null, config.mask

    def asked(
        self,
        ids: Int[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None,
    ) -> tuple[Float[Tensor, "b n f"], list[Kept]]:
        """Return logits of some places, and keys and values of theirs and of the leading slots.

        Args:
            ids: codes there, `mask` where they are masked.
            where: the places.
            y: labels.
            kept: keys and values of all other tokens, or None if there are none.
        """
        raise NotImplementedError

    def empty(self, batch: int) -> Int[Tensor, "b l"]:
        """Return a canvas of masked tokens, on the CPU."""
        return torch.full((batch, self.length), self.mask)

    def tokens(self, latents: Int[Tensor, "b ..."]) -> Int[Tensor, "b l"]:
        """Return the tokens of a tokenizer's latents: its codes, row by row."""
        return latents.flatten(1).long()

    def latents(self, tokens: Int[Tensor, "b l"]) -> Int[Tensor, "b l"]:
        """Return what a tokenizer decodes: codes, the last of them where there is none."""
        return tokens.clamp(max=self.codes - 1)

    def ids(self, tokens: Int[Tensor, "b l"], masked: Bool[Tensor, "b l"]) -> Int[Tensor, "b l"]:
        """Return the codes, and `mask` where they are masked."""
        return torch.where(masked, self.mask, tokens.long())

    def prefill(
        self, tokens: Int[Tensor, "b l"], masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b l f"], Context]:
        """Return the logits of all places, and the context that `extend` takes."""
        where = torch.arange(self.length, device=tokens.device).expand(len(tokens), -1)
        features, own = self.asked(self.ids(tokens, masked), where, y, None)
        return features, Context(tuple(own), self.leading)

    def extend(
        self,
        tokens: Int[Tensor, "b l"],
        masked: Bool[Tensor, "b l"],
        where: Int[Tensor, "b n"],
        context: Context,
        y: Int[Tensor, "b"],
    ) -> Float[Tensor, "b n f"]:
        """Return the logits of some places, looking at what is kept of the others."""
        ids = self.ids(tokens, masked).gather(1, where)
        return self.asked(ids, where, y, context.without(where))[0]

    def forward(
        self, tokens: Int[Tensor, "b l"], masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b l f"]:
        """Return the logits of all places."""
        return self.prefill(tokens, masked, y)[0]


class TiedHead(nn.Module):
    """Logits against the rows of the embedding table: norm(gelu(dense x)) E^T + bias.

    Args:
        width: of x.
        table: rows of the table, and their width.
        eps: of the norm.
        approximate: GELU's, "none" or "tanh".
        detached: whether the table learns nothing from here (MAGE, NAT).
    """

    def __init__(
        self,
        width: int,
        table: tuple[int, int],
        *,
        eps: float,
        approximate: str = "none",
        detached: bool = False,
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(width, table[1])
        self.act = nn.GELU(approximate)
        self.norm = nn.LayerNorm(table[1], eps=eps)
        self.bias = nn.Parameter(torch.zeros(table[0]))
        self.detached = detached

    def forward(
        self, x: Float[Tensor, "b n d"], table: Float[Tensor, "v e"]
    ) -> Float[Tensor, "b n v"]:
        """Return the logits."""
        table = table.detach() if self.detached else table
        return functional.linear(self.norm(self.act(self.dense(x))), table, self.bias)


def initialise(module: nn.Module, std: float = 0.02) -> None:
    """Draw all tables and matrices of a module from a normal cut off at 2 deviations; biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
