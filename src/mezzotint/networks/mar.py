"""MAR: a masked autoencoder over continuous tokens, with a small denoiser for each token.

    z = Decoder(Encoder(slots(y), known tokens), mask tokens elsewhere)      p(token | z): the head

Attention is bidirectional; the class fills all of the leading slots. Li et al., "Autoregressive
Image Generation without Vector Quantization", arXiv 2406.11838.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, InstanceOf, model_validator
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.config import part
from mezzotint.networks.base import NetworkConfig
from mezzotint.networks.mar_context import MARContext, shown
from mezzotint.networks.token_mlp import TokenMLPConfig
from mezzotint.nn.embed import ClassEmbedding
from mezzotint.nn.initial import linear, xavier
from mezzotint.nn.transformer import Block, through


def _size(width: int, depth: int, heads: int, head: tuple[int, int]) -> dict[str, Any]:
    mlp = {"kind": "token-mlp", "depth": head[0], "width": head[1]}
    return {"width": width, "depth": depth, "heads": heads, "head": mlp}


class MARConfig(NetworkConfig):
    """Shape of a MAR.

    Attributes:
        width: channels of a token in the encoder, a multiple of `heads`.
        depth: blocks of the encoder.
        heads: attention heads of the encoder.
        head: the network of the diffusion head; `channels` and `condition` follow from the rest.
        decoder_width, decoder_depth, decoder_heads: those of the decoder; the encoder's by default.
        patch: side of a patch of x that makes a token; divides both sides of x.
        buffer: leading slots S that the class fills.
        mlp_ratio: hidden width of the MLPs over the width.
        attention_dropout: of the attention weights, in training.
        dropout: of the outputs of attention and of the MLPs' linear layers, in training.
    """

    over_tokens: ClassVar[bool] = True

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "B": _size(768, 12, 12, (6, 1024)),
        "L": _size(1024, 16, 16, (8, 1280)),
        "H": _size(1280, 20, 16, (12, 1536)),
    }

    width: int = Field(ge=1)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    head: Annotated[InstanceOf[TokenMLPConfig], part("network")]
    decoder_width: int | None = Field(default=None, ge=1)
    decoder_depth: int | None = Field(default=None, ge=1)
    decoder_heads: int | None = Field(default=None, ge=1)
    patch: int = Field(default=1, ge=1)
    buffer: int = Field(default=64, ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0)
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_head(cls, given: Any) -> Any:
        """Tell the head what it reads and writes, where it does not say so itself."""
        if not isinstance(given, Mapping) or not isinstance(given.get("head"), Mapping):
            return given
        known: dict[str, Any] = {}
        channels, patch = given.get("channels"), given.get("patch", 1)
        if isinstance(channels, int) and isinstance(patch, int):
            known["channels"] = channels * patch**2
        condition = given.get("decoder_width") or given.get("width")
        if isinstance(condition, int):
            known["condition"] = condition
        return {**given, "head": {**known, **given["head"]}}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, (width, _, heads) in {"": self.encoder, "decoder_": self.decoder}.items():
            if width % heads:
                raise ValueError(f"{name}width {width} must be a multiple of {name}heads {heads}")
        if any(side % self.patch for side in self.size):
            raise ValueError(f"patch {self.patch} must divide both sides of size {self.size}")
        wanted = {"channels": self.values, "condition": self.decoder[0]}
        for name, value in wanted.items():
            if getattr(self.head, name) != value:
                found = getattr(self.head, name)
                raise ValueError(f"head.{name} {found} must be {value}; leave it out")
        return self

    @property
    def encoder(self) -> tuple[int, int, int]:
        """Width, depth and heads of the encoder."""
        return self.width, self.depth, self.heads

    @property
    def decoder(self) -> tuple[int, int, int]:
        """Width, depth and heads of the decoder."""
        given = (self.decoder_width, self.decoder_depth, self.decoder_heads)
        width, depth, heads = (a or b for a, b in zip(given, self.encoder, strict=True))
        return width, depth, heads

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.size[0] // self.patch, self.size[1] // self.patch

    @property
    def length(self) -> int:
        """Tokens of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def values(self) -> int:
        """Values of a token."""
        return self.channels * self.patch**2

    def build(self) -> "MAR":
        """Make the network, freshly initialised."""
        return MAR(self)


