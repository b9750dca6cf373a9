"""Training of tokenizers: images are encoded and decoded, and what came back is compared.

    pixel(x, y) + p perceptual(x, y) + k penalty(codes) + g(step) (-D(y))

The penalty is the autoencoder's own: the divergence of a KL autoencoder's codes, the commitment of
a quantised one's. With a discriminator D the decoder is fooling it, and D learns on the same images
in the same step. ViTok, arXiv 2501.09755, trains in two stages: without D, then the decoder alone
with it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from mezzotint.config import Config
from mezzotint.data.loader import Batch
from mezzotint.nn.adversarial import StyleDiscriminator, discriminator_loss, lecam
from mezzotint.noise import Noise, SeededNoise, even
from mezzotint.tokenizers.autoencoder import Autoencoder
from mezzotint.tokenizers.base import floats
from mezzotint.training.augment import Augmentation
from mezzotint.training.objectives import Groups, Loss
from mezzotint.training.pixel_losses import PixelLoss, Squared

Weight = Annotated[float, Field(ge=0)]
Perceptual = Callable[[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]], Float[Tensor, "b"]]
"""How far pictures in [-1, 1] are from their originals to the eye, one number each."""
_PAST: Final = 0.999  # of the running means of logits


class Adversarial(Config):
    """A discriminator and its part in the loss.

    Attributes:
        weight: of the decoder's part; the paper's text says 1, its appendix finds 0.05 best.
        lr: of the discriminator, constant after its warm-up.
        warmup: steps of linear rise to that.
        starts: steps before the decoder's part begins.
        ramp: steps over which it rises to its weight.
        share: of the published discriminator's channels.
        lecam: weight of the LeCam term of the discriminator; not used by ViTok.
    """

    weight: float = Field(default=0.05, gt=0)
    lr: float = Field(default=2e-5, gt=0)
    warmup: int = Field(default=0, ge=0)
    starts: int = Field(default=0, ge=0)
    ramp: int = Field(default=0, ge=0)
    share: float = Field(default=1.0, gt=0)
    lecam: Weight = 0.0

    def rate(self, step: int) -> float:
        """Return the discriminator's learning rate of a step, counted from 0."""
        return self.lr * min(1.0, (step + 1) / max(self.warmup, 1))

    def at(self, step: int) -> float:
        """Return the weight of the decoder's part at a step, counted from 0."""
        return self.weight * min(1.0, max(0.0, (step + 1 - self.starts) / max(self.ramp, 1)))


@dataclass(frozen=True)
class Seen:
    """What one pass over a batch gives.

    Attributes:
        images: as they came back.
        pictures, originals: single frames, where a clip is a strip of several.
        penalty: of the codes, one number an image.
        fooled: logits of `pictures`, for the decoder to raise; None without a discriminator.
        told: loss of the discriminator; None without one.
    """

    images: Float[Tensor, "b 3 H W"]
    pictures: Float[Tensor, "b 3 h w"]
    originals: Float[Tensor, "b 3 h w"]
    penalty: Float[Tensor, "b"]
    fooled: Float[Tensor, "b 1"] | None = None
    told: Float[Tensor, ""] | None = None


