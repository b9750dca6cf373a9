"""MAGE: an encoder of the codes that are seen, and a light decoder that restores all others.

    encoded = encoder([slot, seen codes])     x = decoder(encoded where seen, its slot elsewhere)

One network represents and generates. Li et al., "MAGE: MAsked Generative Encoder to Unify
Representation Learning and Image Synthesis", arXiv 2211.09117.
"""

from typing import Any, ClassVar, Final, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.networks.tokens import TiedHead, TokenConfig, TokenTransformer, initialise
from mezzotint.nn.attention import Kept, check_heads
from mezzotint.nn.transformer import Block, through

EPS: Final = 1e-6
_SPARE: Final = 1000  # rows of classes that nothing uses, but for the slot's
_SLOT: Final = 76  # the release's "fake class", counted from the first spare row
_PLACES: Final = 257
_ROWS: Final = {"codes": 1024, "size": (16, 16), "num_classes": 0, "spare": _SPARE}


class MAGEConfig(TokenConfig):
    """Shape of a MAGE.

    Attributes:
        depth, width, heads: of the encoder.
        decoder_depth, decoder_width, decoder_heads: of the decoder.
        hidden_ratio: hidden width of the MLPs over the width.
        spare: rows of the embedding table between codes and mask, at least 1 for the slot; the
            release has 1000 and uses the 77th.
        places: rows of the encoder's position table, at least 1 more than there are tokens; 257 in
            the release, whatever the size.
        unused: whether the network also holds the tensors that the release has and nothing uses.
        unused_patch, unused_channels: of those that read and write pixels.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "B": {
            **_ROWS,
            "width": 768,
            "depth": 12,
            "heads": 12,
            "decoder_width": 768,
            "decoder_depth": 8,
            "decoder_heads": 16,
        },
        "L": {
            **_ROWS,
            "width": 1024,
            "depth": 24,
            "heads": 16,
            "decoder_width": 1024,
            "decoder_depth": 8,
            "decoder_heads": 16,
        },
    }

    depth: int = Field(ge=1)
    width: int = Field(ge=2)
    heads: int = Field(ge=1)
    decoder_depth: int = Field(ge=1)
    decoder_width: int = Field(ge=2)
    decoder_heads: int = Field(ge=1)
    hidden_ratio: float = Field(default=4.0, gt=0)
    spare: int = Field(default=1, ge=1)
    places: int = Field(default=_PLACES, ge=2)
    unused: bool = False
    unused_patch: int = Field(default=16, ge=1)
    unused_channels: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_heads(self.width, self.heads)
        check_heads(self.decoder_width, self.decoder_heads)
        if self.places < 1 + self.length:
            raise ValueError(f"places {self.places}: {self.length} tokens and a slot need more")
        return self

    @property
    def null(self) -> int | None:
        """The label after the last class; None where there are no classes."""
        return self.num_classes or None

    @property
    def rows(self) -> int:
        """Rows of the embedding table."""
        return self.codes + self.spare + 1

    @property
    def mask(self) -> int:
        """The mask's row, the last."""
        return self.rows - 1

    @property
    def slot(self) -> int:
        """The row of the slot before the tokens."""
        return self.codes + min(_SLOT, self.spare - 1)

    def build(self) -> "MAGE":
        """Make the network, freshly initialised."""
        return MAGE(self)


class Unused(nn.Module):
    """Tensors that the release has and nothing uses."""

    def __init__(self, config: MAGEConfig) -> None:
        super().__init__()
        width, inner, patch = config.width, config.decoder_width, config.unused_patch
        self.patches = nn.Conv2d(config.unused_channels, width, patch, stride=patch)
        self.pixels = nn.Linear(inner, config.unused_channels * patch**2)
        self.slot = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.length, width))
        self.decoder_positions = nn.Parameter(torch.zeros(1, 1 + config.length, inner))
        self.mask = nn.Parameter(torch.zeros(1, 1, inner))


