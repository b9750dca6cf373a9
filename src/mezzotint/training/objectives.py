"""Objectives: what a batch costs.

Denoising draws a time and noise, and scores the prediction; classifying scores the class.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mezzotint.data.images import Mirror, mirrored
from mezzotint.data.loader import Batch
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.predictions import Truth
from mezzotint.diffusion.times import Times
from mezzotint.noise import Noise, SeededNoise
from mezzotint.tokenizers.base import Tokenizer
from mezzotint.training.augment import Augmentation

LEVELS = 5
"""Fifths of (0, 1], from clean to noisy, by which a denoiser's loss is watched."""


@dataclass(frozen=True)
class Groups:
    """What a loss is broken down by.

    Attributes:
        by: "level" of noise, or "class".
        count: how many groups there are.
    """

    by: str
    count: int


@dataclass(frozen=True)
class Loss:
    """What a batch costs.

    Attributes:
        total: the number to minimise.
        each: cost of each image, without gradient.
        group: the objective's group that each image belongs to, on the CPU.
        parts: what it is made of, where there are several parts; each a mean over the batch.
    """

    total: Float[Tensor, ""]
    each: Float[Tensor, "b"]
    group: Int[Tensor, "b"]
    parts: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


class Objective(Protocol):
    """A function from a batch to its loss."""

    @property
    def groups(self) -> Groups:
        """What the loss is broken down by."""
        ...

    def __call__(self, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        ...


@dataclass(frozen=True)
class Denoising:
    """The loss of a denoiser on noised images, with labels dropped at random.

    Args:
        denoiser: the denoiser to train.
        tokenizer: from images to latents.
        times: how times are drawn.
        drop: share of labels replaced by the null class, so that the model can be guided.
        null: the null class.
        flip: mirror half of the images.
        mirror: how that is done.
    """

    denoiser: NetworkDenoiser
    tokenizer: Tokenizer
    times: Times
    drop: float
    null: int
    flip: bool = False
    mirror: Mirror = mirrored

    @property
    def groups(self) -> Groups:
        """The fifths of the noise levels."""
        return Groups("level", LEVELS)

    def __call__(self, batch: Batch) -> Loss:
        """Draw time, dropped labels, mirroring and noise from each image's seed, and score."""
        noise = SeededNoise(batch.seeds)
        t = self.denoiser.path.snap(self.times(noise.uniform()))
        dropped = noise.uniform() < self.drop
        y = torch.where(dropped, self.null, batch.y)
        if self.flip:
            batch = replace(batch, images=self.mirror(batch.images, noise.uniform() < 0.5))
        return self.at(batch, t, y, noise)

    def at(
        self,
        batch: Batch,
        t: Float[Tensor, "b"],
        y: Int[Tensor, "b"],
        noise: Noise,
    ) -> Loss:
        """Score a batch at given times and labels."""
        device = next(self.denoiser.parameters()).device
        codes = self.tokenizer.encode(batch.images.to(device))
        x0 = self.tokenizer.latents(codes, noise)
        eps = noise(x0)
        path = self.denoiser.path
        scales = path.at(t, x0)
        x = scales.alpha * x0 + scales.sigma * eps
        step = path.step(t)
        truth = Truth(x0, eps, x, scales, None if step is None else step.like(x))
        out = self.denoiser.outputs(x, t, y.to(device))
        each = self.score(out, truth, t, y.to(device))
        return Loss(each.mean(), each.detach(), level(t))

    def score(
        self,
        out: Any,
        truth: Truth,
        t: Float[Tensor, "b"],  # noqa: ARG002 (a teacher is asked at the same t and y)
        y: Int[Tensor, "b"],  # noqa: ARG002
    ) -> Float[Tensor, "b"]:
        """Score the network's outputs, one number an image."""
        return self.denoiser.prediction.loss(out, truth)


def level(t: Float[Tensor, "b"]) -> Int[Tensor, "b"]:
    """Return in which fifth of (0, 1] each time lies, from 0."""
    return (t * LEVELS).ceil().long().clamp(1, LEVELS) - 1


@dataclass(frozen=True)
class Classifying:
    """The cross-entropy of a classifier on augmented images, with smoothed labels.

        -sum_k ((1 - s) [k = y] + s / K) log p_k

    Args:
        network: from latents to logits.
        tokenizer: from images to latents.
        classes: number of classes K.
        augmentations: what is done to the latents, in this order.
        smoothing: s, in [0, 1) (Szegedy et al., arXiv 1512.00567).
        device: where the network is.
        autocast: dtype in which the network may compute, or None for that of its weights.
    """

    network: Callable[[Tensor], Tensor]
    tokenizer: Tokenizer
    classes: int
    augmentations: Sequence[Augmentation] = ()
    smoothing: float = 0.0
    device: torch.device = torch.device("cpu")
    autocast: torch.dtype | None = None

    @property
    def groups(self) -> Groups:
        """The classes."""
        return Groups("class", self.classes)

    def __call__(self, batch: Batch) -> Loss:
        """Change each image by draws from its own seed, and score its logits."""
        noise = SeededNoise(batch.seeds)
        x = self.tokenizer.latents(self.tokenizer.encode(batch.images.to(self.device)), noise)
        for augmentation in self.augmentations:
            x = augmentation(x, noise)
        return self.at(x, batch.y)

    def at(self, x: Float[Tensor, "b c h w"], y: Int[Tensor, "b"]) -> Loss:
        """Score latents as they are."""
        enabled = self.autocast is not None
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=enabled):
            logits = self.network(x)
        each = self.entropy(logits, y)
        return Loss(each.mean(), each.detach(), y.cpu())

    def entropy(self, logits: Float[Tensor, "b k"], y: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the cross-entropy of each image, with smoothed labels, in float32."""
        return cross_entropy(
            logits.float(), y.to(logits.device), reduction="none", label_smoothing=self.smoothing
        )
