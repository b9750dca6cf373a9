"""Prints: flat shapes in two inks, drawn by formula; the honest benchmark.

    alpha = clip(1/2 - d, 0, 1)        d: signed distance to the shape's edge, in pixels
    pixel = paper + alpha (ink - paper)

Every picture is a function of (seed, row) alone, so training and test pictures never run out and
never meet. Ten classes, twelve inks, any size; `factors` returns what was drawn, exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8, UInt64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from mezzotint.data.images import Data

Plane = Float64[ndarray, "b h w"]

PALETTE: UInt8[ndarray, "12 3"] = np.array(
    [
        (244, 239, 228), (28, 30, 38), (200, 54, 45), (233, 127, 47), (242, 193, 68),
        (120, 160, 62), (32, 107, 82), (72, 170, 184), (36, 77, 148), (106, 66, 140),
        (226, 140, 158), (124, 80, 54),
    ],
    dtype=np.uint8,
)  # fmt: skip
CONTRAST = 0.25
"""Least difference in luminance, of 1, between paper and ink."""


@dataclass(frozen=True)
class Factors:
    """What a batch of prints shows."""

    label: Int64[ndarray, "b"]
    paper: Int64[ndarray, "b"]  # rows of PALETTE
    ink: Int64[ndarray, "b"]
    angle: Float64[ndarray, "b"]  # radians, counter-clockwise
    radius: Float64[ndarray, "b"]  # share of the half width
    offset: Float64[ndarray, "b 2"]  # right and up, share of the half width


@dataclass(frozen=True)
class Pose:
    """How far a print may stray: the largest angle and offset, and the range of radii."""

    angle: float
    radius: tuple[float, float]
    offset: float


POSES: Mapping[str, Pose] = {
    "upright": Pose(np.deg2rad(9), (0.62, 0.82), 0.06),
    "tumbled": Pose(np.pi, (0.42, 0.75), 0.22),
}


def _disc(x: Plane, y: Plane) -> Plane:
    return np.hypot(x, y) - 0.9


def _ring(x: Plane, y: Plane) -> Plane:
    return np.abs(np.hypot(x, y) - 0.68) - 0.22


def _box(x: Plane, y: Plane, half: tuple[float, float]) -> Plane:
    right, up = np.abs(x) - half[0], np.abs(y) - half[1]
    return np.hypot(np.maximum(right, 0), np.maximum(up, 0)) + np.minimum(np.maximum(right, up), 0)


def _square(x: Plane, y: Plane) -> Plane:
    return _box(x, y, (0.78, 0.78))


def _cross(x: Plane, y: Plane) -> Plane:
    return np.minimum(_box(x, y, (0.95, 0.3)), _box(x, y, (0.3, 0.95)))


def _triangle(x: Plane, y: Plane) -> Plane:
    side = np.abs(x) * np.cos(np.pi / 6) + (y + 0.1) * 0.5
    return np.maximum(side - 0.5, -(y + 0.1) - 0.5)


def _star(x: Plane, y: Plane) -> Plane:
    # One fifth of the plane is folded onto the upright arm, whose edge is a straight line.
    turn = np.arctan2(x, y)
    sector = 2 * np.pi / 5
    folded = np.abs((turn + sector / 2) % sector - sector / 2)
    r = np.hypot(x, y)
    tip, notch = np.array([0.0, 1.0]), 0.42 * np.array([np.sin(np.pi / 5), np.cos(np.pi / 5)])
    normal = np.array([tip[1] - notch[1], notch[0] - tip[0]])
    normal /= np.hypot(*normal)
    return r * (np.sin(folded) * normal[0] + np.cos(folded) * normal[1]) - tip @ normal


def _heart(x: Plane, y: Plane) -> Plane:
    # A square on its tip, and a disc on each of its two upper sides.
    x, y = np.abs(x) / 1.65, y / 1.65 + 0.55
    square = (x + np.abs(y - 0.5) - 0.5) * np.sqrt(0.5)
    return 1.65 * np.minimum(square, np.hypot(x - 0.25, y - 0.75) - np.sqrt(0.125))


def _moon(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.hypot(x, y) - 0.92, 0.74 - np.hypot(x - 0.44, y - 0.1))


def _flower(x: Plane, y: Plane) -> Plane:
    turn, r = np.arctan2(x, y), np.hypot(x, y)
    sector = 2 * np.pi / 6
    folded = (turn + sector / 2) % sector - sector / 2
    petal = np.hypot(r * np.sin(folded), r * np.cos(folded) - 0.58) - 0.34
    return np.maximum(np.minimum(petal, r - 0.42), 0.2 - r)


def _stripes(x: Plane, y: Plane) -> Plane:
    return np.abs((y + 0.25) % 0.5 - 0.25) - 0.125 + 0 * x


SHAPES: Mapping[str, Callable[[Plane, Plane], Plane]] = {
    "disc": _disc, "ring": _ring, "square": _square, "triangle": _triangle, "star": _star,
    "heart": _heart, "moon": _moon, "cross": _cross, "flower": _flower, "stripes": _stripes,
}  # fmt: skip


def _pairs() -> Int64[ndarray, "p 2"]:
    """Return the pairs (paper, ink) of enough contrast."""
    luminance = PALETTE @ np.array([0.2126, 0.7152, 0.0722]) / 255
    return np.argwhere(np.abs(luminance[:, None] - luminance[None, :]) >= CONTRAST)


PAIRS = _pairs()


def uniforms(seed: int, rows: Int64[ndarray, "b"], count: int) -> Float64[ndarray, "b c"]:
    """Return `count` numbers in [0, 1) for every row, by the mixing steps of SplitMix64.

    A counter-based hash in place of a generator: any row can be had without those before it.
    """
    start = _mix(np.array([seed % 2**64], np.uint64))
    row = _mix(rows.astype(np.uint64) + start)
    draws = _mix(row[:, None] + np.arange(1, count + 1, dtype=np.uint64))
    return (draws >> np.uint64(11)) * 2.0**-53


def _mix(z: UInt64[ndarray, "..."]) -> UInt64[ndarray, "..."]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def factors(seed: int, rows: Int64[ndarray, "b"], pose: Pose) -> Factors:
    """Decide what the pictures of these rows show."""
    u = uniforms(seed, rows, 5)
    small, large = pose.radius
    pair = PAIRS[(u[:, 0] * len(PAIRS)).astype(np.int64)]
    return Factors(
        label=rows % len(SHAPES),
        paper=pair[:, 0],
        ink=pair[:, 1],
        angle=(2 * u[:, 1] - 1) * pose.angle,
        radius=small + u[:, 2] * (large - small),
        offset=(2 * u[:, 3:5] - 1) * pose.offset,
    )


def draw(shown: Factors, size: int) -> UInt8[ndarray, "b 3 h w"]:
    """Draw a batch of prints."""
    alpha = np.empty((len(shown.label), size, size))
    for label, shape in enumerate(SHAPES.values()):
        rows = np.flatnonzero(shown.label == label)
        if len(rows):
            alpha[rows] = _coverage(shape, shown, rows, size)
    paper, ink = (PALETTE[i].astype(np.float64)[:, :, None, None] for i in (shown.paper, shown.ink))
    return np.rint(paper + alpha[:, None] * (ink - paper)).astype(np.uint8)


def _coverage(
    shape: Callable[[Plane, Plane], Plane], shown: Factors, rows: Int64[ndarray, "m"], size: int
) -> Plane:
    """Return how much of every pixel the shape covers."""
    axis = (2 * np.arange(size) + 1) / size - 1  # pixel centres in (-1, 1)
    offset, radius = shown.offset[rows], shown.radius[rows, None, None]
    right = axis[None, None, :] - offset[:, 0, None, None]
    up = -axis[None, :, None] - offset[:, 1, None, None]
    cos, sin = np.cos(shown.angle[rows])[:, None, None], np.sin(shown.angle[rows])[:, None, None]
    distance = shape((cos * right + sin * up) / radius, (cos * up - sin * right) / radius)
    return np.clip(0.5 - distance * radius * size / 2, 0, 1)


@dataclass(frozen=True)
class PrintImages:
    """The prints of one stream."""

    seed: int
    size: int
    pose: Pose
    labels: Int64[Tensor, "n"]
    digest: str
    classes: tuple[str, ...] = tuple(SHAPES)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Draw the pictures of `rows`."""
        return torch.from_numpy(draw(self.factors(rows), self.size))

    def factors(self, rows: Int64[Tensor, "b"]) -> Factors:
        """Return what the pictures of `rows` show."""
        return factors(self.seed, rows.numpy(), self.pose)


