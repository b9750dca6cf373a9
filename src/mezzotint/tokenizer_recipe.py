"""The recipe of a run that makes a tokenizer."""

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Self

import torch
from jaxtyping import UInt8
from pydantic import InstanceOf
from torch import Tensor, nn

from mezzotint import config, kinds
from mezzotint.config import part
from mezzotint.data.images import Images, spread
from mezzotint.errors import ConfigError
from mezzotint.evaluation.restoration import EXAMPLES, Restoration
from mezzotint.noise import SeededNoise, mix
from mezzotint.recipe import filled, opened
from mezzotint.recipe_base import Recipe
from mezzotint.stored import NetworkTokenizer, TokenizerModel
from mezzotint.tokenizers.autoencoder import Autoencoder
from mezzotint.tokenizers.base import LatentSpec, floats, pixels
from mezzotint.training.plan import TokenizingPlan
from mezzotint.training.reconstruction import Reconstructing, Trainee, trainee_of
from mezzotint.training.watch import by_group

_AT_A_TIME: Final = 64


class TokenizerRecipe(Recipe):
    """A run that makes a tokenizer; its images are the data's pixels."""

    MODEL = TokenizerModel
    ADVICE = (
        "progress: {0}/metrics.jsonl and {0}/samples (given above, back below); held_out_psnr "
        "there is on images that are never trained on"
    )
    NEXT = "a recipe of a generator on its latents says: tokenizer: {{kind: stored, source: {0}}}"

    model: Annotated[InstanceOf[TokenizerModel], part("model")]
    train: TokenizingPlan

    @classmethod
    def filled_model(
        cls,
        model: dict[str, Any],
        spec: LatentSpec,  # noqa: ARG003 (a tokenizer is trained on pixels, not on latents)
        images: Images,
    ) -> dict[str, Any]:
        """Return the tree of a model with the size of the images, and the length of clips."""
        network = opened("model.network", model.get("network", {}))
        kind = network.get("kind")
        fields: tuple[str, ...] = ()
        if kind in kinds.names("network"):
            fields = tuple(config.field_names(kinds.find("network", kind)))
        known = {"size": images.size, "frames": getattr(images, "frames", 1)}
        wanted = {name: value for name, value in known.items() if name in fields}
        if known["frames"] > 1 and fields and "frames" not in fields:
            raise ConfigError(
                f"data: clips of {known['frames']} frames, but model.network: {kind} takes single "
                "pictures; take one of clips, such as vitok"
            )
        whole = filled("model", model, {"size": images.size})
        return {**whole, "network": filled("model.network", network, wanted)}

    def pinned(self, classes: tuple[str, ...]) -> Self:  # noqa: ARG002 (generators ask for them)
        """Fill in the digest of what tells how far images are apart to the eye."""
        if self.train.perceptual is None:
            return self
        plan = self.train.model_copy(update={"perceptual": self.train.perceptual.pinned()})
        return self.model_copy(update={"train": plan})

    def network(self) -> Trainee:
        """Make the autoencoder and what it has to fool; freeze what is not trained."""
        made = self.model.build()
        for name, parameter in made.named_parameters():
            if self.train.freeze and name.startswith(made.FRONT):
                parameter.requires_grad = False
        return Trainee(made, self.model.size, self.train.adversarial)

    def heir(self, network: nn.Module) -> Autoencoder:
        """Return the autoencoder, which takes over another one's weights."""
        return trainee_of(network).autoencoder

    def begins(self, network: nn.Module, fresh: Iterable[str]) -> None:
        """Refuse to keep an encoder for good that was never trained."""
        assert isinstance(network, Autoencoder), "the heir of a tokenizer's run"
        front = [name for name in fresh if name.startswith(network.FRONT)]
        if self.train.freeze and front:
            raise ConfigError(
                f"train.freeze: the encoder would stay as it was drawn ({config.few(front)}); "
                "start from a trained tokenizer of this shape by --init-from, or set it to false"
            )

    def objective(self, network: nn.Module, device: torch.device) -> Reconstructing:
        """Return the loss of a network that this recipe describes."""
        plan = self.train
        self.pictured(self.tokenizer.build())
        apart = None if plan.perceptual is None else plan.perceptual.to(device)
        return Reconstructing(
            network,
            len(self._images.classes),
            plan.pixel,
            apart,
            plan.weights,
            plan.adversarial,
            plan.augmentations,
            device,
            plan.autocast(device),
        )

    def held_out(self, network: nn.Module, device: torch.device, images: Images) -> dict[str, Any]:
        """Return PSNR, SSIM and the pixel loss of held-out images, nothing being drawn."""
        inside = trainee_of(network.to(device)).autoencoder
        rows, count = spread(len(images), self.train.validate_images), self.model.network.vocabulary
        with torch.no_grad():
            found = Restoration.of(
                lambda given: pixels(inside(floats(given.to(device)))),
                lambda given: inside.encode(floats(given.to(device))),
                images,
                rows,
                count,
            )
        by_class = by_group(found.psnr, images.labels[rows], max(len(images.classes), 1))
        loss = float((4 * 10 ** (-found.psnr / 10)).mean())  # the mean square, values in [-1, 1]
        told = {"held_out": loss, **found.tree("held_out_")}
        return told | {"held_out_psnr_by_class": by_class}

    def product(
        self,
        network: nn.Module,
        classes: tuple[str, ...],  # noqa: ARG002 (a tokenizer knows none)
        provenance: Mapping[str, Any],
    ) -> NetworkTokenizer:
        """Return a tokenizer around a network, scaled by the latents of training images."""
        made = self._tokenizer(network, self.model, {})
        scaled = self.train.measured and not self.model.network.vocabulary
        model = self._scaled(made) if scaled else self.model
        return self._tokenizer(network, model, {"model": model, "provenance": provenance})

    def _tokenizer(
        self, network: nn.Module, model: TokenizerModel, tree: Mapping[str, Any]
    ) -> NetworkTokenizer:
        inside = trainee_of(network).autoencoder
        print_ = model.fingerprint(inside)
        return NetworkTokenizer(inside, model, model.size, print_, tree, self._examples)

    def _scaled(self, made: NetworkTokenizer) -> TokenizerModel:
        """Return the model with mean 0 and deviation 1 of the latents of training images."""
        rows = spread(len(self._images), self.train.measured)
        parts = []
        device = next(made.network.parameters()).device
        for part_rows in rows.split(_AT_A_TIME):
            codes = made.encode(self._images.read(part_rows).to(device))
            noise = SeededNoise([mix(self.train.seed, 8, int(row)) for row in part_rows])
            parts.append(made.network.draw(codes, noise).cpu())
        latents = torch.cat(parts).double()
        deviation = float(latents.std())
        scale = 1 / deviation if math.isfinite(deviation) and deviation > 0 else 1.0
        changed = {"scale": scale, "shift": float(latents.mean())}
        return self.model.model_copy(update=changed)

    @cached_property  # opening a data set may take a while
    def _images(self) -> Images:
        return self.data.train()

    @cached_property
    def _examples(self) -> UInt8[Tensor, "n 3 H W"]:
        held_out = self.data.held_out()
        images = held_out if len(held_out) else self._images
        return images.read(spread(len(images), EXAMPLES))


__all__ = ["TokenizerRecipe"]
