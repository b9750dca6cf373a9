"""ViTok: an autoencoder of transformer blocks alone, for images and video.

    tokens = blocks(patches(x))      codes = linear(tokens), c a token     x = patches^-1(blocks(z))

What counts is E = tokens x c, the floats of a latent. Hansen-Estruch et al., "Learnings from
Scaling Visual Tokenizers for Reconstruction and Generation", arXiv 2501.09755, as in its first
release: gated GELU, rotary angles by the flattened index; what its text says instead is an option.
"""

import math
from typing import Annotated, Any, ClassVar, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from mezzotint.config import part
from mezzotint.errors import ConfigError, DataError
from mezzotint.nn.attention import check_heads
from mezzotint.nn.gated import Gate
from mezzotint.nn.initial import linear, xavier
from mezzotint.noise import Noise, even
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig, Pass
from mezzotint.tokenizers.kl import mean_divergence, moments
from mezzotint.tokenizers.places import ByIndex, Grid, Rotary, Table
from mezzotint.tokenizers.vitok_parts import (
    MLP_RATIO,
    Half,
    Tower,
    codes_of,
    pairs_of_halves,
    tables_of,
)


class ViTokConfig(AutoencoderConfig):
    """Shape of a ViTok.

    Attributes:
        latent_channels: c, floats a token.
        size: rows and columns of an image; without tables it takes others.
        frames: of a clip; 1 is an image.
        patch, tubelet: rows and columns, and frames, of what becomes a token.
        encoder, decoder: their blocks.
        kl: whether a code is a Gaussian; otherwise it is the latent itself.
        codes: tokens of a latent that has no grid (Latent ViTok); null is a token a patch.
        table: added to the tokens, or null.
        rotary: by what queries and keys turn.
        gate: of the MLPs; the paper's text says silu.
        mlp_ratio: hidden width of the MLPs over that of a token.
        budgets: numbers of tokens that training leaves of a latent, one drawn an image; the others
            become the mask token.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = pairs_of_halves()

    latent_channels: int = Field(default=16, ge=1)
    size: int = Field(default=256, ge=1)
    frames: int = Field(default=1, ge=1)
    patch: int = Field(default=16, ge=1)
    tubelet: int = Field(default=1, ge=1)
    encoder: Half
    decoder: Half
    kl: bool = True
    codes: PositiveInt | None = None
    table: Annotated[Table | None, part("table")] = None
    rotary: Annotated[Rotary, part("rotary")] = ByIndex()
    gate: Gate = "gelu"
    mlp_ratio: float = Field(default=MLP_RATIO, gt=0)
    budgets: tuple[PositiveInt, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.grid(self.size)
        for half in (self.encoder, self.decoder):
            check_heads(half.width, half.heads)
            head, parts = half.width // half.heads, self.rotary.parts()
            if head % parts:
                raise ValueError(
                    f"heads of {head} channels cannot be turned: not {parts} by {parts}"
                )
            if self.table and half.width % self.table.parts():
                raise ValueError(
                    f"table: width {half.width} is no multiple of {self.table.parts()}"
                )
        if self.rotary.flat() and (self.codes or self.frames > self.tubelet):
            raise ValueError("rotary: rows and columns do not tell frames or codes; use by-index")
        if self.codes and not self.table:
            raise ValueError("codes: without a grid the decoder needs a table")
        if max(self.budgets, default=0) > self.length:
            raise ValueError(f"budgets {self.budgets}: a latent has {self.length} tokens")
        return self

    @property
    def stride(self) -> int:
        """Rows of an image over rows of its latent."""
        return self.patch

    @property
    def length(self) -> int:
        """Tokens of a latent."""
        return self.codes or math.prod(self.grid(self.size))

    @property
    def floats(self) -> int:
        """E, the floats of a latent."""
        return self.length * self.latent_channels

    def grid(self, size: int) -> Grid:
        """Return frames, rows and columns of the tokens of an image or clip.

        Raises:
            ConfigError: they do not come out whole, or the tables are of another size.
        """
        if self.frames % self.tubelet:
            raise ConfigError(
                f"frames {self.frames} is not a multiple of tubelet {self.tubelet}; choose clips "
                "of another length"
            )
        if self.table and size != self.size:
            raise ConfigError(
                f"size {size}: the tables of this tokenizer are of {self.size} px; choose images "
                "of that size, or a tokenizer without tables"
            )
        side = self.rows(size)
        return self.frames // self.tubelet, side, side

    def latent(self, size: int) -> tuple[int, int, int]:
        """Return channels, rows and columns of a latent; the rows of frames one under another."""
        frames, rows, columns = self.grid(size)
        place = (1, self.codes) if self.codes else (frames * rows, columns)
        return self.latent_channels, *place

    def image(self, size: int) -> tuple[int, int]:
        """Return rows and columns of an image; a clip's frames stand one under another."""
        return self.frames * size, size

    def build(self) -> "ViTok":
        """Make the network, freshly initialised."""
        return ViTok(self)