class Prints(Data):
    """Drawn shapes: as many pictures as wanted, and held-out ones that are really new.

    Args:
        size: height and width in pixels.
        pose: "upright" (within 9 degrees, large, centred) or "tumbled" (any angle, size, place).
        count: number of training pictures.
        held_out_count: number of held-out pictures, from a stream of their own.
        seed: which world of pictures.
    """

    size: int = Field(default=32, ge=1)
    pose: Literal["upright", "tumbled"] = "upright"
    count: int = Field(default=100_000, ge=1)
    held_out_count: int = Field(default=2_000, ge=0)
    seed: int = 0

    def train(self) -> PrintImages:
        """Open the training part."""
        return self._stream(2 * self.seed, self.count)

    def held_out(self) -> PrintImages:
        """Open the held-out part."""
        return self._stream(2 * self.seed + 1, self.held_out_count)

    def _stream(self, seed: int, count: int) -> PrintImages:
        first = draw(factors(seed, np.arange(len(SHAPES)), POSES[self.pose]), self.size)
        digest = sha256(repr((seed, count, self.size)).encode() + first.tobytes()).hexdigest()
        labels = torch.arange(count) % len(SHAPES)
        return PrintImages(seed, self.size, POSES[self.pose], labels, digest)


__all__ = ["PALETTE", "Factors", "PrintImages", "Prints"]
