"""The recipe of a run that makes a noise-aware classifier."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import InstanceOf
from torch import nn

from mezzotint.config import part
from mezzotint.data.images import Images, spread
from mezzotint.noisy import NoisyClassifier, NoisyClassifierConfig
from mezzotint.recipe_base import Recipe
from mezzotint.tokenizers.base import continuous
from mezzotint.training.noisy import NoisyClassifying, NoisyPlan


class NoisyRecipe(Recipe):
    """A run that makes a noise-aware classifier."""

    MODEL = NoisyClassifierConfig
    ADVICE = (
        "progress: {0}/metrics.jsonl; held_out_accuracy_by_level there is what counts: on the "
        "noisiest fifths it stays near chance"
    )
    NEXT = "mezzotint sample MODEL --critic {0} --critic-scale 1"

    model: Annotated[InstanceOf[NoisyClassifierConfig], part("model")]
    train: NoisyPlan

    def objective(self, network: nn.Module, device: torch.device) -> NoisyClassifying:
        """Return the loss of a network that this recipe describes."""
        return NoisyClassifying(
            network=network,
            tokenizer=self.pictured(continuous(self.tokenizer.build())),
            classes=self.model.network.num_classes,
            augmentations=self.train.augmentations,
            smoothing=self.train.smoothing,
            device=device,
            autocast=self.train.autocast(device),
            reader=self.model.reader(network),
            path=self.model.path,
            times=self.train.times,
        )

    def held_out(self, network: nn.Module, device: torch.device, images: Images) -> dict[str, Any]:
        """Return loss and accuracy on held-out images, over all noise and by its fifths."""
        made = self.product(network.to(device), images.classes, {})
        rows = spread(len(images), self.train.validate_images)
        found = made.looked(images, rows, self.train.seed)
        return {
            "held_out": found["loss"],
            "held_out_accuracy": found["accuracy"],
            "held_out_accuracy_by_level": found["accuracy_by_level"],
        }

    def product(
        self, network: nn.Module, classes: tuple[str, ...], provenance: Mapping[str, Any]
    ) -> NoisyClassifier:
        """Return a classifier around a network."""
        tree = self.tree(classes, provenance)
        return NoisyClassifier(network, self.model, self.tokenizer.build(), classes, tree)


__all__ = ["NoisyRecipe"]
