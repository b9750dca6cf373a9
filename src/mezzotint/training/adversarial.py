"""The loss of a generator from codes: image, feature and adversarial terms, and its opponent's.

    L_G = a |G(h) - x|^2 + b |maps(G(h)) - maps(x)|^2 + c |h(G(h)) - h|^2 + d softplus(-D(G(h)))
    L_D = softplus(-D(x)) + softplus(D(G(h)))

Nguyen et al., arXiv 1612.00005: noiseless joint PPGN-h has c = 0 and no noise; joint PPGN-h has
noise on x, on the maps and on h. Squares are means over elements here, sums there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from mezzotint.config import Config
from mezzotint.data.images import mirrored
from mezzotint.data.loader import Batch
from mezzotint.diffusion.conditions import middle
from mezzotint.diffusion.estimate import fit
from mezzotint.diffusion.strides import magnitude
from mezzotint.networks.classifier import ClassifierNetwork
from mezzotint.networks.players import Played
from mezzotint.noise import Noise, SeededNoise
from mezzotint.tokenizers.base import Tokenizer
from mezzotint.training.objectives import Groups, Loss

PAUSES: Final = (0.1, 10.0)
"""L_D over the adversarial term: below the first D pauses, above the second G does."""


class Terms(Config):
    """Weights of the terms, each a mean over elements of images in [-1, 1].

    Attributes:
        image: a, of pixels.
        maps: b, of the encoder's last map.
        code: c, of the code.
        adversarial: d.
    """

    image: float = Field(default=1.0, ge=0)
    maps: float = Field(default=1.0, ge=0)
    code: float = Field(default=0.0, ge=0)
    adversarial: float = Field(default=0.01, ge=0)


class Jitter(Config):
    """Noise on the way to the code, as a share of the mean magnitude of what it is added to.

    Attributes:
        image: on x; around 0.1 for joint PPGN-h (from memory), as the next two.
        maps: on the encoder's last map.
        code: on h.
    """

    image: float = Field(default=0.0, ge=0)
    maps: float = Field(default=0.0, ge=0)
    code: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class Encoder:
    """A frozen classifier as an encoder; it sees the middle of an image.

    Attributes:
        network: the classifier.
        size: rows and columns that it reads.
    """

    network: ClassifierNetwork
    size: int

    def maps(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Return the last map of images."""
        return self.network.maps(middle(x, self.size))

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n"]:
        """Return the codes of images."""
        return self.network.code(self.maps(x))

    def jittered(
        self, x: Float[Tensor, "b c h w"], jitter: Jitter, noise: Noise
    ) -> Float[Tensor, "b n"]:
        """Return the codes of images, with noise at three places on the way."""
        maps = self.maps(shaken(x, jitter.image, noise))
        codes = self.network.code(shaken(maps, jitter.maps, noise))
        return shaken(codes, jitter.code, noise)


def shaken(x: Float[Tensor, "b ..."], share: float, noise: Noise) -> Float[Tensor, "b ..."]:
    """Return x with noise whose deviation is a share of each row's mean magnitude."""
    if share == 0:
        return x
    return x + fit(share * magnitude(x), x) * noise(x)


@dataclass(frozen=True)
class Reconstructed:
    """How well images come back, each a mean over elements, a number an image."""

    image: Float[Tensor, "b"]
    maps: Float[Tensor, "b"]
    code: Float[Tensor, "b"]

    @classmethod
    def of(
        cls, encoder: Encoder, made: Float[Tensor, "b c h w"], x: Float[Tensor, "b c h w"]
    ) -> "Reconstructed":
        """Compare what is made with what it should be."""
        with torch.no_grad():
            maps = encoder.maps(x)
            code = encoder.network.code(maps)
        found = encoder.maps(made)
        return cls(_gap(made, x), _gap(found, maps), _gap(encoder.network.code(found), code))

    def weighted(self, terms: Terms) -> Float[Tensor, "b"]:
        """Return the weighted sum, without the adversarial term."""
        return terms.image * self.image + terms.maps * self.maps + terms.code * self.code


@dataclass(frozen=True)
class Playing:
    """The losses of all players at once; none reaches another's weights.

    A player that pauses has a loss of 0 for this step. Its gradient is then 0 too, so what Adam
    remembers runs out over about ten steps, and every rank has a gradient for every weight.

    Args:
        players: from codes, images and noisy codes to what they make of them.
        encoder: frozen.
        tokenizer: from images to [-1, 1].
        classes: number of classes, by which the loss is watched.
        terms: weights of the generator's loss.
        jitter: noise on the way to the code.
        corruption: of the autoencoder's codes, as a share of their mean magnitude.
        device: where the networks are.
        flip: mirror half of the images.
        autocast: dtype in which the networks may compute, or None.
    """

    players: Callable[[Tensor, Tensor, Tensor], Played]
    encoder: Encoder
    tokenizer: Tokenizer
    classes: int
    terms: Terms = Terms()
    jitter: Jitter = Jitter()
    corruption: float = 0.1
    device: torch.device = torch.device("cpu")
    flip: bool = False
    autocast: torch.dtype | None = None

    @property
    def groups(self) -> Groups:
        """The classes."""
        return Groups("class", max(self.classes, 1))

    def __call__(self, batch: Batch) -> Loss:
        """Score a batch; every draw comes from its image's own seed."""
        noise = SeededNoise(batch.seeds)
        if self.flip:
            batch = replace(batch, images=mirrored(batch.images, noise.uniform() < 0.5))
        x = self.tokenizer.latents(self.tokenizer.encode(batch.images.to(self.device)), noise)
        enabled = self.autocast is not None
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=enabled):
            with torch.no_grad():
                clean = self.encoder(x)
                codes = self.encoder.jittered(x, self.jitter, noise)
                noisy = shaken(clean, self.corruption, noise)
            played = self.players(codes, x, noisy)
            back = Reconstructed.of(self.encoder, played.images, x)
        return self._scored(played, back, clean, batch)

    def _scored(
        self, played: Played, back: Reconstructed, clean: Float[Tensor, "b n"], batch: Batch
    ) -> Loss:
        """Return the generator's loss of each image, and what all players are trained by."""
        fooled = softplus(-played.judged.float())
        rival = (softplus(-played.real.float()) + softplus(played.fake.float())).mean()
        each = back.weighted(self.terms) + self.terms.adversarial * fooled
        ratio = float(rival.detach() / fooled.detach().mean().clamp_min(1e-12))
        total = each.mean() * float(ratio <= PAUSES[1]) + rival * float(ratio >= PAUSES[0])
        parts = {"image": back.image, "maps": back.maps, "fooled": fooled, "rival": rival}
        if played.codes is not None:
            parts["autoencoder"] = _gap(played.codes, clean)
            total = total + parts["autoencoder"].mean()
        means = {name: value.detach().mean() for name, value in parts.items()}
        return Loss(total, each.detach(), batch.y.cpu(), means)


def _gap(one: Float[Tensor, "b ..."], other: Float[Tensor, "b ..."]) -> Float[Tensor, "b"]:
    return (one.float() - other.float()).square().flatten(1).mean(1)


__all__ = ["Encoder", "Jitter", "Playing", "Reconstructed", "Terms", "shaken"]
