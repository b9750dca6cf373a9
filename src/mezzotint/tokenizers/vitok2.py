"""ViTok-v2: pictures of any size, no divergence: codes of length 1 a channel are the latents.

    x <- x + s (Attention(RMS(x)) + MLP(RMS(x)))        z = LN(linear(x)), without affine

One norm before attention and MLP side by side; queries and keys are normalised and turned by row
and column. After the release of its author, Na-VAE/vitok-release (2026).
"""

from typing import Any, ClassVar, Final, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from mezzotint.nn.attention import attend
from mezzotint.nn.gated import GatedMLP
from mezzotint.nn.rotary import turned
from mezzotint.noise import Noise
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig, Pass
from mezzotint.tokenizers.ragged import Ragged, uniform_grid
from mezzotint.tokenizers.vitok_parts import MLP_RATIO, Half

EPS: Final = 1e-6
SCALE: Final = 1e-4
LETTERS: Final[dict[str, dict[str, int]]] = {
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1024, "depth": 24, "heads": 16},
    "G": {"width": 1728, "depth": 32, "heads": 24},
    "T": {"width": 3072, "depth": 40, "heads": 24},
    "E": {"width": 4096, "depth": 48, "heads": 32},
}
_RELEASED: Final = {"350M": ("L", "L", 24), "5B": ("T", "T", 40)}
_BOTTLENECKS: Final = {
    "350M": ((16, 16), (16, 32), (16, 64)),
    "5B": ((16, 16), (16, 32), (16, 64), (32, 64), (32, 128), (32, 256)),
}


