"""The model of a PPGN run: a generator from an encoder's codes, stored, opened, walked on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Self

import torch
from PIL import Image
from pydantic import InstanceOf
from torch import Tensor

from mezzotint import checkpoint, classifier, config
from mezzotint.card import cost
from mezzotint.classifier import Classifier
from mezzotint.config import Config, part
from mezzotint.data.draw import grid
from mezzotint.diffusion.conditions import middle
from mezzotint.digest import digest_of_model
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.players import Players, PlayersConfig
from mezzotint.plugged.walk import Pieces, Walk
from mezzotint.plugged.walker import Asked, Walker
from mezzotint.tokenizers.base import Pixels, TokenizerConfig
from mezzotint.training.adversarial import Encoder

_CELLS: Final = 8
_SIDE: Final = 64


class EncoderSource(Config):
    """The classifier whose features are the codes; it is frozen, and stays in its own folder.

    Attributes:
        source: name of a zoo model, model folder, or .safetensors file.
        digest: of the classifier that the generator was trained on; a recipe fills it in.
    """

    source: str
    digest: str | None = None

    def open(self) -> Classifier:
        """Open the classifier; once opened, its files are not needed any more.

        Raises:
            CheckpointError: nothing is there, or it is not a classifier.
            ConfigError: it is another one than the generator was trained on, or reads no pixels.
        """
        return self._found

    @cached_property
    def _found(self) -> Classifier:
        try:
            found = classifier.load(self.source)
        except CheckpointError as error:
            raise CheckpointError(
                f"the encoder cannot be opened: {error}; set model.encoder.source to where it is"
            ) from None
        if self.digest not in {None, found.digest}:
            raise ConfigError(
                f"model.encoder.source {self.source}: another classifier ({found.digest[:12]}) "
                f"than the one that codes are of ({str(self.digest)[:12]}); put that one there"
            )
        if not isinstance(config.load("tokenizer", found.tree["tokenizer"]), Pixels):
            raise ConfigError(f"model.encoder.source {self.source}: does not read pixels")
        return found

    def pinned(self) -> Self:
        """Return itself with the digest of what is there now, and no path left relative."""
        place = self.source if self.source in checkpoint.zoo() else str(Path(self.source).resolve())
        return self.model_copy(update={"source": place, "digest": self.open().digest})


def encoder_of(found: Classifier) -> Encoder:
    """Return a classifier as an encoder.

    Raises:
        ConfigError: it has no map to make a code of.
    """
    encoder = Encoder(found.network, found.size)
    try:
        code_length(encoder, found)
    except NotImplementedError:
        kind = config.dump(found.model.network)["kind"]
        raise ConfigError(
            f"a {kind} classifier cannot encode: it has no last map; take a caffenet, residual or "
            "depthwise one"
        ) from None
    return encoder


def code_length(encoder: Encoder, found: Classifier) -> int:
    """Return how many numbers a code has."""
    weight = next(found.network.parameters())
    with torch.no_grad():
        return encoder(weight.new_zeros(1, *found.tokenizer.spec.shape)).shape[1]


class PluggedConfig(Config):
    """A generator from the codes of an encoder.

    Attributes:
        network: the generator, its discriminator, and a prior of codes.
        encoder: what makes codes.
    """

    network: Annotated[InstanceOf[PlayersConfig], part("network")]
    encoder: EncoderSource

    def build(self) -> Players:
        """Make the networks, freshly initialised."""
        return self.network.build()

    def open(self, tree: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object) -> Any:
        """Return the model that a stored tree describes, filled with tensors."""
        stored = config.build(_Stored, {k: tree[k] for k in _Stored.model_fields if k in tree})
        network = stored.model.build()
        checkpoint.load_strictly(network, tensors, source)
        found = stored.model.encoder.open()
        return Plugged(network, stored.model, found, stored.classes, stored.sampling, tree)


class _Stored(Config):
    model: Annotated[InstanceOf[PluggedConfig], part("model")]
    tokenizer: Annotated[InstanceOf[TokenizerConfig], part("tokenizer")]
    classes: tuple[str, ...]
    sampling: Annotated[Walk, part("walk")] = Walk()


@dataclass(frozen=True)
class Plugged:
    """A generator from the codes of an encoder.

    Attributes:
        network: generator, discriminator, prior of codes.
        model: their config.
        classifier: whose features the codes are; also what chains are asked by, unless another is.
        classes: of the data that it was trained on; the generator knows none.
        sampling: how chains walk.
        tree: the config tree.
    """

    network: Players
    model: PluggedConfig
    classifier: Classifier
    classes: tuple[str, ...]
    sampling: Walk = field(default_factory=Walk)
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(requires_grad=False)

    @cached_property
    def digest(self) -> str:
        """Hex digest of weights and architecture, the encoder's among them."""
        return digest_of_model(self.network.state_dict(), {"model": self.model})

    @property
    def walker(self) -> Walker:
        """Chains in the code space, asked for the classes of the encoder's own classifier."""
        network, found = self.network, self.classifier
        pieces = Pieces(
            shape=(self.model.network.code,),
            view=network.generator,
            encoder=encoder_of(found),
            autoencoder=network.autoencoder,
            seen=(network.lowest, network.highest),
        )
        return Walker(
            generator=network.generator,
            pieces=pieces,
            image=self.model.network.size,
            classes=found.classes,
            asked=(Asked(_Middle(found)),),
            sampling=self.sampling,
            digest=self.digest,
            own=found,
            tree=self.tree,
            device=network.lowest.device,
        )

    def to(self, device: str | torch.device) -> Self:
        """Move everything to a device, in place."""
        self.network.to(device)
        self.classifier.to(device)
        return self

    def save(self, folder: Path | str, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder that `load` reads; the encoder stays where it is.

        Args:
            folder: made if it is missing.
            dtype: of the trained tensors in the file; theirs by default.
        """
        tensors = checkpoint.trained_as(dtype, self.network, self.model.build)
        checkpoint.write_model(Path(folder), tensors, self.tree)

    def cost(self) -> dict[str, int]:
        """Return parameters, and multiply-adds of one image that is generated."""
        return cost(self.network.generator, torch.zeros(1, self.model.network.code))

    def sheet(self) -> Image.Image:
        """Draw chains to up to 8 classes from the same 8 seeds."""
        walker = self.walker
        classes = walker.classes[:_CELLS]
        images = walker.sample(classes, seeds=range(_CELLS))
        magnify = max(1, _SIDE // images.shape[-1])
        return grid(images, columns=_CELLS, names=classes, magnify=magnify)

    def measured(self) -> Self:
        """Return itself: what its samples are worth is for an evaluation to say."""
        return self


@dataclass(frozen=True)
class _Middle:
    """A classifier of images that may be larger than it reads: it sees their middle."""

    found: Classifier

    def __call__(self, x: Tensor) -> Tensor:
        return self.found.network(middle(x, self.found.size))


def load(source: Path | str) -> Plugged:
    """Load a PPGN model.

    Args:
        source: a model or run folder, or a .safetensors file.

    Raises:
        CheckpointError: nothing is there, or it is not one.
    """
    found: Plugged = checkpoint.open_model(source, "ppgn")
    return found


__all__ = ["EncoderSource", "Plugged", "PluggedConfig", "code_length", "encoder_of", "load"]
