"""The facade of noise-aware classifiers: noisy images and their time in, logits out; what steers.

    logits = network(x_t, clock(t)),    x_t = alpha x0 + sigma eps on the path it was trained on

Low accuracy on noisy images is normal, so it is measured by fifths of the noise.
Dhariwal & Nichol, arXiv 2105.05233, section 4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Self

import torch
from jaxtyping import Float, Int
from pydantic import InstanceOf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mezzotint import checkpoint, config
from mezzotint.card import cost
from mezzotint.classifier import BLOCK
from mezzotint.config import Config, part
from mezzotint.data.images import Images, held_out_of
from mezzotint.diffusion.critics import NoisyCritic
from mezzotint.diffusion.paths import DiscreteVP, Path
from mezzotint.networks.adm_classifier import ADMClassifierConfig
from mezzotint.networks.classifier import ClassifierNetworkConfig
from mezzotint.noise import SeededNoise, mix
from mezzotint.recogniser import Recogniser
from mezzotint.tokenizers.base import TokenizerConfig

LEVELS = 5
"""Fifths of (0, 1], from clean to noisy, by which accuracy is told."""

Reader = Callable[[Tensor, Tensor], Tensor]


class NoisyClassifierConfig(Config):
    """A network that names the class of a noisy image.

    Attributes:
        network: ADM's encoder, which reads the time, or any classifier, which does not.
        path: from data to noise; that of the models which it will steer.
    """

    network: Annotated[
        InstanceOf[ADMClassifierConfig] | InstanceOf[ClassifierNetworkConfig], part("network")
    ]
    path: Annotated[Path, part("path")] = DiscreteVP()

    def build(self) -> nn.Module:
        """Make the network, freshly initialised."""
        return self.network.build()

    def reader(self, network: Callable[..., Tensor]) -> Reader:
        """Return a network, as this config builds it, as a function of noisy images and times."""
        if isinstance(self.network, ADMClassifierConfig):
            return network
        return Untimed(network)

    def open(
        self, tree: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object
    ) -> "NoisyClassifier":
        """Return the classifier that a stored tree describes, filled with tensors."""
        stored = config.build(_Stored, {k: tree[k] for k in _Stored.model_fields if k in tree})
        network = stored.model.build()
        checkpoint.load_strictly(network, tensors, source)
        return NoisyClassifier(
            network, stored.model, stored.tokenizer.build(), stored.classes, tree
        )


@dataclass(frozen=True)
class Untimed:
    """A network that is shown noisy images and not told the time."""

    network: Callable[[Tensor], Tensor]

    def __call__(
        self,
        x: Float[Tensor, "b c h w"],
        time: Float[Tensor, "b"],  # noqa: ARG002 (that is the point)
    ) -> Float[Tensor, "b k"]:
        """Return the logits."""
        return self.network(x)


class _Stored(Config):
    model: Annotated[InstanceOf[NoisyClassifierConfig], part("model")]
    tokenizer: Annotated[InstanceOf[TokenizerConfig], part("tokenizer")]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class NoisyClassifier(Recogniser):
    """Names the class of noisy images; its network reads noisy latents, and perhaps their time."""

    model: NoisyClassifierConfig

    def critic(self) -> NoisyCritic:
        """Return log p(y | x_t), for `Steered`."""
        return NoisyCritic(self.model.reader(self.network), self.model.path)

    @torch.no_grad()
    def logits(self, x: Float[Tensor, "b c h w"], t: Float[Tensor, "b"]) -> Float[Tensor, "b k"]:
        """Return the logits of noisy latents.

        Args:
            x: noisy latents.
            t: their times, float64 on the CPU.
        """
        time = self.model.path.network_time(t).to(x.device, x.dtype)
        return self.model.reader(self.network)(x, time)

    def looked(self, images: Images, rows: Int[Tensor, "n"], seed: int = 0) -> dict[str, Any]:
        """Return loss and accuracy on labelled images, noised at times spread over each fifth.

        Args:
            images: a labelled set.
            rows: which of them; each is looked at once a fifth.
            seed: of the noise.
        """
        right, losses = [], []
        for level in range(LEVELS):
            names, loss = [], 0.0
            for first, part_rows in enumerate(rows.split(BLOCK)):
                logits, y = self._noised(images, part_rows, level, mix(seed, 11, level, first))
                names.append(logits.argmax(1) == y)
                loss += float(cross_entropy(logits, y, reduction="sum")) / len(rows)
            right.append(float(torch.cat(names).double().mean()))
            losses.append(loss)
        return {
            "loss": sum(losses) / LEVELS,
            "accuracy": sum(right) / LEVELS,
            "accuracy_by_level": right,
        }

    def _noised(
        self, images: Images, rows: Int[Tensor, "b"], level: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of images noised within a fifth of (0, 1], and their labels."""
        noise = SeededNoise([mix(seed, k) for k in range(len(rows))])
        device = next(self.network.parameters()).device
        codes = self.tokenizer.encode(images.read(rows).to(device))
        x0 = self.tokenizer.latents(codes, noise)
        t = self.model.path.snap((level + 1 - noise.uniform()) / LEVELS)
        scales = self.model.path.at(t, x0)
        x = scales.alpha * x0 + scales.sigma * noise(x0)
        return self.logits(x, t).float().cpu(), images.labels[rows]

    def cost(self) -> dict[str, int]:
        """Return parameters, and multiply-adds of one network evaluation of one image."""
        weight = next(self.network.parameters())
        x = weight.new_zeros(1, *self.tokenizer.spec.shape)
        inputs = (x, x.new_zeros(1)) if self.model.reader(self.network) is self.network else (x,)
        return cost(self.network, *inputs)

    def measured(self) -> Self:
        """Return itself with its accuracy by level of noise on held-out images in its tree.

        Raises:
            ConfigError: the tree does not tell on which data it was trained.
        """
        images = held_out_of(self.tree)
        found = self.looked(images, torch.arange(len(images)))
        return replace(self, tree={**self.tree, "by_noise": found | self.cost()})


def load(source: FilePath | str) -> NoisyClassifier:
    """Load a noise-aware classifier.

    Args:
        source: the name of a zoo model, a folder, or a .safetensors file.

    Raises:
        CheckpointError: nothing is there, or it is of another kind.
    """
    found: NoisyClassifier = checkpoint.open_model(source, "noisy-classifier")
    return found


__all__ = ["NoisyClassifier", "NoisyClassifierConfig", "Untimed", "load"]
