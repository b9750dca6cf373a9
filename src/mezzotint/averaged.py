"""The averaged model of a run as it stands: looked at, sampled, exported."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torch import nn

from mezzotint import checkpoint, config
from mezzotint.card import model_card
from mezzotint.data.draw import grid
from mezzotint.data.images import Images
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.generator import Generator, load
from mezzotint.recipe import Recipe
from mezzotint.training.ema import EMA
from mezzotint.training.watch import HeldOut

_CELLS: Final = 8
"""Classes and seeds of the sample grids."""
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Forms in which a model is published."""
_SIDE: Final = 64
"""Smaller images are enlarged to about this."""


@dataclass
class Averaged:
    """A copy of a run's network that holds the first of its averages.

    Args:
        recipe: of the run.
        live: the network in training.
        ema: its averages.
        device: where it computes.
    """

    recipe: Recipe
    live: nn.Module
    ema: EMA
    device: torch.device

    def __post_init__(self) -> None:
        self._network = copy.deepcopy(self.live).eval().requires_grad_(requires_grad=False)

    def network(self) -> nn.Module:
        """Return the copy, with the average as it stands; later calls fill the same one."""
        average = self.ema.averages[self.recipe.train.ema[0]]
        self._network.load_state_dict(self.live.state_dict() | average)
        return self._network

    def held_out(self, images: Images) -> dict[str, Any]:
        """Return the loss on held-out images."""
        plan = self.recipe.train
        watcher = HeldOut(images, plan.validate_images, plan.batch, plan.seed)
        return watcher.loss(self.recipe.objective(self.network(), self.device))

    def generator(self, classes: tuple[str, ...], provenance: Mapping[str, Any]) -> Generator:
        """Return a generator around the copy.

        Args:
            classes: their names.
            provenance: what the config tells of the training.
        """
        recipe, model = self.recipe, self.recipe.model
        return Generator(
            denoiser=NetworkDenoiser(self.network(), model.path, model.prediction),
            tokenizer=recipe.tokenizer.build(),
            classes=classes,
            sampling=recipe.sampling,
            null=model.null,
            tree={
                "model": model,
                "tokenizer": recipe.tokenizer,
                "classes": classes,
                "sampling": recipe.sampling,
                "provenance": provenance,
            },
        )


def export(
    generator: Generator, folder: Path, *, dtype: torch.dtype | None = None, picture: str = ""
) -> None:
    """Write a model, its config and its card.

    Args:
        generator: the model.
        folder: made if it is missing.
        dtype: of the trained tensors in the file; theirs by default.
        picture: file in `folder` that the card shows, if there is one.
    """
    generator.save(folder, dtype=dtype)
    card = model_card(folder.name, config.dump(generator.tree), picture)
    checkpoint.write_text(folder / "README.md", card)


def publish(generator: Generator, folder: Path, dtype: torch.dtype) -> None:
    """Write a model that can be shared, with a grid of its samples."""
    export(generator, folder, dtype=dtype, picture="preview.png")
    # Drawn by what was written, so that the picture shows what a user will get.
    picture = sheet(load(folder))
    checkpoint.replace_file(folder / "preview.png", lambda draft: picture.save(draft, format="PNG"))


def sheet(generator: Generator) -> Image.Image:
    """Draw a grid of up to 8 classes with the same 8 seeds."""
    classes = generator.classes[:_CELLS]
    images = generator.sample(classes or None, seeds=range(_CELLS))
    magnify = max(1, _SIDE // images.shape[-1])
    return grid(images, columns=_CELLS, names=classes, magnify=magnify)
