"""What a tokenizer is, and the one that does nothing but scale pixels.

    codes = encode(images)         deterministic; what a latent cache stores
    latents = latents(codes)       drawn, shifted and scaled; what a generator sees
    images = decode(latents)

Only images are uint8; floats in [-1, 1] exist inside a tokenizer alone.
"""

import hashlib
import json
from typing import Protocol, Self

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from mezzotint.config import Config
from mezzotint.noise import Noise


class LatentSpec(Config):
    """What a tokenizer turns images into.

    Attributes:
        shape: channels, rows and columns of a latent.
        image: rows and columns of the image.
        fingerprint: digest of the tokenizer's config and weights.
    """

    shape: tuple[int, int, int]
    image: tuple[int, int]
    fingerprint: str


class Tokenizer(Protocol):
    """A map from images to latents and back."""

    @property
    def spec(self) -> LatentSpec:
        """What the latents look like."""
        ...

    def encode(self, images: UInt8[Tensor, "b 3 H W"]) -> Tensor:
        """Return deterministic codes, as a cache stores them."""
        ...

    def latents(self, codes: Tensor, noise: Noise) -> Float[Tensor, "b c h w"]:
        """Draw latents from codes, shifted and scaled to about unit size."""
        ...

    def decode(self, latents: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b 3 H W"]:
        """Return images."""
        ...

    def floats(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Return images in [-1, 1], before they are rounded: a gradient passes through."""
        ...


class TokenizerConfig(Config):
    """Base of the tokenizers' configs."""

    def build(self) -> Tokenizer:
        """Make the tokenizer."""
        raise NotImplementedError

    def pinned(self) -> Self:
        """Return itself with what it takes to know the very same tokenizer again."""
        return self


class Pixels(TokenizerConfig):
    """The identity of pixel-space models: x = image / 127.5 - 1.

    Attributes:
        size: rows and columns of the image.
    """

    size: int = Field(ge=1)

    def build(self) -> "Pixels":
        """Return itself: there is nothing to make."""
        return self

    @property
    def spec(self) -> LatentSpec:
        """Three channels, as large as the image."""
        digest = hashlib.sha256(json.dumps(["pixels", self.size]).encode()).hexdigest()
        side = self.size
        return LatentSpec(shape=(3, side, side), image=(side, side), fingerprint=digest[:16])

    def encode(self, images: UInt8[Tensor, "b 3 H W"]) -> UInt8[Tensor, "b 3 H W"]:
        """Return the images: pixels are their own codes."""
        return images

    def latents(
        self,
        codes: UInt8[Tensor, "b 3 H W"],
        noise: Noise,  # noqa: ARG002 (nothing is drawn here; other tokenizers do)
    ) -> Float[Tensor, "b 3 H W"]:
        """Scale pixels to [-1, 1]."""
        return floats(codes)

    def decode(self, latents: Float[Tensor, "b 3 H W"]) -> UInt8[Tensor, "b 3 H W"]:
        """Round back to pixels."""
        return pixels(latents)

    def floats(self, latents: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """Return the latents, which are the images."""
        return latents


def floats(images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Scale pixels to [-1, 1]."""
    return images.float() / 127.5 - 1


def pixels(x: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    """Round floats in [-1, 1] to pixels; what lies outside is clamped."""
    return (x.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
