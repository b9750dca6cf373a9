"""Numbers as people read them: a few significant digits, a true minus, "–" where there is none."""

import math
from typing import Final

MISSING: Final = "–"
_UNIT: Final = "\u202f%"  # a narrow space that does not break
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, *, digits: int = 4) -> str:
    """Return a number with `digits` significant digits; all those before the point.

    Args:
        value: any; None and what is not finite become "–".
        digits: 1 or more.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return _minus(f"{value:,.0f}")
    text = f"{value:#.{digits}g}".removesuffix(".")
    mantissa, e, exponent = text.partition("e")
    if e:
        text = (
            f"{mantissa.rstrip('0').rstrip('.')} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
        )
    return _minus(text)


def count(value: int | None) -> str:
    """Return a count in full: "5,000"; None becomes "–"."""
    return MISSING if value is None else f"{value:,}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as per cent, "81.3 %"; only none is 0 and only all is 100."""
    if share is None or not math.isfinite(share):
        return MISSING
    if 0 < share < 0.0005:
        return f"< 0.1{_UNIT}"
    if 0.9995 <= share < 1:
        return f"> 99.9{_UNIT}"
    return f"{100 * share:.1f}".removesuffix(".0") + _UNIT


def interval(low: float | None, high: float | None) -> str:
    """Return "3.1 to 3.4", or "–" if an end is missing."""
    ends = number(low, digits=3), number(high, digits=3)
    return MISSING if MISSING in ends else " to ".join(ends)


def one_line(value: object) -> str:
    """Return text with every run of white space as one space."""
    return " ".join(str(value).split())


__all__ = ["MISSING", "count", "interval", "number", "one_line", "percent"]
