"""The recipe of a PPGN run: `train:` for a generator from codes, and what the run asks of it."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import Field, InstanceOf
from torch import nn

from mezzotint.classifier import Classifier
from mezzotint.config import part
from mezzotint.data.images import Images, spread
from mezzotint.errors import ConfigError
from mezzotint.networks.players import Players
from mezzotint.noise import SeededNoise
from mezzotint.plugged.model import Plugged, PluggedConfig, code_length, encoder_of
from mezzotint.plugged.walk import Walk
from mezzotint.recipe_base import Recipe
from mezzotint.tokenizers.base import Pixels, pixels
from mezzotint.training.adversarial import Jitter, Playing, Reconstructed, Terms
from mezzotint.training.plan import TrainPlan


class PluggedPlan(TrainPlan):
    """What a PPGN run adds.

    Attributes:
        terms: weights of the generator's loss.
        jitter: noise on the way to the code; joint PPGN-h has some, noiseless joint none.
        corruption: noise on the autoencoder's codes, as a share of their mean magnitude.
        flip: mirror half of the images.
        sample_every: steps between sample grids.
    """

    terms: Terms = Terms()
    jitter: Jitter = Jitter()
    corruption: float = Field(default=0.1, ge=0)
    flip: bool = False
    sample_every: int = Field(default=1000, ge=1)

    def draws(self, step: int) -> bool:
        """Return whether samples are drawn after a step."""
        return step % self.sample_every == 0


class PluggedRecipe(Recipe):
    """A run that makes a generator from codes.

    Attributes:
        sampling: how chains walk, in training and by default ever after.
    """

    MODEL = PluggedConfig
    ADVICE = (
        "progress: {0}/metrics.jsonl and {0}/samples; held_out_accuracy there says how many "
        "images the encoder still knows once they have come back"
    )
    NEXT = "mezzotint sample {0}"

    model: Annotated[InstanceOf[PluggedConfig], part("model")]
    train: PluggedPlan
    sampling: Annotated[Walk, part("walk")] = Walk()

    def pinned(self, classes: tuple[str, ...]) -> Self:  # noqa: ARG002 (codes have no classes)
        """Fill in the encoder's digest and the length of its codes.

        Raises:
            ConfigError: it cannot encode, reads larger images, or the data are not pixels.
        """
        if not isinstance(self.tokenizer, Pixels):
            raise ConfigError("tokenizer: codes are of pixels here; expected {kind: pixels}")
        source = self.model.encoder.pinned()
        found = source.open()
        if found.size > self.tokenizer.size:
            raise ConfigError(
                f"model.encoder reads {found.size} px and the data are {self.tokenizer.size} px; "
                "take an encoder of that size or of a smaller one"
            )
        network = self.model.network.coded(code_length(encoder_of(found), found))
        update = {"encoder": source, "network": network}
        return self.model_copy(update={"model": self.model.model_copy(update=update)})

    def objective(self, network: nn.Module, device: torch.device) -> Playing:
        """Return the losses of the networks that this recipe describes."""
        plan = self.train
        return Playing(
            network,
            encoder_of(self._encoder(device)),
            self.tokenizer.build(),
            self.model.network.num_classes,
            terms=plan.terms,
            jitter=plan.jitter,
            corruption=plan.corruption,
            device=device,
            flip=plan.flip,
            autocast=plan.autocast(device),
        )

    def _encoder(self, device: torch.device) -> Classifier:
        return self.model.encoder.open().to(device)

    @torch.no_grad()
    def held_out(self, network: nn.Module, device: torch.device, images: Images) -> dict[str, Any]:
        """Return how held-out images come back, and how many the encoder still names right."""
        assert isinstance(network, Players), "a recipe's networks are what it builds"
        found, tokenizer = self._encoder(device), self.tokenizer.build()
        encoder, parts, right = encoder_of(found), [], 0
        rows = spread(len(images), self.train.validate_images)
        for some in rows.split(self.train.batch):
            codes = tokenizer.encode(images.read(some).to(device))
            x = tokenizer.latents(codes, SeededNoise(some.tolist()))
            made = network.generator.to(device)(encoder(x))
            back = Reconstructed.of(encoder, made, x)
            parts.append(torch.stack([back.weighted(self.train.terms), back.image, back.maps]))
            seen = pixels(made).cpu()
            right += int((_named(found, seen) == images.labels[some]).sum())
        loss, image, maps = torch.cat(parts, 1).mean(1).tolist()
        accuracy = right / len(rows)
        return {
            "held_out": loss,
            "held_out_image": image,
            "held_out_maps": maps,
            "held_out_accuracy": accuracy,
        }

    def product(
        self, network: nn.Module, classes: tuple[str, ...], provenance: Mapping[str, Any]
    ) -> Plugged:
        """Return the model around the networks."""
        assert isinstance(network, Players), "a recipe's product is around its networks"
        tree = self.tree(classes, provenance)
        device = network.lowest.device
        return Plugged(network, self.model, self._encoder(device), classes, self.sampling, tree)


def _named(found: Classifier, images: torch.Tensor) -> torch.Tensor:
    top = (images.shape[-1] - found.size) // 2
    return found(images[..., top : top + found.size, top : top + found.size]).argmax(1)


__all__ = ["PluggedPlan", "PluggedRecipe"]
