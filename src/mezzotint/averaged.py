"""The averaged model of a run as it stands: looked at, exported, published."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mezzotint import checkpoint, config
from mezzotint.card import Product, model_card
from mezzotint.data.images import Images
from mezzotint.evaluation import restoration
from mezzotint.recipe_base import Recipe
from mezzotint.stored import NetworkTokenizer
from mezzotint.training.ema import EMA

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Forms in which a model is published."""


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
        """Return what held-out images say of the copy."""
        return self.recipe.held_out(self.network(), self.device, images)

    def product(self, classes: tuple[str, ...], provenance: Mapping[str, Any]) -> Product:
        """Return what the recipe makes, around the copy.

        Args:
            classes: their names.
            provenance: what the config tells of the training.
        """
        return self.recipe.product(self.network(), classes, provenance)


def export(
    product: Product, folder: Path, *, dtype: torch.dtype | None = None, picture: str = ""
) -> None:
    """Write a model, its config and its card.

    Args:
        product: the model.
        folder: made if it is missing.
        dtype: of the trained tensors in the file; theirs by default.
        picture: file in `folder` that the card shows, if there is one.
    """
    product.save(folder, dtype=dtype)
    card = model_card(folder.name, config.dump(product.tree), picture)
    checkpoint.write_text(folder / "README.md", card)


def publish(product: Product, folder: Path, dtype: torch.dtype) -> None:
    """Write a model that can be shared, with a grid of its samples or what it was measured at."""
    product.save(folder, dtype=dtype)
    # Looked at through what was written, so that the card says what a user will get.
    found: Product = checkpoint.open_model(folder)
    written: Product = (
        restoration.measured(found) if isinstance(found, NetworkTokenizer) else found.measured()
    )
    picture = written.sheet()
    export(written, folder, dtype=dtype, picture="preview.png" if picture else "")
    if picture is not None:
        checkpoint.replace_file(
            folder / "preview.png", lambda draft: picture.save(draft, format="PNG")
        )