class ViTok(Autoencoder):
    """The autoencoder; a fresh one has the release's initialisation.

    Args:
        config: its shape.
    """

    FRONT = ("patches.", "encoder.", "to_code.", "table", "code")

    config: ViTokConfig

    def __init__(self, config: ViTokConfig) -> None:
        super().__init__(config)
        wide, deep, values = config.encoder.width, config.decoder.width, config.latent_channels
        kernel = (config.tubelet, config.patch, config.patch)
        self.patches = nn.Conv3d(config.channels, wide, kernel, kernel)
        shared = {name: getattr(config, name) for name in ("mlp_ratio", "gate", "rotary")}
        self.encoder = Tower(config.encoder, **shared)
        self.to_code = nn.Linear(wide, (1 + config.kl) * values)
        self.from_code = nn.Linear(values, deep)
        self.decoder = Tower(config.decoder, **shared)
        self.pixels = nn.ConvTranspose3d(deep, config.channels, kernel, kernel)
        grid, both = config.grid(config.size), (config.encoder, config.decoder)
        self.table, self.decoder_table = tables_of(config.table, grid, both)
        self.code = codes_of(config.codes, wide)
        self.mask = nn.Parameter(torch.zeros(1, 1, values)) if config.budgets else None
        self._initialise()

    # Tokens, for images and clips -------------------------------------------------------------

    def codes_of(self, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n m"]:
        """Return the code of every token: means and, with kl, log-variances.

        Args:
            clips: in [-1, 1]; images are clips of one frame.
        """
        cells = self.patches(clips)
        grid: Grid = tuple(cells.shape[2:])
        tokens = cells.flatten(2).transpose(1, 2)  # (B, L, D)
        tokens = tokens if self.table is None else tokens + self.table
        if self.code is None:
            return self.to_code(self.encoder(tokens, grid, 0))
        front = self.code.expand(len(tokens), -1, -1)
        count = front.shape[1]
        return self.to_code(self.encoder(torch.cat([front, tokens], 1), grid, count)[:, :count])

    def clips_of(self, z: Float[Tensor, "b n c"], grid: Grid) -> Float[Tensor, "b 3 t h w"]:
        """Return the clips of latents, about in [-1, 1].

        Args:
            z: a latent a token.
            grid: frames, rows and columns of the tokens of a clip.
        """
        tokens, before = self.from_code(z), 0
        if self.code is not None:
            assert self.decoder_table is not None, "the config has seen to it"
            before = tokens.shape[1]
            places = self.decoder_table[:, : math.prod(grid)]
            tokens = torch.cat([tokens, places.expand(len(z), -1, -1)], 1)
        elif self.decoder_table is not None:
            tokens = tokens + self.decoder_table[:, : tokens.shape[1]]  # of a shorter clip
        tokens = self.decoder(tokens, grid, before)[:, before:]
        return self.pixels(tokens.transpose(1, 2).unflatten(2, grid))

    def shortened(
        self, z: Float[Tensor, "b ..."], counts: Int[Tensor, "b"] | int
    ) -> Float[Tensor, "b ..."]:
        """Put the mask token in the place of all tokens from number `counts` on.

        Args:
            z: latents, as rows of tokens (b, n, c) or as maps (b, c, h, w).
            counts: tokens that stay, one number or one an image.

        Raises:
            ConfigError: it was not made for that.
        """
        if self.mask is None:
            raise ConfigError("this tokenizer has no mask token; train one with budgets")
        if z.dim() == 4:
            tokens = self.shortened(z.flatten(2).transpose(1, 2), counts)
            return tokens.transpose(1, 2).unflatten(2, tuple(z.shape[2:]))
        counts = torch.as_tensor(counts, device=z.device).reshape(-1, 1, 1)
        index = torch.arange(z.shape[1], device=z.device)[None, :, None]
        return torch.where(index < counts, z, self.mask.to(z.dtype))

    # Maps, as a generator sees them -----------------------------------------------------------

    def encode(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b m h w"]:
        """Return codes as a map; the frames of a clip stand one under another, in both.

        Raises:
            DataError: images that patches do not cover, or clips of another length.
        """
        clips = self._clips(x)
        codes = self.codes_of(clips)
        rows = 1 if self.code is not None else clips.shape[2] // self.config.tubelet
        rows *= 1 if self.code is not None else clips.shape[3] // self.config.patch
        return codes.transpose(1, 2).unflatten(2, (rows, -1))

    def draw(self, codes: Float[Tensor, "b m h w"], noise: Noise) -> Float[Tensor, "b z h w"]:
        """Draw from the Gaussians that codes describe; without kl they are the latents."""
        if not self.config.kl:
            return codes
        mean, log_variance = moments(codes)
        return mean + (0.5 * log_variance).exp() * noise(mean)

    def trimmed(self, z: Float[Tensor, "b z h w"], noise: Noise) -> Float[Tensor, "b z h w"]:
        """Leave a number of tokens that is drawn for each image from the budgets."""
        if not self.config.budgets:
            return z
        budgets = torch.tensor(self.config.budgets)
        share = (even(torch.empty(len(z), 1), noise).flatten() + 1) / 2
        return self.shortened(z, budgets[(share * len(budgets)).long().clamp(max=len(budgets) - 1)])

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Return images, or the frames of clips one under another."""
        frames = self.config.frames // self.config.tubelet
        rows, columns = z.shape[2] // frames, z.shape[3]
        if self.code is not None:
            _, rows, columns = self.config.grid(self.config.size)
        clips = self.clips_of(z.flatten(2).transpose(1, 2), (frames, rows, columns))
        return clips.flatten(2, 3)

    def reconstruct(self, x: Float[Tensor, "b c H W"], noise: Noise) -> Pass:
        """Return images from drawn latents, cut to a budget, and the mean divergence of a value."""
        codes = self.encode(x)
        images = self.decode(self.trimmed(self.draw(codes, noise), noise))
        penalty = mean_divergence(codes) if self.config.kl else codes.new_zeros(len(codes))
        return Pass(images, penalty)

    def _clips(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c t h w"]:
        config = self.config
        height, width = x.shape[2] // config.frames, x.shape[3]
        whole = height % config.patch == 0 and width % config.patch == 0
        fixed = config.table is not None and (height, width) != (config.size, config.size)
        # Frames are square here: else a clip of another length could pass for one of other rows.
        length = config.frames > 1 and (x.shape[2] % config.frames != 0 or height != width)
        if length or not whole or fixed:
            clip = f"clips of {config.frames} frames, each" if config.frames > 1 else "images of"
            sides = config.size if fixed else f"multiples of {config.patch}"
            raise DataError(
                f"{width} x {x.shape[2]} values: expected {clip} {sides} rows and columns; crop "
                "or resize them, or take another tokenizer"
            )
        return x.unflatten(2, (config.frames, height))

    @torch.no_grad()
    def _initialise(self) -> None:
        xavier(linear(self))
        nn.init.xavier_uniform_(self.patches.weight.flatten(1))


__all__ = ["ViTok", "ViTokConfig"]
