"""Tokenizers that are models of their own: a network in a folder, opened by whoever names it.

    codes = encode(x)      latents = (draw(codes, noise) - shift) * scale      decode undoes both

A generator is worth as much as the tokenizer that it was trained on is the same one: its tree holds
a fingerprint of the tokenizer's config and weights, and another tokenizer is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Self

import torch
from jaxtyping import Float, UInt8
from pydantic import Field, InstanceOf, model_validator
from torch import Tensor

from mezzotint import card, checkpoint
from mezzotint.config import Config, part
from mezzotint.digest import digest_of_model
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.noise import Noise
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig
from mezzotint.tokenizers.base import LatentSpec, TokenizerConfig, floats, pixels

_AT_A_TIME: Final = 8 * 256**2  # pixels; so that a large batch fits in memory
_DIGITS: Final = 16  # of a fingerprint


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
        self.rows(self.size)
        return self

    def rows(self, size: int) -> int:
        """Return the rows of the latent of an image of `size` rows.

        Raises:
            ConfigError: they do not come out whole.
        """
        if size % self.network.stride:
            raise ConfigError(
                f"size {size} is not a multiple of {self.network.stride}, by which this tokenizer "
                "divides rows and columns; choose images of another size"
            )
        return size // self.network.stride

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
    """

    network: Autoencoder
    model: TokenizerModel
    size: int
    fingerprint: str
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(requires_grad=False)

    @property
    def spec(self) -> LatentSpec:
        """What the latents look like."""
        rows, channels = self.model.rows(self.size), self.model.network.latent_channels
        return LatentSpec(
            shape=(channels, rows, rows),
            image=(self.size, self.size),
            fingerprint=self.fingerprint,
        )

    def at(self, size: int) -> Self:
        """Return the same tokenizer for images of another size.

        Raises:
            ConfigError: the size is not a multiple of the tokenizer's stride.
        """
        self.model.rows(size)
        return replace(self, size=size)

    def encode(self, images: UInt8[Tensor, "b 3 H W"]) -> Tensor:
        """Return deterministic codes, as a cache stores them.

        Args:
            images: values in [0, 255], of any size that the stride divides.
        """
        return self._by_block(lambda block: self.network.encode(floats(block)), images, 1)

    def latents(self, codes: Tensor, noise: Noise) -> Float[Tensor, "b c h w"]:
        """Draw latents from codes, shifted and scaled to about unit size."""
        return (self.network.draw(codes, noise) - self.model.shift) * self.model.scale

    def decode(self, latents: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b 3 H W"]:
        """Return images."""
        z = self._unscaled(latents)
        area = self.model.network.stride**2
        return self._by_block(lambda block: pixels(self.network.decode(block)), z, area)

    def floats(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        """Return images, about in [-1, 1]: a gradient passes through to the latents."""
        self.network.to(latents.device)
        return self.network.decode(self._unscaled(latents))

    def _unscaled(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return latents.float() / self.model.scale + self.model.shift

    @torch.no_grad()
    def _by_block(self, work: Callable[[Tensor], Tensor], rows: Tensor, area: int) -> Tensor:
        """Work on some rows at a time; `area` is the pixels that one place of a row stands for."""
        self.network.to(rows.device)
        size = max(1, _AT_A_TIME // (area * rows[0, 0].numel())) if len(rows) else 1
        return torch.cat([work(block) for block in rows.split(size)])

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, in place."""
        self.network.to(device)
        return self

    def cost(self) -> dict[str, int]:
        """Return parameters, and multiply-adds of one image that is encoded and decoded."""
        channels = self.model.network.channels
        with torch.device("meta"):
            return card.cost(self.model.build(), torch.zeros(1, channels, self.size, self.size))

    def save(self, folder: Path | str, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder that `load` reads; in another dtype it is another tokenizer.

        Args:
            folder: made if it is missing.
            dtype: of the tensors in the file, such as torch.bfloat16; theirs by default.
        """
        tensors = checkpoint.trained_as(dtype, self.network, self.model.build)
        checkpoint.write_model(Path(folder), tensors, {**self.tree, "model": self.model})

    def sheet(self) -> None:
        """Return no picture: it has no images of its own to show."""

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
