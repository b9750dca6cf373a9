"""The frame that plots stand in: scales that place numbers, ticks, axes, a legend.

A frame is text of SVG in a box of `WIDTH` user units. Ink is currentColor, so that a page sets it;
a file of its own (`:root`) follows the reader's light or dark scheme.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Protocol

from mezzotint.errors import ConfigError
from mezzotint.evaluation.wording import number

WIDTH: Final = 640
BOTTOM_MARGIN: Final = 52
LEFT, RIGHT, TOP, BOTTOM = 70, 620, 70, 318
LEGEND_LINE: Final = 20
_LETTER: Final = 6.8  # width of a letter at 12 units, generously
_FONT: Final = 'font-family="system-ui, sans-serif" font-size="12"'
_DARK: Final = "@media (prefers-color-scheme: dark) { svg:root { color: #d9dbdf } }"

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#b4619a", "#8a6d3b")
"""After Okabe and Ito: told apart by colour-blind eyes, 3 : 1 on white and on near-black."""

DASHES: Final = ("none", "7 3", "2 3", "9 3 2 3", "4 2")


class Scale(Protocol):
    """Where a number stands on an axis."""

    def place(self, value: float) -> float:
        """Return a number that is even along the axis."""
        ...

    def ends(self, values: Sequence[float]) -> tuple[float, float]:
        """Return where an axis begins and ends that shows all of `values`."""
        ...

    def ticks(self, low: float, high: float) -> list[float]:
        """Return round numbers from `low` to `high`."""
        ...


@dataclass(frozen=True)
class Linear:
    """Equal differences are equally long; zero is shown unless the values are far from it."""

    def place(self, value: float) -> float:
        """Return the value."""
        return value

    def ends(self, values: Sequence[float]) -> tuple[float, float]:
        """Return the ends, a little beyond the values."""
        low, high = min(values), max(values)
        if 0 <= low < high / 2:
            return 0.0, high * 1.05
        margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        return low - margin, high + margin

    def ticks(self, low: float, high: float) -> list[float]:
        """Return about five multiples of 1, 2, 2.5 or 5 times a power of ten."""
        rough = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        # Rounded, so that a tick reads 0.3 and not 0.30000000000000004.
        return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


@dataclass(frozen=True)
class Logarithmic:
    """Equal ratios are equally long; for numbers above 0, such as steps."""

    def place(self, value: float) -> float:
        """Return the logarithm.

        Raises:
            ConfigError: the value is 0 or less.
        """
        if value <= 0:
            raise ConfigError(f"{value} has no place on a logarithmic axis; use Linear()")
        return math.log(value)

    def ends(self, values: Sequence[float]) -> tuple[float, float]:
        """Return the ends, a little beyond the values."""
        low, high = self.place(min(values)), self.place(max(values))
        margin = (high - low) * 0.05 or 0.5
        return math.exp(low - margin), math.exp(high + margin)

    def ticks(self, low: float, high: float) -> list[float]:
        """Return 1, 2 and 5 times powers of ten; powers alone where that is plenty."""
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        marks = (1, 2, 5) if len(decades) <= 5 else (1,)
        found = [float(f"{m}e{e}") for e in decades for m in marks]
        return [each for each in found if low <= each <= high]


@dataclass(frozen=True)
class Axis:
    """One axis: its scale, the numbers at its ends, and the units between them."""

    scale: Scale
    label: str
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a number stands, in user units."""
        low, high = self.scale.place(self.low), self.scale.place(self.high)
        part = (self.scale.place(value) - low) / (high - low)
        return self.start + part * (self.end - self.start)


def axis(scale: Scale, values: Iterable[float], label: str, start: float, end: float) -> Axis:
    """Return an axis that shows every one of `values` which is finite.

    Raises:
        ConfigError: none is.
    """
    shown = [value for value in values if math.isfinite(value)]
    if not shown:
        raise ConfigError(f"axis {label!r}: no finite number to plot; leave the plot out")
    return Axis(scale, label, *scale.ends(shown), start, end)