class MAGE(TokenTransformer):
    """Encoder and decoder.

    With classes the decoder is told the class by a token of its own, which has no position: an
    extension that is ours, after what MAR's paper says of MAGE's conditional variant; its code was
    not released. The release's dropout of 0.1 in training is left out.

    Args:
        config: the shape.
    """

    drops = True

    def __init__(self, config: MAGEConfig) -> None:
        super().__init__(config, leading=1)
        self.config = config
        width, inner = config.width, config.decoder_width
        self.words = nn.Embedding(config.rows, width)
        self.positions = nn.Embedding(config.places, width)
        self.word_norm = nn.LayerNorm(width, eps=EPS)
        self.encoder = _stack(config.depth, width, config.heads, config.hidden_ratio)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.bridge = nn.Linear(width, inner)
        self.decoder_positions = nn.Parameter(torch.zeros(1, 1 + config.length, inner))
        self.decoder = _stack(
            config.decoder_depth, inner, config.decoder_heads, config.hidden_ratio
        )
        self.decoder_norm = nn.LayerNorm(inner, eps=EPS)
        self.head = TiedHead(inner, (config.rows, width), eps=1e-5, detached=True)
        if config.num_classes:
            self.labels = nn.Embedding(config.num_classes + 1, inner)
            self.class_rows = ("labels.weight",)
        self.unused = Unused(config).requires_grad_(requires_grad=False) if config.unused else None
        self._initialise()

    def encode(
        self, ids: Int[Tensor, "b n"], where: Int[Tensor, "b n"], kept: list[Kept] | None = None
    ) -> tuple[Float[Tensor, "b m d"], list[Kept]]:
        """Return what the encoder makes of the slot and of some codes, the slot first.

        Args:
            ids: codes, `mask` where they are masked.
            where: their places; what is at none of them is not seen at all.
            kept: keys and values of the others.
        """
        slot = torch.full_like(ids[:, :1], self.config.slot)
        ids = torch.cat([slot, ids], dim=1)
        x = self.words(ids) + self.positions(torch.cat([torch.zeros_like(slot), 1 + where], dim=1))
        x, own = through(self.encoder, self.word_norm(x), kept)
        return self.norm(x), own

    def decode(
        self,
        encoded: Float[Tensor, "b m d"],
        seen: Int[Tensor, "b s"],
        masked: Bool[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None = None,
    ) -> tuple[Float[Tensor, "b n v"], list[Kept]]:
        """Return logits of the whole table at some places, and keys and values of the decoder.

        Args:
            encoded: the slot's features, and those of what was seen.
            seen: where among the places asked that is.
            masked: places whose features are not looked at, but replaced by the slot's.
            where: the places asked.
            y: labels; without classes nothing looks at them.
            kept: keys and values of the others.
        """
        x, own = self.decoded(encoded, seen, masked, where, y, kept)
        return self.head(x[:, 1:], self.words.weight), own

    def decoded(
        self,
        encoded: Float[Tensor, "b m d"],
        seen: Int[Tensor, "b s"],
        masked: Bool[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None = None,
    ) -> tuple[Float[Tensor, "b k e"], list[Kept]]:
        """Return what leaves the decoder for the slot and for the places asked."""
        inner = self.bridge(encoded)
        slot = inner[:, :1]
        x = slot.expand(-1, where.shape[1], -1)
        x = x.scatter(1, seen[..., None].expand(-1, -1, x.shape[2]), inner[:, 1:])
        x = torch.where(masked[..., None], slot, x)
        slots = torch.cat([torch.zeros_like(where[:, :1]), 1 + where], dim=1)
        x = torch.cat([slot, x], dim=1) + self.decoder_positions[0, slots]
        told = [self.labels(y)[:, None]] if self.num_classes else []
        x, own = through(self.decoder, torch.cat([*told, x], dim=1), kept)
        return self.decoder_norm(x[:, len(told) :]), own

    def asked(
        self,
        ids: Int[Tensor, "b n"],
        where: Int[Tensor, "b n"],
        y: Int[Tensor, "b"],
        kept: list[Kept] | None,
    ) -> tuple[Float[Tensor, "b n k"], list[Kept]]:
        """Return logits of the codes at some places, and keys and values of both stacks."""
        cut = len(self.encoder)
        encoded, first = self.encode(ids, where, kept and kept[:cut])
        every = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
        masked = ids == self.mask
        logits, last = self.decode(encoded, every, masked, where, y, kept and kept[cut:])
        if self.num_classes:
            # The class's token, which stands in the decoder alone, is asked in every pass.
            last = [(keys[:, :, 1:], values[:, :, 1:]) for keys, values in last]
        return logits[..., : self.codes], first + last

    def restored(
        self,
        tokens: Int[Tensor, "b l"],
        dropped: Bool[Tensor, "b l"],
        masked: Bool[Tensor, "b l"],
        y: Int[Tensor, "b"],
    ) -> Float[Tensor, "b l v"]:
        """Return the logits of pre-training, in which the encoder does not see some places at all.

        Args:
            tokens: codes.
            dropped: places that the encoder does not see; as many in each image.
            masked: places that the decoder restores, the dropped ones among them.
            y: labels.
        """
        seen = (~dropped).nonzero()[:, 1].view(len(tokens), -1)
        encoded, _ = self.encode(self.ids(tokens, masked).gather(1, seen), seen)
        where = torch.arange(self.length, device=tokens.device).expand(len(tokens), -1)
        return self.decode(encoded, seen, masked, where, y)[0]

    def forward(
        self,
        tokens: Int[Tensor, "b l"],
        masked: Bool[Tensor, "b l"],
        y: Int[Tensor, "b"],
        dropped: Bool[Tensor, "b l"] | None = None,
    ) -> Float[Tensor, "b l k"]:
        """Return the logits of the codes at all places; see `restored` on what is dropped."""
        if dropped is None:
            return super().forward(tokens, masked, y)
        return self.restored(tokens, dropped, masked, y)[..., : self.codes]

    def represented(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """Return the features of images for a linear probe: the mean over encoded codes."""
        where = torch.arange(self.length, device=tokens.device).expand(len(tokens), -1)
        return self.encode(tokens.long(), where)[0][:, 1:].mean(1)

    def _initialise(self) -> None:
        """Draw the release's weights: tables N(0, 0.02^2), matrices after Xavier, biases 0."""
        initialise(self)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.decoder_positions, std=0.02)


def _stack(depth: int, width: int, heads: int, ratio: float) -> nn.ModuleList:
    hidden = int(width * ratio)
    return nn.ModuleList(Block(width, heads, hidden, qkv_bias=True, eps=EPS) for _ in range(depth))
