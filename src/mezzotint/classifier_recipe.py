"""The recipe of a run that makes a classifier."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import InstanceOf
from torch import nn

from mezzotint.classifier import Classifier, ClassifierConfig
from mezzotint.config import part
from mezzotint.data.images import Images
from mezzotint.networks.classifier import ClassifierNetwork
from mezzotint.recipe_base import Recipe
from mezzotint.tokenizers.base import continuous
from mezzotint.training.objectives import Classifying
from mezzotint.training.plan import ClassifyingPlan
from mezzotint.training.watch import accuracy


class ClassifierRecipe(Recipe):
    """A run that makes a classifier."""

    MODEL = ClassifierConfig
    ADVICE = "progress: {0}/metrics.jsonl; held_out_mean_accuracy there is what counts"
    NEXT = "mezzotint show {0}"

    model: Annotated[InstanceOf[ClassifierConfig], part("model")]
    train: ClassifyingPlan

    def objective(self, network: nn.Module, device: torch.device) -> Classifying:
        """Return the loss of a network that this recipe describes."""
        return Classifying(
            network,
            self.pictured(continuous(self.tokenizer.build())),
            self.model.network.num_classes,
            self.train.augmentations,
            self.train.smoothing,
            device,
            self.train.autocast(device),
        )

    def held_out(self, network: nn.Module, device: torch.device, images: Images) -> dict[str, Any]:
        """Return loss and accuracy on held-out images."""
        made = self.product(network.to(device), images.classes, {})
        return accuracy(made, images, self.train.validate_images)

    def product(
        self, network: nn.Module, classes: tuple[str, ...], provenance: Mapping[str, Any]
    ) -> Classifier:
        """Return a classifier around a network."""
        assert isinstance(network, ClassifierNetwork), "a recipe's product is around its network"
        tree = self.tree(classes, provenance)
        return Classifier(network, self.model, self.tokenizer.build(), classes, tree)


__all__ = ["ClassifierRecipe"]
