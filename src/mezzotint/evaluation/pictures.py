"""The pictures of a report, and how they get into a page that needs no other file."""

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import Final

from PIL.Image import Image

from mezzotint.evaluation.memorisation import Pair
from mezzotint.evaluation.plots import Values

SMALL: Final = 128
"""Pixels; pictures up to this size are enlarged by whole factors, without smoothing."""

GRID_WIDTH: Final = 480
"""A grid of samples narrower than this is enlarged too."""


@dataclass(frozen=True)
class PairPicture:
    """A sample beside its nearest training image."""

    pair: Pair
    sample: Image
    training: Image


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What a report shows besides its numbers; all of it is optional.

    Attributes:
        grid: samples, a row a class.
        grid_names: of its rows, from the top.
        neighbours: the nearest pairs, nearest first.
        best, worst: samples that the judge is most and least sure of.
        worst_caption: what the worst ones are.
        distances: nearest distances to the training set, of the samples and of held-out images.
        charts: further plots, as `mezzotint.evaluation.plots` makes them.
    """

    grid: Image | None = None
    grid_names: tuple[str, ...] = ()
    neighbours: tuple[PairPicture, ...] = ()
    best: tuple[Image, ...] = ()
    worst: tuple[Image, ...] = ()
    worst_caption: str = "Those the judge is least sure of."
    distances: tuple[Values, ...] = ()
    charts: tuple[str, ...] = ()


def shown(image: Image, alternative: str, *, least: int) -> str:
    """Return an image as HTML, its PNG inside.

    Args:
        image: any picture.
        alternative: what a reader who cannot see it should know.
        least: pixels; a narrower picture is enlarged by a whole factor to about this width.
    """
    factor = max(1, round(least / image.width))
    kind = ' class="pixels"' if factor > 1 else ""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    size = f'width="{image.width * factor}" height="{image.height * factor}"'
    return f'<img{kind} alt="{escape(alternative)}" {size} src="data:image/png;base64,{data}">'


__all__ = ["GRID_WIDTH", "SMALL", "PairPicture", "Pictures", "shown"]
