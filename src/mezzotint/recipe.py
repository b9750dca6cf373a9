"""A recipe: everything that a training run depends on, as one tree.

    model, tokenizer, data, train, and for generators sampling

What one part knows is not asked of another: the network's channels, size and class count come from
the tokenizer and the data. The model says which recipe it is: a generator's or a classifier's.
"""

from abc import abstractmethod
from collections.abc import Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Annotated, Any, ClassVar, Final, Self

import torch
from pydantic import InstanceOf, model_validator
from torch import nn

from mezzotint import config, teacher
from mezzotint.card import Product
from mezzotint.config import Config, part
from mezzotint.data.images import Data, Images
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.errors import ConfigError
from mezzotint.generator import DiffusionConfig, Generator
from mezzotint.sampling import Sampling
from mezzotint.tokenizers.base import TokenizerConfig
from mezzotint.training.lasting import lasting
from mezzotint.training.objectives import Denoising, Objective
from mezzotint.training.plan import DenoisingPlan, TrainPlan, fast_bf16
from mezzotint.training.watch import HeldOut


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
        earlier = config.dump(complete(before))
        return sorted(config.differences(lasting(earlier), lasting(config.dump(self))))


class GeneratorRecipe(Recipe):
    """A run that makes a generator.

    Attributes:
        sampling: how samples are drawn, in training and by default ever after.
    """

    MODEL = DiffusionConfig
    ADVICE = (
        "progress: {0}/metrics.jsonl and {0}/samples; the loss falls fast, then "
        "slowly for long: look at the pictures"
    )
    NEXT = "mezzotint sample {0}"

    model: Annotated[InstanceOf[DiffusionConfig], part("model")]
    train: DenoisingPlan
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _guidable(self) -> Self:
        guided = self.sampling.guidance != Sampling().guidance
        if guided and (self.model.null is None or not self.train.drop):
            raise ValueError(
                "sampling.guidance needs a null class: set train.drop above 0 and "
                "model.network.null_row to true"
            )
        if self.train.drop and self.model.null is None:
            raise ValueError("train.drop needs model.network.null_row: true, or set it to 0")
        return self

    def pinned(self, classes: tuple[str, ...]) -> Self:
        """Fill in what its teacher is, once that is seen to fit."""
        plan = teacher.pinned(self.train, self.model, self.tokenizer, classes)
        return self.model_copy(update={"train": plan})

    def objective(self, network: nn.Module, device: torch.device) -> Denoising:
        """Return the loss of a network that this recipe describes, with its teacher's terms."""
        return teacher.taught(self.denoising(network, device), self.train.teacher, device)

    def denoising(self, network: nn.Module, device: torch.device) -> Denoising:
        """Return the loss without a teacher, in which models can be compared."""
        model, plan = self.model, self.train
        denoiser = NetworkDenoiser(
            network, model.path, model.prediction, autocast=plan.autocast(device)
        )
        null = model.network.num_classes
        tokenizer = self.tokenizer.build()
        return Denoising(denoiser, tokenizer, plan.times, plan.drop, null, flip=plan.flip)

    def held_out(self, network: nn.Module, device: torch.device, images: Images) -> dict[str, Any]:
        """Return the loss on held-out images."""
        watcher = HeldOut(images, self.train.validate_images, self.train.batch, self.train.seed)
        return watcher.loss(self.denoising(network, device))

    def product(
        self, network: nn.Module, classes: tuple[str, ...], provenance: Mapping[str, Any]
    ) -> Generator:
        """Return a generator around a network."""
        made = Generator(
            denoiser=NetworkDenoiser(network, self.model.path, self.model.prediction),
            tokenizer=self.tokenizer.build(),
            classes=classes,
            sampling=self.sampling,
            null=self.model.null,
            tree=self.tree(classes, provenance),
        )
        return teacher.beside(made, self.train.teacher)


_RECIPES: Final = (
    "mezzotint.recipe:GeneratorRecipe",
    "mezzotint.classifier_recipe:ClassifierRecipe",
    "mezzotint.noisy_recipe:NoisyRecipe",
)


def _recipe_of(model: type) -> type[Recipe] | None:
    """Return the recipe of a class of models; those of other files are imported here."""
    for place in _RECIPES:
        module, _, name = place.partition(":")
        each: type[Recipe] = getattr(import_module(module), name)
        if issubclass(model, each.MODEL):
            return each
    return None


def complete(tree: Mapping[str, Any]) -> Recipe:
    """Build the recipe that a complete tree describes, as its model says."""
    model = config.load_at("model", "model", tree.get("model"))
    found = _recipe_of(type(model))
    if found is None:
        raise ConfigError(f"model: {_PART}, got {model!r}")
    return config.build(found, {**tree, "model": model})


def shipped() -> dict[str, FilePath]:
    """Return the recipes that come with the package, by name."""
    inside = FilePath(str(files("mezzotint") / "recipes"))
    beside = FilePath(__file__).parents[2] / "recipes"  # a checkout keeps them at its root
    home = inside if inside.is_dir() else beside
    return {path.stem: path for path in sorted(home.glob("*.yaml"))}


def find(name: str) -> dict[str, Any]:
    """Read the tree of a recipe, given as a path or by the name of a shipped one.

    Raises:
        ConfigError: there is none; the nearest names are given.
    """
    path = shipped().get(name, FilePath(name))
    if not path.exists():
        raise ConfigError(f"no recipe {name!r}; {config.nearest(name, shipped())}")
    return config.read(path)


def resolve(tree: Mapping[str, Any]) -> Recipe:
    """Complete a recipe's tree with what its parts know of each other, and validate it.

    Raises:
        ConfigError: a part is missing or wrong, or says something else than the data do.
    """
    sections = dict(tree)
    for name in ("model", "data", "train"):
        if name not in sections:
            raise ConfigError(f"{name}: missing; a recipe has model, data and train")
    data = config.load_at("data", "data", sections["data"])
    if not isinstance(data, Data):
        raise ConfigError(f"data: {_PART}, got {data!r}")
    images = data.train()
    sections.setdefault("tokenizer", "pixels")
    sections["tokenizer"] = filled("tokenizer", sections["tokenizer"], {"size": images.size})
    tokenizer: TokenizerConfig = config.load_at("tokenizer", "tokenizer", sections["tokenizer"])
    tokenizer = tokenizer.pinned()
    channels, *size = tokenizer.build().spec.shape
    model = opened("model", sections["model"])
    known = {"channels": channels, "size": size, "num_classes": len(images.classes)}
    model["network"] = filled("model.network", model.get("network", {}), known)
    sections["model"] = model
    whole = complete(sections | {"data": data, "tokenizer": tokenizer})
    return whole.pinned(images.classes)


_PART: Final = "expected a kind, or a mapping with a kind"


def opened(where: str, part_tree: Any) -> dict[str, Any]:
    """Return a part's tree as a mapping; a bare kind becomes one."""
    if isinstance(part_tree, str):
        return {"kind": part_tree}
    if not isinstance(part_tree, Mapping):
        raise ConfigError(f"{where}: {_PART}, got {part_tree!r}")
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


__all__ = [
    "GeneratorRecipe",
    "Recipe",
    "complete",
    "fast_bf16",
    "filled",
    "find",
    "opened",
    "resolve",
    "shipped",
]
