"""A recipe: everything that a training run depends on, as one tree.

    model, tokenizer, data, train, and for generators sampling

What one part knows is not asked of another: the network's channels, size and class count come from
the tokenizer and the data. The model says which recipe it is: a generator's or a classifier's.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Annotated, Any, Final, Self

import torch
from pydantic import InstanceOf, model_validator
from torch import nn

from mezzotint import config, kinds, teacher
from mezzotint.config import part
from mezzotint.data.images import Data, Images, mirrored
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.errors import ConfigError
from mezzotint.generator import DiffusionConfig, Generator
from mezzotint.recipe_base import PART, Recipe, filled, opened
from mezzotint.sampling import Sampling
from mezzotint.tokenizers.base import TokenizerConfig, continuous
from mezzotint.training.objectives import Denoising
from mezzotint.training.plan import DenoisingPlan, fast_bf16
from mezzotint.training.watch import HeldOut


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
        tokenizer = self.data.through(continuous(self.tokenizer.build()))
        mirror = self.data.mirror() if plan.flip else mirrored
        return Denoising(
            denoiser, tokenizer, plan.times, plan.drop, null, flip=plan.flip, mirror=mirror
        )

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
    "mezzotint.plugged.recipe:PluggedRecipe",
    "mezzotint.tokenizer_recipe:TokenizerRecipe",
    "mezzotint.token_recipe:MaskedRecipe",
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
        raise ConfigError(f"model: {PART}, got {model!r}")
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
        raise ConfigError(f"data: {PART}, got {data!r}")
    images = data.train()
    sections.setdefault("tokenizer", data.tokenizer)
    sections["tokenizer"] = filled("tokenizer", sections["tokenizer"], {"size": images.size})
    tokenizer: TokenizerConfig = config.load_at("tokenizer", "tokenizer", sections["tokenizer"])
    tokenizer = tokenizer.pinned()
    model = opened("model", sections["model"])
    listed = model.get("kind") in kinds.names("model")
    cls = (_recipe_of(kinds.find("model", model["kind"])) if listed else None) or Recipe
    sections["model"] = cls.filled_model(model, tokenizer.build().spec, images)
    whole = complete(sections | {"data": data, "tokenizer": tokenizer})
    return whole.pinned(images.classes)


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