class ViTok2Config(AutoencoderConfig):
    """Shape of a ViTok-v2.

    Attributes:
        patch: side of a patch.
        encoder, decoder: their blocks; a head has a multiple of 4 channels.
        mlp_ratio: about the hidden width of the MLPs over that of a token.
        theta: the rotary frequencies run from 1 to about 1 / theta.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        f"{size}-f{patch}x{channels}": {
            "encoder": {**LETTERS[_RELEASED[size][0]], "depth": 4},
            "decoder": LETTERS[_RELEASED[size][1]],
            "patch": patch,
            "latent_channels": channels,
        }
        for size, pairs in _BOTTLENECKS.items()
        for patch, channels in pairs
    }

    patch: int = Field(default=16, ge=1)
    encoder: Half
    decoder: Half
    mlp_ratio: float = Field(default=MLP_RATIO, gt=0)
    theta: float = Field(default=10000.0, gt=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for half in (self.encoder, self.decoder):
            if half.width % (4 * half.heads):
                raise ValueError(f"width {half.width} must be a multiple of 4 x heads {half.heads}")
        return self

    @property
    def stride(self) -> int:
        """Rows of an image over rows of its latent."""
        return self.patch

    def hidden(self, half: Half) -> int:
        """Return the hidden width of an MLP, the nearest multiple of 16."""
        return (int(self.mlp_ratio * half.width) + 8) // 16 * 16

    def build(self) -> "ViTok2":
        """Make the network, freshly initialised."""
        return ViTok2(self)


class NormedAttention(nn.Module):
    """Softmax attention of normalised queries and keys, turned by their places; no biases.

    Args:
        width: channels of a token.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = nn.RMSNorm(width // heads, eps=EPS)
        self.norm_k = nn.RMSNorm(width // heads, eps=EPS)
        self.proj = nn.Linear(width, width, bias=False)

    def forward(
        self,
        tokens: Float[Tensor, "b n d"],
        angles: Float[Tensor, "b 1 n p"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Mix the tokens of each image.

        Args:
            tokens: of each image.
            angles: see `turned`; the same for all heads.
            mask: which tokens may be looked at; all by default.
        """
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1))  # (B, N, 3, H, D/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, D/H) each
        q = turned(self.norm_q(q), angles).to(v.dtype)
        k = turned(self.norm_k(k), angles).to(v.dtype)
        if mask is None:
            mixed = attend(q, k, v)
        else:
            mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
            mixed = mixed * mask[:, None, :, None]  # what is no token sees nothing either
        return self.proj(mixed.transpose(1, 2).flatten(2))


class ParallelBlock(nn.Module):
    """x + s (Attention(RMS(x)) + MLP(RMS(x))), s a vector that is small at first.

    Args:
        half: width and heads.
        hidden: hidden width of the MLP.
    """

    def __init__(self, half: Half, hidden: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(half.width, eps=EPS)
        self.attn = NormedAttention(half.width, half.heads)
        self.mlp = GatedMLP(half.width, hidden, gate="silu", bias=False)
        self.scale = nn.Parameter(torch.full((half.width,), SCALE))

    def forward(
        self,
        tokens: Float[Tensor, "b n d"],
        angles: Float[Tensor, "b 1 n p"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Refine the tokens."""
        normed = self.norm(tokens)
        return tokens + self.scale * (self.attn(normed, angles, mask) + self.mlp(normed))


class ViTok2(Autoencoder):
    """The autoencoder; a fresh one has PyTorch's own initialisation, the release's is not known.

    Args:
        config: its shape.
    """

    FRONT = ("patches.", "encoder.", "to_code.")

    config: ViTok2Config

    def __init__(self, config: ViTok2Config) -> None:
        super().__init__(config)
        wide, deep, values = config.encoder.width, config.decoder.width, config.latent_channels
        pixels = config.channels * config.patch**2
        self.patches = nn.Linear(pixels, wide)
        self.encoder = _blocks(config.encoder, config)
        self.to_code = nn.Linear(wide, values)
        self.from_code = nn.Linear(values, deep)
        self.decoder = _blocks(config.decoder, config)
        self.pixels = nn.Linear(deep, pixels)

    # Rows of patches, of pictures of any size ---------------------------------------------------

    def codes_of(
        self,
        patches: Float[Tensor, "b n f"],
        row: Int[Tensor, "b n"],
        column: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Return the latent of every patch.

        Args:
            patches: values in [-1, 1], channel by channel.
            row, column: their places.
            mask: which patches there are. Without one all are looked at, the filling of shorter
                rows too, as the release does with its fast attention.
        """
        tokens, angles = self.patches(patches), self.angles(row, column, self.config.encoder)
        for block in self.encoder:
            tokens = block(tokens, angles, mask)
        codes = self.to_code(tokens).float()
        return layer_norm(codes, codes.shape[-1:], eps=EPS)

    def patches_of(
        self,
        z: Float[Tensor, "b n c"],
        row: Int[Tensor, "b n"],
        column: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n f"]:
        """Return the patches of latents; arguments as for `codes_of`."""
        tokens, angles = self.from_code(z), self.angles(row, column, self.config.decoder)
        for block in self.decoder:
            tokens = block(tokens, angles, mask)
        return self.pixels(tokens)

    def angles(
        self, row: Int[Tensor, "b n"], column: Int[Tensor, "b n"], half: Half
    ) -> Float[Tensor, "b 1 n p"]:
        """Return angles by row, then by column, half of a head's pairs each."""
        quarter = half.width // half.heads // 4
        k = torch.arange(quarter, dtype=torch.float32, device=row.device)
        rates = self.config.theta ** -(k / quarter)
        return torch.cat([row[..., None] * rates, column[..., None] * rates], 2)[:, None]

    def restored(self, ragged: Ragged, *, masked: bool = True) -> Float[Tensor, "b n f"]:
        """Return patches as they come back; see `mezzotint.tokenizers.ragged`."""
        mask = ragged.mask if masked else None
        z = self.codes_of(ragged.patches, ragged.row, ragged.column, mask)
        return self.patches_of(z, ragged.row, ragged.column, mask)

    # Maps, of pictures of one size --------------------------------------------------------------

    def encode(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b z h w"]:
        """Return latents as a map; the patch divides both sides of the images."""
        patch = self.config.patch
        cells = nn.functional.pixel_unshuffle(x, patch)  # (B, c p p, h, w)
        grid = (cells.shape[2], cells.shape[3])
        row, column = uniform_grid(len(x), grid, x)
        codes = self.codes_of(cells.flatten(2).transpose(1, 2), row, column)
        return codes.transpose(1, 2).unflatten(2, grid)

    def draw(
        self,
        codes: Float[Tensor, "b z h w"],
        noise: Noise,  # noqa: ARG002 (nothing is drawn here; other tokenizers do)
    ) -> Float[Tensor, "b z h w"]:
        """Return the codes: they are the latents."""
        return codes

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Return images, about in [-1, 1]."""
        grid = (z.shape[2], z.shape[3])
        row, column = uniform_grid(len(z), grid, z)
        patches = self.patches_of(z.flatten(2).transpose(1, 2), row, column)
        cells = patches.transpose(1, 2).unflatten(2, grid)
        return nn.functional.pixel_shuffle(cells, self.config.patch)

    def reconstruct(self, x: Float[Tensor, "b c H W"], noise: Noise) -> Pass:
        """Return images as they come back; the norm leaves nothing of the codes to penalise."""
        codes = self.encode(x)
        return Pass(self.decode(self.draw(codes, noise)), codes.new_zeros(len(codes)))


def _blocks(half: Half, config: ViTok2Config) -> nn.ModuleList:
    return nn.ModuleList(ParallelBlock(half, config.hidden(half)) for _ in range(half.depth))


__all__ = ["LETTERS", "NormedAttention", "ParallelBlock", "ViTok2", "ViTok2Config"]
