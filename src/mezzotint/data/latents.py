"""Training on latents instead of images: a cache of `mezzotint encode`, or one of other projects.

    images -> encode -> cache -> draw, shift, scale -> what a generator sees

What is cached is deterministic; latents are drawn late, so every epoch draws anew.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from pydantic import Field
from torch import Tensor

from mezzotint.config import load
from mezzotint.data.cache import HELD_OUT, MANIFEST, LatentCache, open_cache, read_manifest
from mezzotint.data.foreign import find
from mezzotint.data.images import Data, Images, Mirror
from mezzotint.errors import ConfigError, DataError
from mezzotint.noise import Noise
from mezzotint.tokenizers.base import LatentSpec, Tokenizer

Meaning = Callable[[Tokenizer, Tensor, Noise], Tensor]
"""From a tokenizer, what is stored, and noise, to latents."""


def as_codes(tokenizer: Tokenizer, stored: Tensor, noise: Noise) -> Tensor:
    """Take what is stored for codes, from which latents are drawn."""
    return tokenizer.latents(stored, noise)


def as_latents(
    tokenizer: Tokenizer,  # noqa: ARG001 (nothing is left to do)
    stored: Tensor,
    noise: Noise,  # noqa: ARG001
) -> Tensor:
    """Take what is stored for latents, drawn and scaled already."""
    return stored


@dataclass(frozen=True)
class Cached:
    """A tokenizer whose encoding has been done before.

    Attributes:
        inner: the tokenizer.
        meaning: what is stored.
    """

    inner: Tokenizer
    meaning: Meaning = as_codes

    @property
    def spec(self) -> LatentSpec:
        """What the latents look like."""
        return self.inner.spec

    def encode(self, images: Shaped[Tensor, "b m ..."]) -> Shaped[Tensor, "b ..."]:
        """Return what a cache holds of images, the mirror images left out."""
        codes = images[:, 0]
        if codes.is_floating_point():
            return codes.float()
        return codes if codes.dtype == torch.uint8 else codes.long()  # pixels, or tokens

    def latents(self, codes: Tensor, noise: Noise) -> Float[Tensor, "b c h w"] | Int[Tensor, "b l"]:
        """Draw latents from codes, shifted and scaled to about unit size; or return tokens."""
        return self.meaning(self.inner, codes, noise)

    def decode(
        self, latents: Float[Tensor, "b c h w"] | Int[Tensor, "b l"]
    ) -> UInt8[Tensor, "b 3 H W"]:
        """Return images."""
        return self.inner.decode(latents)

    def floats(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Return images in [-1, 1], before they are rounded: a gradient passes through."""
        return self.inner.floats(latents)


class Latents(Data):
    """A latent cache: a folder that `mezzotint encode` has written, or one of another project.

    Args:
        path: the folder; MAR's, fast-DiT's and LightningDiT's too, and EDM2's zip.
        verify: compare every file of ours with its digest before training.
        size: height and width of the images; ours says them itself.
    """

    path: Path
    verify: bool = True
    size: int | None = Field(default=None, ge=1)

    def train(self) -> Images:
        """Open the training part."""
        return self._opened()[0]

    def held_out(self) -> Images:
        """Open the held-out part: the cache in the folder `held_out` inside, if there is one."""
        inside = self.path / HELD_OUT
        if self._is_ours and (inside / MANIFEST).exists():
            return open_cache(inside, verify=self.verify)
        nothing = torch.zeros(0, dtype=torch.int64)
        return LatentCache(self.train().classes, nothing, self.train().size, "", 1, ())

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that made the cache, where it says which one."""
        if self._is_ours:
            return read_manifest(self.path).tokenizer
        raise ConfigError(
            f"tokenizer: missing; {self.path} does not say which one made it: name the one that did"
        )

    def pictures(self) -> tuple[Data, str | None]:
        """Return the data that were encoded, and the digest that they had.

        Raises:
            DataError: this cache does not say.
        """
        if not self._is_ours:
            raise DataError(f"{self.path}: does not say which pictures it was made of")
        manifest = read_manifest(self.path)
        found = load("data", manifest.data)
        assert isinstance(found, Data), "a cache is made of a recipe's data"
        return found, manifest.data_digest

    def through(self, tokenizer: Tokenizer) -> Tokenizer:
        """Return the tokenizer, its encoding being done.

        Raises:
            ConfigError: another tokenizer has made this cache.
        """
        images, meaning = self._opened()
        spec = tokenizer.spec
        if self._is_ours and read_manifest(self.path).fingerprint != spec.fingerprint:
            raise ConfigError(
                f"{self.path}: these latents were made by the tokenizer "
                f"{read_manifest(self.path).fingerprint}, but the recipe's is {spec.fingerprint}; "
                "name that one, or encode the images again with this one"
            )
        self._check(images, spec)
        return Cached(tokenizer, meaning)

    def mirror(self) -> Mirror:
        """Return what takes the mirror images of chosen rows.

        Raises:
            ConfigError: the cache has none.
        """
        if not getattr(self.train(), "flips", False):
            raise ConfigError(
                f"{self.path}: holds no mirror images; set train.flip to false, or encode again "
                "with --flip"
            )
        return chosen

    @property
    def _is_ours(self) -> bool:
        return (self.path / MANIFEST).exists()

    def _opened(self) -> tuple[Images, Meaning]:
        reader = None if self._is_ours else find(self.path)
        if reader is None:
            return open_cache(self.path, verify=self.verify), as_codes
        if self.size is None:
            raise ConfigError(
                f"data.size: missing; {self.path} is a cache of {reader.name} and does not say how "
                "large the images are in pixels"
            )
        return reader.open(self.path, self.size), as_latents if reader.drawn else as_codes

    def _check(self, images: Images, spec: LatentSpec) -> None:
        """Refuse codes that are not of this tokenizer's shape."""
        if not len(images):
            return
        first = images.read(torch.zeros(1, dtype=torch.int64))
        shape, whole = tuple(first.shape[2:]), not first.is_floating_point()
        channels, *places = spec.shape
        if spec.vocabulary:
            fits = whole and math.prod(shape) == math.prod(spec.shape[-2:])
        else:
            fits = shape[1:] == tuple(places) and shape[0] in {channels, 2 * channels}
        if fits:
            return
        raise ConfigError(
            f"{self.path}: latents of {' x '.join(map(str, shape))}{' whole' * whole} numbers, but "
            f"the recipe's tokenizer makes {' x '.join(map(str, spec.shape))} of an image; name "
            "the tokenizer that made them"
        )


def chosen(codes: Shaped[Tensor, "b 2 ..."], which: Bool[Tensor, "b"]) -> Shaped[Tensor, "b 1 ..."]:
    """Return the codes of each image, or of its mirror image."""
    return codes[torch.arange(len(codes)), which.long()][:, None]


__all__ = ["Cached", "Latents", "Meaning", "as_codes", "as_latents", "chosen"]
