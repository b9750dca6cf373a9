"""Tokenizers that are models of their own: a network in a folder, opened by whoever names it.

    codes = encode(x)      latents = (draw(codes, noise) - shift) * scale      decode undoes both

Where codes are indices into a codebook, latents are these, row by row as one sequence of tokens.
A generator is worth as much as the tokenizer that it was trained on is the same one: its tree holds
a fingerprint of the tokenizer's config and weights, and another tokenizer is refused.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Self

import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from pydantic import Field, InstanceOf, model_validator
from torch import Tensor

from mezzotint import card, checkpoint
from mezzotint.config import Config, part
from mezzotint.data.draw import grid
from mezzotint.digest import digest_of_model
from mezzotint.errors import CheckpointError, ConfigError, DataError
from mezzotint.noise import Noise
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig
from mezzotint.tokenizers.base import LatentSpec, TokenizerConfig, floats, pixels

_AT_A_TIME: Final = 8 * 256**2  # pixels; so that a large batch fits in memory
_DIGITS: Final = 16  # of a fingerprint
_COLUMNS: Final = 8  # of a sheet


class TokenizerModel(Config):
    """An autoencoder, and how its latents are scaled to about unit size.

    Attributes:
        network: the autoencoder.
        size: rows and columns of the images that it was made for; it takes others.
        scale: what latents are multiplied by.
        shift: what is taken off before that.
    """

    network: Annotated[InstanceOf[AutoencoderConfig], part("network")]
    size: int = Field(ge=1)
    scale: float = Field(default=1.0, gt=0)
    shift: float = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.network.latent(self.size)
        if self.network.vocabulary and (self.scale, self.shift) != (1.0, 0.0):
            raise ValueError("scale and shift: tokens are not scaled; leave both out")
        return self

    def build(self) -> Autoencoder:
        """Make the network, freshly initialised."""
        return self.network.build()

    def open(
        self, tree: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object
    ) -> "NetworkTokenizer":
        """Return the tokenizer that a stored tree describes, filled with tensors."""
        # Born without values, for a tokenizer may be opened where nothing may be drawn.
        with torch.device("meta"):
            network = self.build()
        network.to_empty(device="cpu")
        checkpoint.load_strictly(network, tensors, source)
        return NetworkTokenizer(network, self, self.size, self.fingerprint(network), tree)

    def fingerprint(self, network: Autoencoder) -> str:
        """Return what tells this tokenizer from others: of its shape, scale, shift and weights."""
        shape = {"network": self.network, "scale": self.scale, "shift": self.shift}
        return digest_of_model(network.state_dict(), shape)[:_DIGITS]


@dataclass(frozen=True, eq=False)
class NetworkTokenizer:
    """An autoencoder between uint8 images and scaled latents; it follows its input's device.

    Attributes:
        network: the autoencoder, frozen here.
        model: its config.
        size: rows and columns of an image.
        fingerprint: digest of config and weights.
        tree: the config tree that it was loaded from.
        examples: images that its sheet shows, if there are any.
    """

    network: Autoencoder
    model: TokenizerModel
    size: int
    fingerprint: str
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)
    examples: UInt8[Tensor, "n 3 H W"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(requires_grad=False)

    @property
    def spec(self) -> LatentSpec:
        """What the latents look like."""
        network = self.model.network
        return LatentSpec(
            shape=network.latent(self.size),
            image=network.image(self.size),
            fingerprint=self.fingerprint,
            vocabulary=network.vocabulary,
        )

    def at(self, size: int) -> Self:
        """Return the same tokenizer for images of another size.

        Raises:
            ConfigError: the size is not a multiple of the tokenizer's stride.
        """
        self.model.network.latent(size)
        return replace(self, size=size)

    def encode(self, images: UInt8[Tensor, "b 3 H W"]) -> Tensor:
        """Return deterministic codes, as a cache stores them.

        Args:
            images: values in [0, 255], of any size that the stride divides.
        """
        self.model.network.check(*images.shape[-2:])
        places = images.shape[-2] * images.shape[-1]
        return self._by_block(lambda block: self.network.encode(floats(block)), images, places)

    def latents(self, codes: Tensor, noise: Noise) -> Float[Tensor, "b c h w"] | Int[Tensor, "b l"]:
        """Draw latents from codes, shifted and scaled to about unit size; or return tokens."""
        drawn = self.network.draw(codes, noise)
        if self.model.network.vocabulary:
            return drawn.flatten(1)
        return (drawn - self.model.shift) * self.model.scale

    def decode(
        self, latents: Float[Tensor, "b c h w"] | Int[Tensor, "b ..."]
    ) -> UInt8[Tensor, "b 3 H W"]:
        """Return images.

        Args:
            latents: of any size; tokens, where they are one sequence, of a square image.

        Raises:
            DataError: tokens that are not of a square image, or not in the codebook.
        """
        z = self._tokens(latents) if self.model.network.vocabulary else self._unscaled(latents)
        places = self.model.network.stride**2 * z.shape[-2] * z.shape[-1]
        return self._by_block(lambda block: pixels(self.network.decode(block)), z, places)

    def _unscaled(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return latents.float() / self.model.scale + self.model.shift

    def _tokens(self, tokens: Int[Tensor, "b ..."]) -> Int[Tensor, "b h w"]:
        """Lay a sequence out in rows."""
        codes, length = self.model.network.vocabulary, math.prod(tokens.shape[1:])
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < codes:
            raise DataError(
                f"tokens from {int(tokens.min())} to {int(tokens.max())}: expected 0 to "
                f"{codes - 1}, what this tokenizer's codebook holds"
            )
        if tokens.dim() > 2:
            return tokens.long()
        if math.isqrt(length) ** 2 != length:
            raise DataError(f"{length} tokens are not of a square image; lay them out in rows")
        return tokens.long().unflatten(1, (math.isqrt(length), -1))

    def floats(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Return images, about in [-1, 1]: a gradient passes through to the latents."""
        self.network.to(latents.device)
        return self.network.decode(self._unscaled(latents))

    @torch.no_grad()
    def _by_block(self, work: Callable[[Tensor], Tensor], rows: Tensor, places: int) -> Tensor:
        """Work on some rows at a time; `places` is the pixels of the image of a row."""
        self.network.to(rows.device)
        size = max(1, _AT_A_TIME // places) if len(rows) else 1
        return torch.cat([work(block) for block in rows.split(size)])

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, in place."""
        self.network.to(device)
        return self

    def cost(self) -> dict[str, int]:
        """Return parameters, multiply-adds of one image there and back, and E, floats a latent."""
        spec, channels = self.spec, self.model.network.channels
        with torch.device("meta"):
            found = card.cost(self.model.build(), torch.zeros(1, channels, *spec.image))
        return {**found, "latent_floats": math.prod(spec.shape)}

    def save(self, folder: Path | str, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder that `load` reads; in another dtype it is another tokenizer.

        Args:
            folder: made if it is missing.
            dtype: of the tensors in the file, such as torch.bfloat16; theirs by default.
        """
        tensors = checkpoint.trained_as(dtype, self.network, self.model.build)
        checkpoint.write_model(Path(folder), tensors, {**self.tree, "model": self.model})

    def restored(self, images: UInt8[Tensor, "b 3 H W"]) -> UInt8[Tensor, "b 3 H W"]:
        """Return images as they come back, nothing being drawn on the way."""
        self.model.network.check(*images.shape[-2:])
        places = images.shape[-2] * images.shape[-1]
        return self._by_block(lambda block: pixels(self.network(floats(block))), images, places)

    def sheet(self) -> Image.Image | None:
        """Draw rows of examples, each over what came back; None where it has no examples."""
        if self.examples is None:
            return None
        rows = zip(
            self.examples.split(_COLUMNS), self.restored(self.examples).split(_COLUMNS), strict=True
        )
        pairs = [each for pair in rows for each in pair]
        return grid(torch.cat(pairs), columns=_COLUMNS, names=("given", "back") * len(pairs))

    def measured(self) -> Self:
        """Return itself: how well images come back is for an evaluation to say."""
        return self


class Stored(TokenizerConfig):
    """A tokenizer that is a model of its own.

    Attributes:
        source: name of a zoo model, model folder, or .safetensors file.
        size: rows and columns of the image; a recipe takes them from its data.
        fingerprint: digest of config and weights that it must have; "" is any.
    """

    source: str
    size: int = Field(ge=1)
    fingerprint: str = ""

    def build(self) -> NetworkTokenizer:
        """Open the tokenizer; a process opens it once.

        Raises:
            CheckpointError: nothing is there, or it is no tokenizer.
            ConfigError: it does not take images of this size, or it is another tokenizer.
        """
        return self._found.at(self.size)

    @cached_property  # a run that has opened its tokenizer does not depend on the file any more
    def _found(self) -> NetworkTokenizer:
        try:
            found = load(self.source)
        except CheckpointError as error:
            raise CheckpointError(
                f"the tokenizer cannot be opened: {error}; set tokenizer.source to where it is"
            ) from None
        if self.fingerprint not in {"", found.fingerprint}:
            raise ConfigError(
                f"tokenizer.source {self.source}: its fingerprint is {found.fingerprint}, but "
                f"{self.fingerprint} is wanted here, the one that was trained on; "
                "set tokenizer.source to where that one is"
            )
        return found

    def pinned(self) -> Self:
        """Return itself with the fingerprint of what is there now, and no path left relative."""
        place = self.source if self.source in checkpoint.zoo() else str(Path(self.source).resolve())
        fingerprint = self.build().fingerprint
        return self.model_copy(update={"source": place, "fingerprint": fingerprint})


def load(source: Path | str) -> NetworkTokenizer:
    """Load a tokenizer; loaded before and not changed since, it is the same one again.

    Args:
        source: the name of a zoo model, a model folder, or a .safetensors file.

    Raises:
        CheckpointError: nothing is there, or it is not a tokenizer.
    """
    path = checkpoint.zoo().get(str(source), Path(source))
    files = [path / checkpoint.WEIGHTS, path / checkpoint.CONFIG] if path.is_dir() else [path]
    stamps = tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.exists())
    return _opened(str(source), str(path.resolve()), stamps)


@lru_cache(maxsize=4)
def _opened(source: str, path: str, stamps: tuple[tuple[int, int], ...]) -> NetworkTokenizer:  # noqa: ARG001 (they tell whether it is the same still)
    found: NetworkTokenizer = checkpoint.open_model(source, "tokenizer")
    return found


__all__ = ["NetworkTokenizer", "Stored", "TokenizerModel", "load"]