class MAR(nn.Module):
    """Encoder and decoder over tokens, and the network of the diffusion head.

    Args:
        config: the shape.
    """

    def __init__(self, config: MARConfig) -> None:
        super().__init__()
        self.config = config
        self.null = self.num_classes = config.num_classes
        self.mask: int | None = None  # tokens are no codes
        self.latent = (config.channels, *config.size)
        self.length = config.length
        self.class_rows = ("label.table.weight",)
        places = config.buffer + self.length
        width, narrow = config.encoder[0], config.decoder[0]
        self.label = ClassEmbedding(config.num_classes, width)
        self.embed = nn.Linear(config.values, width)
        self.embed_norm = nn.LayerNorm(width, eps=1e-6)
        self.encoder_positions = nn.Parameter(torch.zeros(1, places, width))
        self.encoder = self._blocks(*config.encoder)
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, narrow)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, narrow))
        self.decoder_positions = nn.Parameter(torch.zeros(1, places, narrow))
        self.decoder = self._blocks(*config.decoder)
        self.decoder_norm = nn.LayerNorm(narrow, eps=1e-6)
        self.head_positions = nn.Parameter(torch.zeros(1, self.length, narrow))
        self._initialise()
        self.head = config.head.build()
        # The release lets nothing of the head decay.
        self.undecayed = tuple(f"head.{name}" for name, _ in self.head.named_parameters())

    def _blocks(self, width: int, depth: int, heads: int) -> nn.ModuleList:
        rates = (self.config.dropout, self.config.attention_dropout)
        hidden = int(width * self.config.mlp_ratio)
        return nn.ModuleList(_block(width, heads, hidden, *rates) for _ in range(depth))

    def tokens(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b l v"]:
        """Cut latents into tokens, row by row; inside a token the channel changes slowest."""
        return functional.pixel_unshuffle(x, self.config.patch).flatten(2).transpose(1, 2)

    def latents(self, tokens: Float[Tensor, "b l v"]) -> Float[Tensor, "b c h w"]:
        """Lay tokens back as latents; the inverse of `tokens`."""
        cells = tokens.transpose(1, 2).unflatten(2, self.config.grid)
        return functional.pixel_shuffle(cells, self.config.patch)

    def empty(self, batch: int) -> Float[Tensor, "b l v"]:
        """Return the tokens of images of which nothing is known yet."""
        return self.mask_token.new_zeros(batch, self.length, self.config.values)

    def forward(
        self, tokens: Float[Tensor, "b l v"], masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b l z"]:
        """Return the vector that each token is conditioned on; `prefill` without its context."""
        return self.prefill(tokens, masked, y)[0]

    def prefill(
        self, tokens: Float[Tensor, "b l v"], masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b l z"], MARContext]:
        """Look at all tokens.

        Args:
            tokens: values; those that are masked do not matter.
            masked: which are unknown, as many in every row.
            y: class indices in 0..K, where K is the null class.

        Returns:
            The vector that each token is conditioned on, and what `extend` needs.

        Raises:
            DataError: rows differ in how many are masked.
        """
        where = torch.arange(self.length, device=masked.device).expand(len(masked), -1)
        return self.look(tokens, masked, where, self._slots(y), None)

    def extend(
        self,
        tokens: Float[Tensor, "b l v"],
        masked: Bool[Tensor, "b l"],
        where: Int[Tensor, "b n"],
        context: MARContext,
        y: Int[Tensor, "b"],
    ) -> Float[Tensor, "b n z"]:
        """Look again at some tokens and the slots; all others are as they were.

        Args:
            tokens, masked, y: as in `prefill`, with what is known by now.
            where: places of the tokens to look at, without repetition.
            context: from the full pass.
        """
        return self.look(tokens, masked, where, self._slots(y), context)[0]

    def look(
        self,
        tokens: Float[Tensor, "b l v"],
        masked: Bool[Tensor, "b l"],
        where: Int[Tensor, "b n"],
        slots: Float[Tensor, "b s d"],
        context: MARContext | None,
    ) -> tuple[Float[Tensor, "b n z"], MARContext]:
        """Run slots and some tokens through encoder and decoder, with a context beside.

        Args:
            tokens, masked, where: as in `extend`.
            slots: entering vectors of the slots; without them, those of the context are seen.
            context: from a full pass; None where these are all tokens.
        """
        count, first = slots.shape[1], self.config.buffer
        around = (None, None) if context is None else context.without(where, count)
        visible = shown(masked.gather(1, where))  # (B, V) places in `where`
        known = where.gather(1, visible)
        entering = self.embed(_at(tokens, known)) + self.encoder_positions[0, first + known]
        queries = torch.cat([slots, self.embed_norm(entering)], dim=1)  # (B, S + V, E)
        encoded, inner = through(self.encoder, queries, around[0])
        features = self.decoder_embed(self.encoder_norm(encoded))
        hidden = self.mask_token.to(features.dtype).expand(*where.shape, -1)
        index = visible[..., None].expand(-1, -1, hidden.shape[2])
        filled = hidden.scatter(1, index, features[:, count:])  # (B, N, e)
        places = torch.cat([self._leading(slots), first + where], dim=1)
        queries = (
            torch.cat([features[:, :count], filled], dim=1) + self.decoder_positions[0, places]
        )
        decoded, outer = through(self.decoder, queries, around[1])
        z = self.decoder_norm(decoded)[:, count:] + self.head_positions[0, where]
        return z, MARContext(tuple(inner), tuple(outer), known, count)

    def _leading(self, slots: Float[Tensor, "b s d"]) -> Int[Tensor, "b s"]:
        return torch.arange(slots.shape[1], device=slots.device).expand(len(slots), -1)

    def _slots(self, y: Int[Tensor, "b"]) -> Float[Tensor, "b s d"]:
        """Return the leading slots, each with the vector of the class."""
        slots = self.label(y)[:, None] + self.encoder_positions[:, : self.config.buffer]
        return self.embed_norm(slots)

    def _initialise(self) -> None:
        """Draw the initial weights of the release; the head comes later and has its own."""
        xavier(linear(self))
        drawn = [self.encoder_positions, self.decoder_positions, self.head_positions]
        for parameter in (*drawn, self.mask_token, self.label.table.weight):
            nn.init.normal_(parameter, std=0.02)


def _block(width: int, heads: int, hidden: int, dropout: float, attention_dropout: float) -> Block:
    rates = {"dropout": dropout, "attention_dropout": attention_dropout}
    return Block(width, heads, hidden, qkv_bias=True, eps=1e-6, **rates)


def _at(rows: Float[Tensor, "b n d"], where: Int[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
    return rows.gather(1, where[..., None].expand(-1, -1, rows.shape[2]))
