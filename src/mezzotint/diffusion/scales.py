"""Guidance scales over time, and the two conventions in which they are published.

    u + s (c - u) = c + w (c - u)        s = 1 + w

The *scale* s is ours everywhere: 1 is the conditional model and 0 the unconditional one. The
*weight* w of U-ViT, DiMR and the token models counts what is added to the conditional model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.config import part
from mezzotint.diffusion.paths import Path
from mezzotint.errors import ConfigError


@runtime_checkable
class Scale(Protocol):
    """A guidance scale over time."""

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale at `t`, float64 on the CPU."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same scale at all times."""

    scale: float = 1.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        return torch.full_like(t, self.scale)


@dataclass(frozen=True)
class Interval:
    """A scale on low < t <= high, and another outside (Kynkäänniemi et al., arXiv 2404.07724).

    Where the scale is 1, classifier-free guidance asks the network once; a critic is not asked at
    all where it is 0.

    Args:
        scale: within the interval.
        low, high: the interval, in our time.
        outside: 1 switches classifier-free guidance and autoguidance off, 0 a critic.
    """

    scale: float = 1.0
    low: float = 0.0
    high: float = 1.0
    outside: float = 1.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        inside = (t > self.low) & (t <= self.high)
        return torch.where(inside, self.scale, self.outside).to(t)

    @classmethod
    def of_noise(cls, scale: float, low: float, high: float, path: Path) -> "Interval":
        """Return the interval of noise levels low < sigma / alpha <= high, as it is published.

        Args:
            scale: within the interval.
            low, high: EDM's sigma, which is t / (1 - t) on the straight line.
            path: whose times are wanted.
        """
        ends = path.time_of(-torch.tensor([low, high], dtype=torch.float64).log())
        return cls(scale, float(ends[0]), float(ends[1]))

    @classmethod
    def of_steps(cls, scale: float, start: float, stop: float, steps: int) -> "Interval":
        """Return the interval of the steps int(start n) <= k < int(stop n) of an even grid.

        Args:
            scale: within the interval.
            start, stop: shares of the walk, counted from the noisy end (diffusers' guiders).
            steps: n, the number of steps; step k begins at t = 1 - k / n.
        """
        first, last = int(start * steps), int(stop * steps)
        half = 0.5 / steps  # between two times of the grid, where rounding decides nothing
        return cls(scale, 1 - last / steps + half, 1 - first / steps + half)


@dataclass(frozen=True)
class LinearRise:
    """From `start` at the noisy end to `scale` at the clean end, in a straight line.

        start + (scale - start) (1 - t)

    Muse's schedule by step (TiTok), MAR's by the share of tokens still masked, which is t there.

    Args:
        scale: at the clean end.
        start: at the noisy end.
    """

    scale: float = 4.0
    start: float = 1.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        return self.start + (self.scale - self.start) * (1 - t)


@dataclass(frozen=True)
class CosineRise:
    """From 1 at the noisy end to `scale` at the clean end, along half a cosine.

        1 + (scale - 1) (1 - cos(pi (1 - t))) / 2

    Args:
        scale: at the clean end.
    """

    scale: float = 4.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        return PowerCosine(self.scale, 1.0)(t)


@dataclass(frozen=True)
class PowerCosine:
    """From 1 at the noisy end to `scale` at the clean end (MDT, arXiv 2303.14389).

        1 + (scale - 1) (1 - cos(pi (1 - t)^power)) / 2

    Args:
        scale: at the clean end.
        power: larger keeps guidance weak for longer.
    """

    scale: float = 4.0
    power: float = 4.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        rise = (1 - torch.cos(math.pi * (1 - t) ** self.power)) / 2
        return 1 + (self.scale - 1) * rise


@dataclass(frozen=True)
class Weighted:
    """A schedule in the other convention: the scale is 1 plus a weight.

    Args:
        weight: w over time; a schedule that falls to 1 outside its interval adds 1 there.
    """

    weight: Annotated[Scale, part("scale")] = Constant(0.0)

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        return 1 + self.weight(t)


def scale_of(scale: Scale | float) -> Scale:
    """Return a scale over time; a number becomes a constant."""
    return Constant(float(scale)) if isinstance(scale, int | float) else scale


@dataclass(frozen=True)
class Convention:
    """How a system writes the strength of guidance.

    Attributes:
        scale: from its number to our scale.
        number: from our scale to its number.
        says: the formula, c conditional and u unconditional.
    """

    scale: Callable[[float], float]
    number: Callable[[float], float]
    says: str

    def to(self, other: "Convention", number: float) -> float:
        """Return a number of this convention in another one."""
        return other.number(self.scale(number))


def _same(number: float) -> float:
    return number


def _above(weight: float) -> float:
    return 1 + weight


def _below(scale: float) -> float:
    return scale - 1


SCALE: Final = Convention(_same, _same, "u + s (c - u)")
WEIGHT: Final = Convention(_above, _below, "c + w (c - u)")

CONVENTIONS: Final[Mapping[str, Convention]] = {
    "mezzotint": SCALE,
    "dit": SCALE,
    "sit": SCALE,
    "dico": SCALE,
    "lightningdit": SCALE,
    "t-stitch": SCALE,
    "uvit": WEIGHT,
    "dimr": WEIGHT,
    "dimr-power-cosine": SCALE,
    "mar": SCALE,
    "halton-maskgit": WEIGHT,
    "maskgit": WEIGHT,
    "titok": WEIGHT,
    "titok-power-cosine": SCALE,
    "rar": SCALE,
    "edm2": SCALE,
    "diffusers": SCALE,
    "diffusers-original": WEIGHT,
    "glide": SCALE,
    "imagen": SCALE,
}
"""The convention of each release, by its name."""


def convention(name: str) -> Convention:
    """Return the convention of a release.

    Raises:
        ConfigError: none is known by that name.
    """
    if name not in CONVENTIONS:
        raise ConfigError(
            f"no convention of {name!r} is known; expected one of: {', '.join(CONVENTIONS)}"
        )
    return CONVENTIONS[name]


__all__ = [
    "CONVENTIONS",
    "SCALE",
    "WEIGHT",
    "Constant",
    "Convention",
    "CosineRise",
    "Interval",
    "LinearRise",
    "PowerCosine",
    "Scale",
    "Weighted",
    "convention",
    "scale_of",
]