def axes(x: Axis, y: Axis) -> str:
    """Return both axes with ticks, labels, and faint lines across."""
    parts = [f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="currentColor"/>']
    for value in x.scale.ticks(x.low, x.high):
        parts.append(f'<path d="M{x.at(value):.1f} {BOTTOM}v5" stroke="currentColor"/>')
        parts.append(
            _label(x.at(value), BOTTOM + 19, "middle", number(value, digits=3), plain=True)
        )
    for value in y.scale.ticks(y.low, y.high):
        across = f'd="M{LEFT} {y.at(value):.1f}H{RIGHT}" stroke="currentColor"'
        parts.append(f'<path {across} stroke-opacity="0.15"/>')
        parts.append(_label(LEFT - 7, y.at(value) + 4, "end", number(value, digits=3), plain=True))
    parts.append(_label((LEFT + RIGHT) / 2, BOTTOM + 42, "middle", x.label))
    middle = (TOP + BOTTOM) / 2
    turned = f'transform="rotate(-90 16 {middle:.1f})"'
    parts.append(_label(16, middle, "middle", y.label, extra=turned))
    return "".join(parts)


def _label(
    x: float, y: float, anchor: str, text: str, *, plain: bool = False, extra: str = ""
) -> str:
    """Return text at a place; a plain number without the zeros that say how exact it is."""
    if plain and "." in text and "×" not in text:
        text = text.rstrip("0").rstrip(".")
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} fill="currentColor"{" " + extra if extra else ""}>{escape(text)}</text>'


def style(index: int) -> str:
    """Return the stroke of the series at a place in a plot: a colour and a dash of its own."""
    colour = COLOURS[index % len(COLOURS)]
    dash = DASHES[index % len(DASHES)]
    return f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'


def stroke(index: int) -> str:
    """Return a piece of the line of a series, for a legend."""
    return f'<path d="M0 0H24" {style(index)}/>'


_MARKS: Final = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "m-4-4h8v8h-8z",
    "m0-5l5 9h-10z",
    "m0-5l5 5l-5 5l-5-5z",
    "m-4-2h2v-2h4v2h2v4h-2v2h-4v-2h-2z",
)


def mark(index: int, x: float, y: float) -> str:
    """Return the mark of a series at a place."""
    colour = COLOURS[index % len(COLOURS)]
    return f'<path d="M{x:.1f} {y:.1f}{_MARKS[index % len(_MARKS)]}" fill="{colour}"/>'


def legend(entries: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """Return a legend below the title, on as many lines as it needs, and how many those are.

    Args:
        entries: a mark, SVG around (12, 0) in 24 units, and its name.
    """
    parts, lines, x = [], 1, float(LEFT)
    for mark, name in entries:
        wide = 30 + len(name) * _LETTER + 18
        if x + wide > RIGHT and x > LEFT:
            lines, x = lines + 1, float(LEFT)
        y = 50 + (lines - 1) * LEGEND_LINE
        parts.append(f'<g transform="translate({x:.1f} {y - 4})">{mark}</g>')
        parts.append(_label(x + 30, y, "start", name))
        x += wide
    return "".join(parts), lines


def frame(title: str, description: str, inside: str, key: tuple[str, int]) -> str:
    """Return a whole SVG: the title, the legend, and what stands inside below them."""
    drawn, lines = key
    shift = (lines - 1) * LEGEND_LINE
    height = BOTTOM + BOTTOM_MARGIN + shift
    heading = f'x="{LEFT}" y="24" font-size="15" font-weight="600" fill="currentColor"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" {_FONT}>'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
        f"<style>{_DARK}</style><text {heading}>{escape(title)}</text>{drawn}"
        f'<g transform="translate(0 {shift})">{inside}</g></svg>\n'
    )
