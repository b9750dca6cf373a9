"""The recipe of a masked generator: a token network, a head, how it is masked and sampled."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import InstanceOf, model_validator
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mezzotint import kinds
from mezzotint.config import part
from mezzotint.data.images import Images, mirrored
from mezzotint.errors import ConfigError
from mezzotint.masked.curves import Flat
from mezzotint.networks.base import NetworkConfig
from mezzotint.noise import SeededNoise
from mezzotint.recipe_base import Recipe, filled, opened
from mezzotint.token_generator import MaskedConfig, TokenGenerator, TokenModel
from mezzotint.token_sampling import MaskedSampling
from mezzotint.tokenizers.base import LatentSpec
from mezzotint.training.masked import MaskedPlan, MaskedTokens, held_out


class MaskedRecipe(Recipe):
    """A run that makes a generator which reveals tokens.

    Attributes:
        sampling: how samples are drawn, in training and by default ever after.
    """

    MODEL = MaskedConfig
    ADVICE = (
        "progress: {0}/metrics.jsonl and {0}/samples; the loss falls fast, then "
        "slowly for long: look at the pictures"
    )
    NEXT = "mezzotint sample {0}"

    model: Annotated[InstanceOf[MaskedConfig], part("model")]
    train: MaskedPlan
    sampling: MaskedSampling = MaskedSampling()

    @classmethod
    def filled_model(
        cls, model: dict[str, Any], spec: LatentSpec, images: Images
    ) -> dict[str, Any]:
        """Return the tree of a model with what tokenizer and data know of its kind of tokens."""
        network = opened("model.network", model.get("network", {}))
        kind = network.get("kind")
        shape: Any = (
            kinds.find("network", kind) if kind in kinds.names("network") else NetworkConfig
        )
        known = getattr(shape, "known", NetworkConfig.known)
        found = known(spec.shape, spec.vocabulary, len(images.classes))
        return {**model, "network": filled("model.network", network, found)}

    @model_validator(mode="after")
    def _guidable(self) -> Self:
        if self.train.drop and self.model.null is None:
            raise ValueError(
                "train.drop needs a null class: set model.network.null_row to true, or drop to 0"
            )
        if self.sampling.guidance != Flat(1.0) and not self.train.drop:
            raise ValueError("sampling.guidance needs a null class: set train.drop above 0")
        return self

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        length = self.model.network.length
        try:
            self.sampling.head_of(self.model.head)
            self.sampling.plan(length)
            nothing = torch.ones(1, length, dtype=torch.bool)
            self.sampling.order.begin(nothing, SeededNoise([0]))
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def objective(self, network: nn.Module, device: torch.device) -> MaskedTokens:
        """Return the loss of a network that this recipe describes."""
        # What ranks share is wrapped; the head inside of it is asked by itself.
        inner: Any = network.module if isinstance(network, DistributedDataParallel) else network
        plan = self.train
        return MaskedTokens(
            network,
            self.model.head.on(inner),
            self.data.through(self.tokenizer.build()),
            inner.tokens,
            plan.masking,
            plan.drop,
            self.model.network.num_classes,
            flip=plan.flip,
            mirror=self.data.mirror() if plan.flip else mirrored,
            seen=plan.seen,
            by_image=plan.by_image,
            drops=getattr(inner, "drops", False),
            device=device,
            autocast=plan.autocast(device),
        )

    def held_out(self, network: nn.Module, device: torch.device, images: Images) -> dict[str, Any]:
        """Return the loss on held-out images."""
        return held_out(self.objective(network, device), images, self.train)

    def product(
        self, network: nn.Module, classes: tuple[str, ...], provenance: Mapping[str, Any]
    ) -> TokenGenerator:
        """Return a generator around a network."""
        model = TokenModel(network, self.model.head)
        return TokenGenerator(
            denoiser=model,
            tokenizer=self.tokenizer.build(),
            classes=classes,
            sampling=self.sampling,
            null=model.null,
            tree=self.tree(classes, provenance),
        )


__all__ = ["MaskedRecipe"]
