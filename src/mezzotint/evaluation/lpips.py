"""LPIPS v0.1: how far apart two images are to a person, by a network that was fitted to say so.

d(x, y) = sum over layers of mean over pixels of w · (x̂ - ŷ)², where x̂ are a layer's activations
scaled to length 1 at each pixel and w >= 0 is the layer's fitted head.
Source: Zhang et al. 2018, arXiv:1801.03924; github.com/richzhang/PerceptualSimilarity, lpips.py.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float, Float32, Float64, Shaped, UInt8
from torch import Tensor, nn
from torchvision.models import alexnet, vgg16

from mezzotint.checkpoint import load_strictly
from mezzotint.errors import CheckpointError, DataError
from mezzotint.evaluation.blocks import exact_float32
from mezzotint.evaluation.weights import (
    WAYS,
    Published,
    Weights,
    digest_of,
    find_published,
    find_weights,
)

SHIFT: Final = (-0.030, -0.088, -0.188)
SCALE: Final = (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation for pixels in [-1, 1], 2 (0.485, 0.456, 0.406) - 1 and
2 (0.229, 0.224, 0.225): the ScalingLayer of the authors' lpips.py."""

TINY: Final = 1e-8
"""Added under the root of an activation's length, as torchmetrics does; the lpips package adds
1e-10 after the root, which differs where a layer is all but silent."""

HEADS: Final = ("lpips/weights/v0.1", "torchmetrics/functional/image/lpips_models")
"""Packages that bring the fitted heads, and where in them."""

AUTHORS: Final = "https://github.com/richzhang/PerceptualSimilarity"

TORCHVISION: Final = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Backbone:
    """A classifier of ImageNet, and where LPIPS reads it.

    Attributes:
        name: "alex" or "vgg", as the heads' files are called.
        build: makes the whole classifier.
        taps: indices of the layers in its `features`.
        widths: channels of those layers.
        smallest: height and width in px below which a layer has nothing left.
        weights: the file that torchvision has of it.
    """

    name: str
    build: Callable[[], nn.Module]
    taps: tuple[int, ...]
    widths: tuple[int, ...]
    smallest: int
    weights: Published


_ALEXNET: Final = "alexnet-owt-7be5be79.pth"
_VGG16: Final = "vgg16-397923af.pth"

ALEX: Final = Backbone(
    "alex",
    alexnet,
    taps=(1, 4, 7, 9, 11),
    widths=(64, 192, 384, 256, 256),
    smallest=31,
    weights=Published(_ALEXNET, TORCHVISION + _ALEXNET, "7be5be79"),
)
"""The authors' default for comparing images."""

VGG: Final = Backbone(
    "vgg",
    vgg16,
    taps=(3, 8, 15, 22, 29),
    widths=(64, 128, 256, 512, 512),
    smallest=16,
    weights=Published(_VGG16, TORCHVISION + _VGG16, "397923af"),
)
"""What tokenizers are trained with, hence the kinder judge of them."""


