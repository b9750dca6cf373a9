"""NaVAE, ViTok's third form: pictures of any size and ratio, learned positions, squashed pixels.

    x <- x + Attention(LN(x)),  x <- x + MLP(LN(x))        pixels = tanh(linear(LN(x)))

Positions are a learned table that is resampled to each picture's grid. Two queries' heads may share
a head of keys and values, and tokens may look no further than a window along the row of tokens.
After the JAX code of philippe-eecs/vitok (May 2025); no weights are known to be at hand.
"""

from typing import Annotated, Any, ClassVar, Final, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

from mezzotint.config import part
from mezzotint.errors import DataError
from mezzotint.nn.embed import unpatch
from mezzotint.nn.gated import GatedMLP
from mezzotint.nn.resample import Filter, Lanczos, resampled
from mezzotint.noise import Noise
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig, Pass
from mezzotint.tokenizers.ragged import uniform_grid
from mezzotint.tokenizers.vitok_parts import Half, ragged_pairs

EPS: Final = 1e-6
GATED_RATIO: Final = 2.3


class NaVAEConfig(AutoencoderConfig):
    """Shape of a NaVAE.

    Attributes:
        patch: side of a patch.
        encoder, decoder: their blocks.
        places: rows and columns of the tables of positions.
        canvas: rows or columns of patches of the largest picture; null is as many as `places`.
        groups: heads of queries that share one of keys and values.
        window: how far a token looks along its row, to both sides; null is everywhere.
        gated: whether the MLPs are SwiGLU without biases; else they are GELU ones of ratio 4.
        resample: by which filter the tables are resampled.
        bias: whether the contrastive loss that it was trained beside has a second number.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = ragged_pairs()

    patch: int = Field(default=16, ge=1)
    encoder: Half
    decoder: Half
    places: int = Field(default=129, ge=1)
    canvas: PositiveInt | None = None
    groups: int = Field(default=2, ge=1)
    window: PositiveInt | None = 128
    gated: bool = True
    resample: Annotated[Filter, part("filter")] = Lanczos()
    bias: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for half in (self.encoder, self.decoder):
            if half.width % half.heads or half.heads % self.groups:
                raise ValueError(
                    f"width {half.width} must be a multiple of heads {half.heads}, and these of "
                    f"groups {self.groups}"
                )
        return self

    @property
    def stride(self) -> int:
        """Rows of an image over rows of its latent."""
        return self.patch

    def build(self) -> "NaVAE":
        """Make the network, freshly initialised."""
        return NaVAE(self)


class SharedAttention(nn.Module):
    """Softmax attention in which heads of queries share those of keys and values.

    Args:
        width: channels of a token.
        heads: heads of queries.
        groups: heads of queries to one of keys and values.
    """

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups = heads, groups
        self.q = nn.Linear(width, width)
        self.k, self.v = (nn.Linear(width, width // groups) for _ in "kv")
        self.out = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n n"] | None
    ) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each image; `mask` tells which (row) may look at which."""
        q, k, v = (
            project(tokens).unflatten(2, (heads, -1)).transpose(1, 2)
            for project, heads in (
                (self.q, self.heads),
                (self.k, self.heads // self.groups),
                (self.v, self.heads // self.groups),
            )
        )
        k, v = (each.repeat_interleave(self.groups, 1) for each in (k, v))
        seen = None if mask is None else mask[:, None]
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(mixed.transpose(1, 2).flatten(2))


class PlainBlock(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x)).

    Args:
        half: width and heads.
        config: groups, and what MLP.
    """

    def __init__(self, half: Half, config: NaVAEConfig) -> None:
        super().__init__()
        width = half.width
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=EPS) for _ in range(2))
        self.attn = SharedAttention(width, half.heads, config.groups)
        self.mlp: nn.Module = (
            GatedMLP(width, int(GATED_RATIO * width), gate="silu", bias=False)
            if config.gated
            else nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
            )
        )

    def forward(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n n"] | None
    ) -> Float[Tensor, "b n d"]:
        """Refine the tokens."""
        tokens = tokens + self.attn(self.norm1(tokens), mask)
        return tokens + self.mlp(self.norm2(tokens))


class RaggedTower(nn.Module):
    """Values to tokens, positions, blocks and a norm.

    Args:
        values: values that become a token.
        half: the blocks.
        config: what both towers share.
    """

    def __init__(self, values: int, half: Half, config: NaVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(values, half.width)
        places = config.places
        self.positions = nn.Parameter(torch.randn(places, places, half.width) / half.width**0.5)
        self.blocks = nn.ModuleList(PlainBlock(half, config) for _ in range(half.depth))
        self.norm = nn.LayerNorm(half.width, eps=EPS)

    def placed(self, row: Int[Tensor, "b n"], column: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Return the position of every token: the table, resampled to the grid of each picture.

        Raises:
            DataError: a picture has more rows or columns than there may be.
        """
        grids = torch.stack([row.amax(1), column.amax(1)], 1) + 1
        largest = self.config.canvas or self.config.places
        if int(grids.max()) > largest:
            raise DataError(
                f"a picture of {int(grids.max())} rows or columns of patches: this tokenizer has "
                f"{largest} places; shrink the picture"
            )
        found: dict[tuple[int, ...], Tensor] = {}
        for grid in {tuple(each) for each in grids.tolist()}:
            found[grid] = resampled(self.positions, (grid[0], grid[1]), self.config.resample)
        rows = [found[tuple(grid)][row[k], column[k]] for k, grid in enumerate(grids.tolist())]
        return torch.stack(rows)

    def forward(
        self,
        values: Float[Tensor, "b n f"],
        row: Int[Tensor, "b n"],
        column: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"] | None,
    ) -> Float[Tensor, "b n d"]:
        """Return the refined tokens; those that `mask` leaves out are not to be read."""
        tokens = self.embed(values) + self.placed(row, column)
        seen = self._seen(tokens, mask)
        for block in self.blocks:
            tokens = block(tokens, seen)
        return self.norm(tokens)

    def _seen(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> Bool[Tensor, "b n n"] | None:
        window, count = self.config.window, tokens.shape[1]
        if mask is None and (window is None or count <= window + 1):
            return None
        index = torch.arange(count, device=tokens.device)
        near = (index[:, None] - index).abs() <= (count if window is None else window)
        seen = near.expand(len(tokens), -1, -1)
        if mask is None:
            return seen
        seen = seen & mask[:, None, :] & mask[:, :, None]
        # A token that is none sees all, so that no row is empty: its value is not to be read.
        return seen | ~mask[:, :, None]


class NaVAE(Autoencoder):
    """The autoencoder; a fresh one has PyTorch's own initialisation, the release's is not known.

    Args:
        config: its shape.
    """

    FRONT = ("encoder.", "to_code.")

    config: NaVAEConfig

    def __init__(self, config: NaVAEConfig) -> None:
        super().__init__(config)
        pixels, values = config.channels * config.patch**2, config.latent_channels
        self.encoder = RaggedTower(pixels, config.encoder, config)
        self.to_code = nn.Linear(config.encoder.width, 2 * values)
        self.decoder = RaggedTower(values, config.decoder, config)
        self.pixels = nn.Linear(config.decoder.width, pixels)
        self.t = nn.Parameter(torch.zeros(1))  # of the contrastive loss, which is not here
        self.b = nn.Parameter(torch.zeros(1)) if config.bias else None

    # Rows of patches, of pictures of any size ---------------------------------------------------

    def codes_of(
        self,
        patches: Float[Tensor, "b n f"],
        row: Int[Tensor, "b n"],
        column: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n m"]:
        """Return mean and log-variance of every patch, whose values stand as (y, x, c)."""
        return self.to_code(self.encoder(patches, row, column, mask))

    def patches_of(
        self,
        z: Float[Tensor, "b n c"],
        row: Int[Tensor, "b n"],
        column: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n f"]:
        """Return the patches of latents, in (-1, 1)."""
        return self.pixels(self.decoder(z, row, column, mask)).tanh()

    # Maps, of pictures of one size --------------------------------------------------------------

    def encode(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b m h w"]:
        """Return codes as a map; the patch divides both sides of the images."""
        patch = self.config.patch
        cells = x.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (B, C, h, p, w, p)
        grid = (cells.shape[2], cells.shape[4])
        patches = cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        row, column = uniform_grid(len(x), grid, x)
        return self.codes_of(patches, row, column).transpose(1, 2).unflatten(2, grid)

    def draw(self, codes: Float[Tensor, "b m h w"], noise: Noise) -> Float[Tensor, "b z h w"]:
        """Draw from the Gaussians that codes describe; nothing is clamped here."""
        mean, log_variance = codes.chunk(2, dim=1)
        return mean + (0.5 * log_variance).exp() * noise(mean)

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Return images, in (-1, 1)."""
        grid = (z.shape[2], z.shape[3])
        row, column = uniform_grid(len(z), grid, z)
        return unpatch(
            self.patches_of(z.flatten(2).transpose(1, 2), row, column), grid, self.config.patch
        )

    def reconstruct(self, x: Float[Tensor, "b c H W"], noise: Noise) -> Pass:
        """Return images from drawn latents, and the mean divergence of a value."""
        codes = self.encode(x)
        mean, log_variance = codes.float().chunk(2, dim=1)
        each = mean.square() + log_variance.exp() - 1 - log_variance
        return Pass(self.decode(self.draw(codes, noise)), 0.5 * each.flatten(1).mean(1))


def pooled(
    tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
    """Return the mean of each picture's tokens, and the same at length 1."""
    mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return mean, normalize(mean, dim=1, eps=1e-8)


__all__ = ["NaVAE", "NaVAEConfig", "RaggedTower", "SharedAttention", "pooled"]
