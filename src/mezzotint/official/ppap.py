"""PPAP's release (riiid/PPAP, arXiv 2212.12990): its ranges, its preparations and its names.

Expert n of N is trained on the timesteps int(n/N T) <= t < int((n+1)/N T), and used where
b_n <= t <= b_(n+1), b_i = int(i T / N), the first that fits: at an inner boundary the one below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from mezzotint.diffusion.routing import Partition
from mezzotint.errors import CheckpointError, ConfigError

MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)


def partition(experts: int, steps: int = 1000, *, closed: bool = False) -> Partition:
    """Return the rooms of the experts on our clock, where index t stands at (t + 1) / steps.

    Args:
        experts: N.
        steps: length T of the chain.
        closed: as the release samples, a boundary belongs to the expert below; else to the one
            that was trained on it.

    Raises:
        ConfigError: fewer than one expert, or more than steps.
    """
    if not 1 <= experts <= steps:
        raise ConfigError(f"{experts} experts for {steps} timesteps; expected 1 to {steps}")
    if closed:  # not the edges of training: n / N T may round to below a whole number
        return Partition(tuple((edge + 1) / steps for edge in boundaries(experts, steps)[1:-1]))
    return Partition(tuple(low / steps for low, _ in training_ranges(experts, steps)[1:]))


def training_ranges(experts: int, steps: int = 1000) -> list[tuple[int, int]]:
    """Return the half-open ranges of timesteps that the experts are trained on."""
    edges = [int(n / experts * steps) for n in range(experts + 1)]
    return list(pairwise(edges))


def boundaries(experts: int, steps: int = 1000) -> list[int]:
    """Return the timesteps b_0, ..., b_N between which the release chooses an expert."""
    return [int(n * steps / experts) for n in range(experts + 1)]


@dataclass(frozen=True)
class Prepared:
    """How images in [-1, 1] reach a network of clean images.

    Args:
        normalise: to ImageNet's mean and deviation; without, x passes as it is.
        size: side after bilinear resizing without antialiasing, or None for none.
        resize_first: resize before, not after, the normalisation.
    """

    normalise: bool = True
    size: int | None = None
    resize_first: bool = False

    def __call__(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Prepare images."""
        steps: list[Callable[[Tensor], Tensor]] = [self._normalised, self._resized]
        for step in reversed(steps) if self.resize_first else steps:
            x = step(x)
        return x

    def _normalised(self, x: Tensor) -> Tensor:
        if not self.normalise:
            return x
        mean, deviation = (x.new_tensor(each).view(1, 3, 1, 1) for each in (MEAN, DEVIATION))
        return ((x + 1) / 2 - mean) / deviation

    def _resized(self, x: Tensor) -> Tensor:
        if self.size is None or x.shape[-2:] == (self.size, self.size):
            return x
        size = (self.size, self.size)
        return interpolate(x, size, mode="bilinear", align_corners=False, antialias=False)


TEACHERS: Final = {
    "resnet": Prepared(),
    "deit": Prepared(size=224),
    "midas": Prepared(),
}
STUDENTS: Final = {
    "resnet": Prepared(normalise=False),  # experts of ResNets see x_t as it is
    "deit": Prepared(size=224),
    "midas": Prepared(size=256, resize_first=True),
}
"""How clean images reach the teacher, and noisy ones the experts, in each of the three networks."""


_PREFIXES: Final = ("resnet.", "deit.classifier.", "midas.")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an expert's file, of ResNets, DeiT or MiDaS, with the names of an adapted network.

    `resnet.conv1.conv.weight` becomes `conv1.base.weight`; A and B keep their names and shapes.

    Raises:
        CheckpointError: it is another kind of file, which the release would load in silence.
    """
    prefix = next((each for each in _PREFIXES if any(n.startswith(each) for n in state)), None)
    if prefix is None or not any(name.endswith("lora_A") for name in state):
        raise CheckpointError(
            "not an expert of PPAP: expected names under resnet., deit.classifier. or midas., with "
            "lora_A; the files called multi_experts for ResNet-50 are PPAP-5's under another name"
        )
    adapted = {name.removesuffix(".lora_A") for name in state if name.endswith(".lora_A")}
    renamed = {}
    for name, tensor in state.items():
        layer, _, last = name.rpartition(".")
        owner = layer.removesuffix(".conv").removesuffix(".linear")
        place = f"{owner}.base" if owner != layer and owner in adapted else layer
        renamed[f"{place}.{last}".removeprefix(prefix)] = tensor
    return renamed


def to_official(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return an adapted network's tensors with the release's names; undoes `from_official`.

    Args:
        state: names to tensors.
        prefix: `resnet.`, `deit.classifier.` or `midas.`.
    """
    renamed = {}
    for name, tensor in state.items():
        owner = name.removesuffix(".base.weight").removesuffix(".base.bias")
        matrix = state.get(f"{owner}.base.weight", torch.empty(0))
        inside = "conv" if matrix.dim() == 4 else "linear"
        renamed[prefix + name.replace(".base.", f".{inside}.")] = tensor
    return renamed
