"""Pictures for people: one image, or a grid of them whose rows have names."""

import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

_GAP = 2
_LONGEST = 32
_INK = (40, 40, 40)
_PAPER = (255, 255, 255)


def picture(image: UInt8[Tensor, "3 h w"]) -> Image.Image:
    """Return one image as a Pillow picture."""
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


def grid(
    images: UInt8[Tensor, "n 3 h w"],
    *,
    columns: int,
    names: Sequence[str] = (),
    magnify: int = 1,
) -> Image.Image:
    """Lay images out row by row, each row with its name before it.

    Args:
        images: all of one size.
        columns: images a row.
        names: of the rows; none by default.
        magnify: whole factor by which each image is enlarged, without smoothing.
    """
    rows = -(-len(images) // columns)
    big = images.repeat_interleave(magnify, 2).repeat_interleave(magnify, 3)
    height, width = big.shape[2:]
    names = [_short(name) for name in names]
    margin = max((_text_width(name) for name in names), default=0) + (6 if names else 0)
    sheet = Image.new(
        "RGB",
        (margin + columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP),
        _PAPER,
    )
    for index, image in enumerate(big):
        row, column = divmod(index, columns)
        place = margin + _GAP + column * (width + _GAP), _GAP + row * (height + _GAP)
        sheet.paste(picture(image), place)
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        middle = _GAP + row * (height + _GAP) + height // 2
        draw.text((margin - 4, middle), name, fill=_INK, anchor="rm")
    return sheet


def _short(name: str) -> str:
    """Return a name that fits beside a row: one line, not too long."""
    return textwrap.shorten(name, _LONGEST, placeholder="…")


def _text_width(text: str) -> int:
    return int(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(text)) + 1
