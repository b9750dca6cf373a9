"""Conditions on images: a class, a hidden unit, several at once, what stands around a hole.

Each is a critic of images: log p(y | x), and the gradient of that is what pulls. A condition of
codes is `Through(generator, condition)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from mezzotint.diffusion.critics import Critic, check_place
from mezzotint.errors import DataError

Temperature = Annotated[float, Field(gt=0)]


@runtime_checkable
class Reading(Protocol):
    """How activations become log p(y), and what its gradient is."""

    def __call__(
        self, activations: Float[Tensor, "b k"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return log p of each row's unit."""
        ...


@dataclass(frozen=True)
class LogSoftmax:
    """log softmax(a / T)[y], with its own gradient; what the paper's equations say.

    Args:
        temperature: T; above 1 the pull is softer.
    """

    temperature: Temperature = 1.0

    def __call__(
        self, activations: Float[Tensor, "b k"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return log p of each row's unit."""
        return log_softmax(activations / self.temperature, 1).gather(1, y[:, None])[:, 0]


@dataclass(frozen=True)
class OneHot:
    """About the same number, but (1 - p_y) d a_y / T as its gradient, as the released code has it.

        p = exp(a / T - m) / (sum exp(a / T - m) + guard)        m = max a / T

    The units that are not asked for are not pushed down, as the true gradient would.

    Args:
        temperature: T.
        guard: what the sum is kept above 0 by. That the release has 1e-10 follows from its recorded
            numbers, which no other softmax meets.
    """

    temperature: Temperature = 1.0
    guard: Annotated[float, Field(ge=0)] = 1e-10

    def __call__(
        self, activations: Float[Tensor, "b k"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return log p of each row's unit."""
        scaled = activations / self.temperature
        shifted = (scaled - scaled.amax(1, keepdim=True)).detach()
        log_sum = (shifted.exp().sum(1) + self.guard).log()
        log_p = shifted.gather(1, y[:, None])[:, 0] - log_sum
        slope = (1 - log_p.exp()) * scaled.gather(1, y[:, None])[:, 0]
        return log_p + (slope - slope.detach())


@dataclass(frozen=True)
class Unit:
    """A unit of a network's output or of one of its layers: the class, or a hidden unit.

    Args:
        network: from images to activations (b, k), or to maps (b, k, rows, columns).
        reading: how activations are read.
        place: row and column of the map; None is its middle.
    """

    network: Callable[[Tensor], Tensor]
    reading: Reading = LogSoftmax()
    place: tuple[int, int] | None = None

    def __call__(
        self,
        x: Float[Tensor, "b ..."],
        t: Float[Tensor, "b"],  # noqa: ARG002 (images are clean here)
        y: Int[Tensor, "b"],
    ) -> Float[Tensor, "b"]:
        """Return log p of each row's unit, among the units at its place.

        Raises:
            ConfigError: the network stands on another device, or computes in another dtype.
            DataError: there is no such unit or place, or the layer is neither a vector nor a map.
        """
        check_place(self.network, x)
        activations = self._at_place(self.network(x))
        if int(y.max()) >= activations.shape[1]:
            raise DataError(
                f"unit {int(y.max())} is out of range: this layer has {activations.shape[1]} "
                f"units, 0 to {activations.shape[1] - 1}"
            )
        return self.reading(activations, y)

    def _at_place(self, activations: Tensor) -> Float[Tensor, "b k"]:
        if activations.dim() == 2:
            return activations
        if activations.dim() != 4:
            raise DataError(
                f"a layer of shape {tuple(activations.shape)} has no units to choose from; "
                "expected (images, units) or (images, units, rows, columns)"
            )
        rows, columns = activations.shape[2:]
        row, column = self.place or (rows // 2, columns // 2)
        if not (0 <= row < rows and 0 <= column < columns):
            raise DataError(f"place {row},{column}: this layer's map is {rows} x {columns}")
        return activations[:, :, row, column]


@dataclass(frozen=True)
class Towards:
    """A critic that is asked for the same label, whatever the others are asked for.

    Args:
        critic: the critic.
        label: what it is asked for.
    """

    critic: Critic
    label: int

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return log p of the label."""
        return self.critic(x, t, torch.full_like(y, self.label))


@dataclass(frozen=True)
class Together:
    """Several conditions at once: sum_j w_j log p_j.

    Args:
        critics: the conditions.
        weights: w, as many.
    """

    critics: Sequence[Critic]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.critics) != len(self.weights) or not self.critics:
            raise DataError(
                f"{len(self.critics)} conditions with {len(self.weights)} weights; "
                "expected as many, and at least one"
            )

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return the weighted sum."""
        parts = [w * each(x, t, y) for w, each in zip(self.weights, self.critics, strict=True)]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class Hole:
    """A photo with a hole: what is made inside, what stands around it.

    Args:
        image: the photo, in the generator's range.
        mask: 1 inside the hole, 0 outside; one channel or as many as the photo.
    """

    image: Float[Tensor, "c h w"]
    mask: Float[Tensor, "m i j"]

    def __post_init__(self) -> None:
        if self.mask.shape[1:] != self.image.shape[1:]:
            sides = [f"{each.shape[2]} x {each.shape[1]} px" for each in (self.mask, self.image)]
            raise DataError(f"the mask is {sides[0]} and the image {sides[1]}; make them of a size")

    def filled(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return mask x + (1 - mask) image: the hole of x in the photo."""
        mask = self.mask.to(x)
        return mask * x + (1 - mask) * self.image.to(x)

    def around(
        self,
        x: Float[Tensor, "b c h w"],
        t: Float[Tensor, "b"],  # noqa: ARG002 (a critic, of clean images)
        y: Int[Tensor, "b"],  # noqa: ARG002 (that has no class)
    ) -> Float[Tensor, "b"]:
        """Return -sum (1 - mask) (x - image)^2 / 2, a critic of how x fits what is around."""
        gap = (1 - self.mask.to(x)) * (x - self.image.to(x)) ** 2
        return -gap.flatten(1).sum(1) / 2


@dataclass(frozen=True)
class Cropped:
    """What a generator makes, cut to its middle; corners are then never seen.

    Args:
        generator: from codes to images.
        size: rows and columns that are kept; the offset is rounded down.
    """

    generator: Callable[[Tensor], Tensor]
    size: int

    def __call__(self, codes: Float[Tensor, "b ..."]) -> Float[Tensor, "b c s s"]:
        """Return the middles."""
        return middle(self.generator(codes), self.size)


def middle(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c s s"]:
    """Return the middle of images, the offset rounded down."""
    top, left = ((side - size) // 2 for side in images.shape[2:])
    return images[:, :, top : top + size, left : left + size]


__all__ = [
    "Cropped",
    "Hole",
    "LogSoftmax",
    "OneHot",
    "Reading",
    "Together",
    "Towards",
    "Unit",
    "middle",
]
