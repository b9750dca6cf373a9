"""What every recipe promises: the sections of a training run, its loss, and what it makes."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Self

import torch
from pydantic import InstanceOf
from torch import nn

from mezzotint import config
from mezzotint.card import Product
from mezzotint.config import Config, part
from mezzotint.data.images import Data, Images
from mezzotint.errors import ConfigError, DataError
from mezzotint.tokenizers.base import LatentSpec, Tokenizer, TokenizerConfig
from mezzotint.training.lasting import lasting
from mezzotint.training.objectives import Objective
from mezzotint.training.plan import TrainPlan

PART: Final = "expected a kind, or a mapping with a kind"


class Recipe(Config):
    """A training run, complete.

    Attributes:
        model: what is trained.
        tokenizer: between images and latents.
        data: where images come from.
        train: how.
    """

    MODEL: ClassVar[type[Config]]
    """The model configs whose recipe this is."""
    ADVICE: ClassVar[str]
    NEXT: ClassVar[str]
    """What to look at while it trains, and what to do then; {0} is the folder."""

    model: Annotated[Any, part("model")]
    tokenizer: Annotated[InstanceOf[TokenizerConfig], part("tokenizer")]
    data: Annotated[InstanceOf[Data], part("data")]
    train: TrainPlan

    def provenance(self) -> dict[str, Any]:
        """Return what a model remembers of its recipe, and of the pictures behind a cache.

        A cache may be gone when the model is measured; what it was made of often is not.
        """
        told: dict[str, Any] = {"recipe": {"data": self.data, "train": self.train}}
        try:
            found, digest = self.data.pictures()
        except DataError:  # a cache that does not say
            return told
        return (
            told if found is self.data else {**told, "pictures": found, "pictures_digest": digest}
        )

    def network(self) -> nn.Module:
        """Make what is trained, freshly initialised."""
        made: nn.Module = self.model.network.build()
        return made

    def heir(self, network: nn.Module) -> nn.Module:
        """Return what of a network takes over another model's weights."""
        return network

    def begins(self, network: nn.Module, fresh: Iterable[str]) -> None:
        """Look at what a run begins with.

        Args:
            network: the heir.
            fresh: names of its tensors that are as they were drawn.

        Raises:
            ConfigError: some of these have to be inherited.
        """

    def pictured(self, tokenizer: Tokenizer) -> Tokenizer:
        """Return the tokenizer of a run that has to see pictures.

        Raises:
            ConfigError: its data are latents.
        """
        if self.data.through(tokenizer) is not tokenizer:
            raise ConfigError("data: this model is trained on images, not on a latent cache")
        return tokenizer

    @classmethod
    def filled_model(
        cls, model: dict[str, Any], spec: LatentSpec, images: Images
    ) -> dict[str, Any]:
        """Return the tree of a model with what tokenizer and data know of it.

        Raises:
            ConfigError: the data are clips.
        """
        if getattr(images, "frames", 1) > 1:
            raise ConfigError(
                "data: clips are for tokenizers; this model is trained on pictures, or on the "
                "clips' latents: run mezzotint encode, then data: {kind: latents, path: …}"
            )
        channels, *size = spec.shape
        known = {"channels": channels, "size": size, "num_classes": len(images.classes)}
        network = filled("model.network", model.get("network", {}), known)
        return {**model, "network": network}

    @abstractmethod
    def objective(self, network: nn.Module, device: torch.device) -> Objective:
        """Return the loss of a network that this recipe describes."""

    @abstractmethod
    def held_out(self, network: nn.Module, device: torch.device, images: Images) -> dict[str, Any]:
        """Return what held-out images say of a network."""

    @abstractmethod
    def product(
        self, network: nn.Module, classes: tuple[str, ...], provenance: Mapping[str, Any]
    ) -> Product:
        """Return what the run makes, around a network.

        Args:
            network: trained.
            classes: their names.
            provenance: what the config tells of the training.
        """

    def tree(self, classes: tuple[str, ...], provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config tree of a product: what it needs to work, and where it comes from."""
        kept = [name for name in type(self).model_fields if name not in {"data", "train"}]
        sections = {name: getattr(self, name) for name in kept}
        return sections | {"classes": classes, "provenance": provenance}

    def pinned(self, classes: tuple[str, ...]) -> Self:  # noqa: ARG002 (a generator's needs them)
        """Return the recipe with what it refers to filled in."""
        return self

    def changes(self, before: Mapping[str, Any]) -> list[str]:
        """Return the dotted names of what differs from another recipe's tree and matters to a run.

        Args:
            before: a complete tree, as `config.dump` writes it.
        """
        model = config.load_at("model", "model", before.get("model"))
        if not isinstance(model, self.MODEL):
            return ["model"]
        earlier = config.dump(config.build(type(self), {**before, "model": model}))
        return sorted(config.differences(lasting(earlier), lasting(config.dump(self))))


def opened(where: str, part_tree: Any) -> dict[str, Any]:
    """Return a part's tree as a mapping; a bare kind becomes one."""
    if isinstance(part_tree, str):
        return {"kind": part_tree}
    if not isinstance(part_tree, Mapping):
        raise ConfigError(f"{where}: {PART}, got {part_tree!r}")
    return dict(part_tree)


def filled(where: str, part_tree: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Lay what the data know under a part's fields; a contradiction is an error."""
    tree = opened(where, part_tree)
    for key, value in known.items():
        if key in tree and tree[key] != value:
            raise ConfigError(
                f"{where}.{key}: {tree[key]!r}, but the data make it {value!r}; "
                "leave it out of the recipe"
            )
    return {**known, **tree}


__all__ = ["PART", "Recipe", "filled", "opened"]