class Trainee(nn.Module):
    """An autoencoder in training, and whom it has to fool.

    Args:
        autoencoder: with gradients where it is trained.
        size: rows and columns of a picture.
        adversarial: the discriminator, if there is one.
    """

    past: Tensor

    def __init__(
        self, autoencoder: Autoencoder, size: int, adversarial: Adversarial | None = None
    ) -> None:
        super().__init__()
        self.autoencoder, self.size = autoencoder, size
        self.lecam = 0.0
        self.critic: StyleDiscriminator | None = None
        if adversarial is not None:
            channels = autoencoder.config.channels
            self.critic = StyleDiscriminator(size, channels, adversarial.share)
            self.lecam = adversarial.lecam
            self.register_buffer("past", torch.zeros(2))  # mean logits of real ones, of others

    def parties(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each party, whose gradients are clipped apart."""
        whole = (self.autoencoder, self.critic)
        trained = [[p for p in m.parameters() if p.requires_grad] for m in whole if m is not None]
        return [each for each in trained if each]

    def forward(self, x: Float[Tensor, "b 3 H W"], noise: Noise) -> Seen:
        """Send images through, and show what comes back to the discriminator.

        Args:
            x: images in [-1, 1], or strips of frames.
            noise: draws latents, and the frame of a clip that is looked at.
        """
        images, penalty = self.autoencoder.reconstruct(x, noise)
        frames = x.shape[2] // self.size
        which = (even(x.new_zeros(len(x), 1).cpu(), noise).flatten() + 1) / 2 if frames > 1 else 0
        shown = self._frames(images, which), self._frames(x, which)
        if self.critic is None:
            return Seen(images, *shown, penalty)
        frozen = {name: p.detach() for name, p in self.critic.named_parameters()}
        fooled = functional_call(self.critic, frozen, (shown[0],))
        real, fake = self.critic(shown[1]), self.critic(shown[0].detach())
        return Seen(images, *shown, penalty, fooled, self._told(real.float(), fake.float()))

    def _frames(self, x: Float[Tensor, "b 3 H W"], which: Tensor | int) -> Tensor:
        """Return one frame of each strip."""
        frames = x.unflatten(2, (-1, self.size))
        count = frames.shape[2]
        index = (torch.as_tensor(which) * count).long().clamp(0, count - 1)
        return frames[torch.arange(len(x)), :, index.to(x.device).expand(len(x))]

    def _told(self, real: Float[Tensor, "b 1"], fake: Float[Tensor, "b 1"]) -> Float[Tensor, ""]:
        loss = discriminator_loss(real, fake)
        if not self.lecam:
            return loss
        means = torch.stack([real.mean(), fake.mean()])
        loss = loss + self.lecam * lecam(means[0], means[1], *self.past.clone())
        with torch.no_grad():
            # A step that is skipped as not finite must not be remembered either.
            self.past.lerp_(torch.where(means.isfinite(), means, self.past), 1 - _PAST)
        return loss


@dataclass(frozen=True)
class Weights:
    """Of the parts of the loss.

    Attributes:
        pixel, perceptual, penalty: see the formula above.
    """

    pixel: Weight = 1.0
    perceptual: Weight = 1.0
    penalty: Weight = 1e-3


@dataclass(frozen=True)
class Reconstructing:
    """The loss of an autoencoder on augmented images; a discriminator's is added.

    Args:
        network: the trainee, or what shares its gradients.
        classes: number of classes, by which the loss is watched.
        pixel, perceptual: how far images are from their originals; perceptual may be None.
        weights: of the parts.
        adversarial: the discriminator's part, where the trainee has one.
        augmentations: what is done to the images, in this order.
        device: where the network is.
        autocast: dtype in which it may compute, or None for that of its weights.
    """

    network: nn.Module
    classes: int
    pixel: PixelLoss = Squared()
    perceptual: Perceptual | None = None
    weights: Weights = Weights()
    adversarial: Adversarial | None = None
    augmentations: Sequence[Augmentation] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    autocast: torch.dtype | None = None

    @property
    def groups(self) -> Groups:
        """The classes; images without are of one."""
        return Groups("class", max(self.classes, 1))

    def __call__(self, batch: Batch) -> Loss:
        """Change each image by draws from its own seed, send it through and compare."""
        noise = SeededNoise(batch.seeds)
        x = floats(batch.images.to(self.device))
        return self.at(self._augmented(x, noise), batch, noise)

    def _augmented(self, x: Float[Tensor, "b 3 H W"], noise: Noise) -> Float[Tensor, "b 3 H W"]:
        """Change pictures; the frames of a clip are changed alike, each for itself."""
        frames = x.shape[2] // trainee_of(self.network).size
        rows = x.unflatten(2, (frames, -1)).transpose(1, 2).flatten(0, 1)

        def shared(like: Tensor) -> Tensor:
            return noise(like[::frames]).repeat_interleave(frames, 0)

        for augmentation in self.augmentations:
            rows = augmentation(rows, shared)
        return rows.unflatten(0, (-1, frames)).transpose(1, 2).flatten(2, 3)

    def at(self, x: Float[Tensor, "b 3 H W"], batch: Batch, noise: Noise) -> Loss:
        """Compare images as they are; labels and step are the batch's."""
        enabled = self.autocast is not None
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=enabled):
            seen: Seen = self.network(x, noise)
        parts = self._parts(seen, x, batch.step)
        each = torch.stack(list(parts.values())).sum(0)
        told = {} if seen.told is None else {"discriminator": seen.told.detach()}
        logged = {name: value.detach().mean() for name, value in parts.items()} | told
        total = each.mean() if seen.told is None else each.mean() + seen.told
        return Loss(total, each.detach(), batch.y.cpu(), logged)

    def _parts(self, seen: Seen, x: Tensor, step: int) -> Mapping[str, Float[Tensor, "b"]]:
        """Return the weighted parts of each image's loss, in float32."""
        weights = self.weights
        parts = {"pixel": weights.pixel * self.pixel(seen.images.float(), x)}
        if self.perceptual is not None and weights.perceptual:
            # Outside of the network's autocast: how far two images are apart is a small number.
            apart = self.perceptual(seen.pictures.float(), seen.originals)
            parts["perceptual"] = weights.perceptual * apart
        parts["penalty"] = weights.penalty * seen.penalty.float()
        if seen.fooled is not None and self.adversarial is not None:
            parts["adversarial"] = -self.adversarial.at(step) * seen.fooled.float().flatten()
        return parts


def trainee_of(network: nn.Module) -> Trainee:
    """Return the trainee itself, also where it is shared by several processes."""
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    assert isinstance(inner, Trainee), "a tokenizer's run trains a trainee"
    return inner


__all__ = [
    "Adversarial",
    "Perceptual",
    "Reconstructing",
    "Seen",
    "Trainee",
    "Weights",
    "trainee_of",
]
