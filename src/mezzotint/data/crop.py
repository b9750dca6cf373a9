"""Fits a picture of any shape into a square: the crops that papers use.

`adm` is the reference of ADM, DiT and SiT, on which published FIDs depend: halve with box
averages until the short side is under twice the target, resize it to the target with a bicubic, cut
the middle.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from PIL import Image
from PIL.Image import Resampling

Crop = Literal["adm", "centre", "squash"]
Picture = Image.Image


def adm(image: Picture, size: int) -> Picture:
    """Halve while the short side is at least twice `size`, resize it to `size`, cut the middle."""
    while min(image.size) >= 2 * size:
        width, height = image.size
        image = image.resize((width // 2, height // 2), Resampling.BOX)
    scale = size / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    image = image.resize((width, height), Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def centre(image: Picture, size: int) -> Picture:
    """Cut the largest square from the middle, then resize it with a Lanczos filter."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Resampling.LANCZOS)


def squash(image: Picture, size: int) -> Picture:
    """Resize to a square, whatever the shape, with a Lanczos filter."""
    return image.resize((size, size), Resampling.LANCZOS)


CROPS: Mapping[Crop, Callable[[Picture, int], Picture]] = {
    "adm": adm,
    "centre": centre,
    "squash": squash,
}

__all__ = ["CROPS", "Crop"]
