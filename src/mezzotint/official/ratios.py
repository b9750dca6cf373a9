"""Widths over widths, as constructors ask for them."""

import math


def ratio(hidden: int, width: int) -> float:
    """Return hidden / width, or what is next to it: int(width * ratio) must give `hidden` again."""
    found = hidden / width
    return found if int(width * found) == hidden else math.nextafter(found, math.inf)