@dataclass(frozen=True, eq=False)
class LPIPS:
    """A paired metric (`paired.PairedMetric`); lower is better, 0 for equal images.

    Attributes:
        backbone: which classifier it looks through.
        layers: that classifier's `features`, frozen.
        heads: the weights w, one vector a layer.
        digest: of both files.
    """

    backbone: Backbone
    layers: nn.Sequential = field(repr=False)
    heads: tuple[Float32[Tensor, "_c"], ...] = field(repr=False)
    digest: str
    unit: str = ""
    higher_is_better: bool = False

    @property
    def name(self) -> str:
        """Name of the metric with its backbone; numbers of the two do not compare."""
        return f"LPIPS-{self.backbone.name}"

    @torch.no_grad()
    def __call__(
        self, images: UInt8[Tensor, "b 3 h w"], originals: UInt8[Tensor, "b 3 h w"]
    ) -> Float64[Tensor, "b"]:
        """Compare a batch with its originals, on the device of the layers.

        Raises:
            DataError: the images are too small for the backbone.
        """
        height, width = images.shape[-2:]
        least = self.backbone.smallest
        if min(height, width) < least:
            raise DataError(
                f"{self.name}: images of {width} x {height} px, expected at least {least} x "
                f"{least}; leave LPIPS out or enlarge both images and originals"
            )
        total = torch.zeros(len(images), dtype=torch.float64)
        with exact_float32():
            ours, theirs = self._directions(images), self._directions(originals)
            for x, y, head in zip(ours, theirs, self.heads, strict=True):
                apart = (x - y).square().mean((2, 3))  # (b, c)
                total += (apart @ head.to(apart)).cpu()
        return total

    def distance(
        self, images: Float[Tensor, "b 3 h w"], originals: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b"]:
        """Compare floats in [0, 255], with a gradient for the first: what tokenizers train with."""
        with torch.no_grad():
            theirs = list(self._directions(originals))
        pairs = zip(self._directions(images), theirs, self.heads, strict=True)
        parts = [((x - y).square().mean((2, 3)) @ head.to(x)) for x, y, head in pairs]
        return torch.stack(parts).sum(0)

    def _directions(
        self, images: Shaped[Tensor, "b 3 h w"]
    ) -> Iterator[Float[Tensor, "b c h2 w2"]]:
        """Yield the activations of each tapped layer, scaled to length 1 at each pixel."""
        x = images.to(next(self.layers.parameters()))
        x = (x / 127.5 - 1 - x.new_tensor(SHIFT).view(3, 1, 1)) / x.new_tensor(SCALE).view(3, 1, 1)
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place in self.backbone.taps:
                yield x / (x.square().sum(1, keepdim=True) + TINY).sqrt()


def load_lpips(
    backbone: Backbone,
    *,
    weights: str | Path | None = None,
    heads: str | Path | None = None,
    unverified: bool = False,
) -> LPIPS:
    """Read LPIPS from files; no code in them is run.

    Args:
        backbone: ALEX or VGG.
        weights: torchvision's file of the whole classifier: a path, package:NAME/FILE or
            hf://OWNER/NAME/FILE; without it, where torchvision keeps its downloads.
        heads: the lpips package's `weights/v0.1/NAME.pth`, given in the same ways; without it,
            that of an installed lpips or torchmetrics.
        unverified: take weights that are not torchvision's published ones.

    Raises:
        CheckpointError: a file is missing, unsafe, or of another network.
        MissingExtraError: an hf:// source without huggingface-hub.
    """
    downloads = Path(torch.hub.get_dir()) / "checkpoints" / backbone.weights.file
    file = find_published(backbone.weights, weights or downloads, unverified=unverified)
    with torch.device("meta"):  # neither memory for the classifier's head, nor random numbers
        layers = backbone.build().get_submodule("features")
    assert isinstance(layers, nn.Sequential), "torchvision's classifiers of this kind are plain"
    layers = (
        layers[: backbone.taps[-1] + 1].to_empty(device="cpu").requires_grad_(requires_grad=False)
    )
    found = {name.removeprefix("features."): each for name, each in file.tensors().items()}
    wanted = layers.state_dict().keys() & found.keys()
    load_strictly(layers, {name: found[name] for name in wanted}, file.path)
    head = _find_heads(backbone, heads)
    digest = digest_of(file.digest, {"heads": head.digest})
    return LPIPS(backbone, layers.eval(), _head_weights(backbone, head), digest)


def _find_heads(backbone: Backbone, source: str | Path | None) -> Weights:
    """Find the heads; an installed package is not imported."""
    file = f"{backbone.name}.pth"
    sources = [source] if source else [f"package:{place}/{file}" for place in HEADS]
    for each in sources:
        with suppress(CheckpointError):
            return find_weights(each)
    raise CheckpointError(
        f"{' and '.join(map(str, sources))}: no LPIPS heads there; pip install torchmetrics, or "
        f"get lpips/weights/v0.1/{file} from {AUTHORS} and pass heads={WAYS}"
    )


def _head_weights(backbone: Backbone, file: Weights) -> tuple[Float32[Tensor, "_c"], ...]:
    names = [f"lin{layer}.model.1.weight" for layer in range(len(backbone.widths))]
    found = file.tensors()
    shapes = [tuple(found[name].shape) if name in found else () for name in names]
    if len(found) != len(names) or shapes != [(1, width, 1, 1) for width in backbone.widths]:
        raise CheckpointError(
            f"{file.path}: not the LPIPS v0.1 heads of {backbone.name}; expected {names[0]} to "
            f"{names[-1]} of {', '.join(map(str, backbone.widths))} channels"
        )
    return tuple(found[name].flatten().float() for name in names)


__all__ = ["ALEX", "LPIPS", "VGG", "Backbone", "load_lpips"]
