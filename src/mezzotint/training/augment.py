"""Augmentations: what may happen to a picture while its class stays what it is.

Each draws from its image's own seed, so an image is changed alike in any batch, on any rank, and
after any restart. A recipe lists them, and they are applied in that order.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mezzotint.noise import Noise, even

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


@runtime_checkable
class Augmentation(Protocol):
    """A random change of pictures."""

    def __call__(self, x: Float[Tensor, "b c h w"], noise: Noise) -> Float[Tensor, "b c h w"]:
        """Change each picture by draws of its own.

        Args:
            x: pictures in [-1, 1].
            noise: where the draws come from.
        """
        ...


def _draws(x: Float[Tensor, "b c h w"], noise: Noise, count: int) -> tuple[Tensor, ...]:
    """Draw `count` numbers in (-1, 1) for each picture."""
    return even(x.new_empty(len(x), count), noise).unbind(1)


@dataclass(frozen=True)
class Mirrored:
    """Left and right exchanged.

    Attributes:
        share: of the pictures.
    """

    share: Share = 0.5

    def __call__(self, x: Float[Tensor, "b c h w"], noise: Noise) -> Float[Tensor, "b c h w"]:
        """Mirror some of the pictures."""
        (u,) = _draws(x, noise, 1)
        return torch.where((u < 2 * self.share - 1)[:, None, None, None], x.flip(3), x)


@dataclass(frozen=True)
class Shifted:
    """Shifted by whole pixels, so that nothing is blurred; what comes in repeats the border.

    Attributes:
        pixels: largest shift along rows and along columns.
    """

    pixels: Annotated[int, Field(ge=0)] = 4

    def __call__(self, x: Float[Tensor, "b c h w"], noise: Noise) -> Float[Tensor, "b c h w"]:
        """Shift each picture by a number of rows and of columns of its own."""
        most, (height, width) = self.pixels, x.shape[2:]
        down, right = _draws(x, noise, 2)
        picture = torch.arange(len(x), device=x.device)[:, None, None]
        rows, columns = (
            (torch.arange(side, device=x.device) - _whole(u, most)[:, None]).clamp(0, side - 1)
            for u, side in ((down, height), (right, width))
        )
        return x[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _whole(u: Float[Tensor, "b"], most: int) -> Int[Tensor, "b"]:
    """Turn numbers in (-1, 1) into whole ones from -most to most, all alike often."""
    return (u * (most + 0.5)).round().long().clamp(-most, most)


@dataclass(frozen=True)
class Affine:
    """Turned, zoomed, stretched and shifted; what comes in from outside repeats the border.

    Attributes:
        angle: largest turn, in degrees.
        zoom, stretch: largest change of size and of the sides' ratio, as a logarithm.
        shift: largest shift, as a share of the side.
    """

    angle: Amount = 15.0
    zoom: Amount = 0.2
    stretch: Amount = 0.1
    shift: Amount = 0.1

    def __call__(self, x: Float[Tensor, "b c h w"], noise: Noise) -> Float[Tensor, "b c h w"]:
        """Resample the pictures, bilinearly."""
        turn, zoom, stretch, right, down = _draws(x, noise, 5)
        angle = turn * math.radians(self.angle)
        wide = torch.exp(zoom * self.zoom + stretch * self.stretch)
        high = torch.exp(zoom * self.zoom - stretch * self.stretch)
        cos, sin = angle.cos(), angle.sin()
        shift = 2 * self.shift  # grids run from -1 to 1
        rows = [cos * wide, -sin * high, right * shift, sin * wide, cos * high, down * shift]
        matrix = torch.stack(rows, dim=1).view(len(x), 2, 3)
        grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Colour:
    """Other hues, stronger or weaker colours, lighter or darker; white stays white.

    Attributes:
        hue: largest turn about the grey axis, in degrees.
        saturation, light: largest change, as a logarithm; light scales the distance from white.
        grey: share of the pictures that lose all colour.
    """

    hue: Amount = 20.0
    saturation: Amount = 0.4
    light: Amount = 0.2
    grey: Share = 0.1

    def __call__(self, x: Float[Tensor, "b 3 h w"], noise: Noise) -> Float[Tensor, "b 3 h w"]:
        """Mix the three channels of each picture."""
        hue, saturation, light, grey = _draws(x, noise, 4)
        strength = torch.exp(saturation * self.saturation) * (grey >= 2 * self.grey - 1)
        angle = hue * math.radians(self.hue)
        mean = x.new_full((3, 3), 1 / 3)
        turn = x.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        along = (strength * angle.cos())[:, None, None] * (torch.eye(3).to(x) - mean)
        across = (strength * angle.sin())[:, None, None] * turn
        matrix = mean + along + across
        mixed = (matrix[..., None, None] * x[:, None]).sum(2)  # (B, 3, 3, H, W) -> (B, 3, H, W)
        return (1 - (1 - mixed) * torch.exp(light * self.light)[:, None, None, None]).clamp(-1, 1)


@dataclass(frozen=True)
class Cutout:
    """A grey rectangle over a part (DeVries & Taylor, arXiv 1708.04552).

    Attributes:
        side: largest side, as a share of the picture's.
    """

    side: Share = 0.5

    def __call__(self, x: Float[Tensor, "b c h w"], noise: Noise) -> Float[Tensor, "b c h w"]:
        """Hide a part of each picture."""
        across, down, wide, high = _draws(x, noise, 4)
        hidden = (
            _within(across, wide.abs() * self.side, x.shape[3])[:, None, :]
            & _within(down, high.abs() * self.side, x.shape[2])[:, :, None]
        )
        return x.masked_fill(hidden[:, None], 0.0)


def _within(centre: Float[Tensor, "b"], half: Float[Tensor, "b"], size: int) -> Tensor:
    """Tell which of `size` pixels lie around a centre, all in units in which the side is 2."""
    place = (torch.arange(size, device=centre.device) + 0.5) * (2 / size) - 1
    return (place - centre[:, None]).abs() < half[:, None]


__all__ = ["Affine", "Augmentation", "Colour", "Cutout", "Mirrored", "Shifted"]
