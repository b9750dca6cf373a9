"""Plots as SVG text: the same arguments give the same bytes, and no library is needed.

Each one is a valid file of its own, or stands inside a page. It names itself and says in words what
it shows; what colour tells is also told by a dash or a mark.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from mezzotint.errors import ConfigError
from mezzotint.evaluation.axes import (
    BOTTOM,
    COLOURS,
    LEFT,
    RIGHT,
    TOP,
    Axis,
    Linear,
    Logarithmic,
    Scale,
    axes,
    axis,
    frame,
    legend,
    mark,
    stroke,
    style,
)
from mezzotint.evaluation.wording import count, number

LINEAR: Final = Linear()
BINS: Final = 40
_BAR_WIDTH, _BAR_HEIGHT = 120, 14
_TOLD: Final = 12  # points of a series that the description spells out


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: for the legend.
        x, y: points from left to right; one that is not finite is left out.
        low, high: ends of an error bar at every point; () means none.

    Raises:
        ConfigError: the lengths differ.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ends = {len(self.low), len(self.high)}
        if len(self.x) != len(self.y) or ends not in ({0}, {len(self.x)}):
            raise ConfigError(
                f"series {self.name!r}: {len(self.x)} x, {len(self.y)} y, {len(self.low)} low and "
                f"{len(self.high)} high; give as many of each, or no low and high"
            )

    @property
    def points(self) -> list[tuple[float, float]]:
        """The finite points."""
        pairs = zip(self.x, self.y, strict=True)
        return [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]

    @property
    def bars(self) -> list[tuple[float, float, float]]:
        """The finite error bars: x, low, high."""
        triples = zip(self.x, self.low, self.high, strict=True) if self.low else ()
        return [each for each in triples if all(map(math.isfinite, each))]


@dataclass(frozen=True)
class Level:
    """A number that does not depend on x, such as a floor: a faint line across."""

    name: str
    y: float


@dataclass(frozen=True)
class Values:
    """A named set of numbers, for a histogram."""

    name: str
    values: tuple[float, ...]

    @property
    def finite(self) -> list[float]:
        """Those that can be drawn."""
        return [value for value in self.values if math.isfinite(value)]


def lines(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    title: str,
    *,
    x_scale: Scale = LINEAR,
    y_scale: Scale = LINEAR,
    levels: Sequence[Level] = (),
) -> str:
    """Return a line chart with marks and error bars, such as FD against steps.

    Args:
        series: one or more.
        x_label, y_label: what the axes show, with the unit.
        title: stands above the chart.
        x_scale, y_scale: `Linear()` or `Logarithmic()`.
        levels: numbers to compare with, each a line across.

    Raises:
        ConfigError: there is no finite point, or one has no place on a logarithmic axis.
    """
    points = [point for each in series for point in each.points]
    ends = [end for each in series for _, *bar in each.bars for end in bar]
    heights = [y for _, y in points] + ends + [level.y for level in levels]
    x = axis(x_scale, [x for x, _ in points], x_label, LEFT, RIGHT)
    y = axis(y_scale, heights, y_label, BOTTOM, TOP)
    drawn = [_level(level, y) for level in levels]
    drawn += [_line(each, index, x, y) for index, each in enumerate(series)]
    entries = [(stroke(index) + mark(index, 12, 0), each.name) for index, each in enumerate(series)]
    entries += [(_ACROSS, level.name) for level in levels]
    told = [f"{each.name}: {_spelt(each.points)}." for each in series]
    told += [f"{level.name}: {number(level.y)}." for level in levels]
    description = f"{y_label} against {x_label}. {' '.join(told)}"
    return frame(title, description, axes(x, y) + "".join(drawn), legend(entries))


_ACROSS: Final = '<path d="M0 0H24" stroke="currentColor" stroke-dasharray="1 3" stroke-width="2"/>'


def _level(level: Level, y: Axis) -> str:
    if not math.isfinite(level.y):
        return ""
    dotted = 'stroke="currentColor" stroke-dasharray="1 3" stroke-width="2"'
    return f'<path d="M{LEFT} {y.at(level.y):.1f}H{RIGHT}" {dotted}/>'


def _line(series: Series, index: int, x: Axis, y: Axis) -> str:
    colour = COLOURS[index % len(COLOURS)]
    places = [(x.at(a), y.at(b)) for a, b in series.points]
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    drawn = [f'<path d="M{path}" {style(index)}/>'] if len(places) > 1 else []
    for a, low, high in series.bars:
        bar = f"M{x.at(a):.1f} {y.at(low):.1f}V{y.at(high):.1f}"
        caps = "".join(f"M{x.at(a) - 4:.1f} {y.at(end):.1f}h8" for end in (low, high))
        drawn.append(f'<path d="{bar}{caps}" stroke="{colour}" fill="none"/>')
    drawn += [mark(index, a, b) for a, b in places]
    return "".join(drawn)


def _spelt(points: Sequence[tuple[float, float]]) -> str:
    told = ", ".join(f"{number(y)} at {number(x, digits=3)}" for x, y in points[:_TOLD])
    return told + (f" and {len(points) - _TOLD} more" if len(points) > _TOLD else "")


def histogram(
    sets: Sequence[Values], x_label: str, y_label: str, title: str, *, bins: int = BINS
) -> str:
    """Return outlines of how sets of numbers are spread, each as shares of its own set.

    Args:
        sets: one or more; numbers that are not finite are left out.
        x_label: what the numbers are.
        y_label: such as "share of images (%)".
        title: stands above the plot.
        bins: equal bins over the range of all sets, 1 or more.

    Raises:
        ConfigError: there is no finite number.
    """
    every = [value for each in sets for value in each.finite]
    x = axis(Linear(), every, x_label, LEFT, RIGHT)
    edges = [x.low + (x.high - x.low) * i / bins for i in range(bins + 1)]
    shares = [_shares(each.finite, edges) for each in sets]
    y = axis(Linear(), [0.0, *(share for each in shares for share in each)], y_label, BOTTOM, TOP)
    drawn = [_outline(each, edges, index, x, y) for index, each in enumerate(shares)]
    entries = [(_swatch(index), each.name) for index, each in enumerate(sets)]
    told = [_summary(each) for each in sets]
    description = f"{y_label} by {x_label}. {' '.join(told)}"
    return frame(title, description, axes(x, y) + "".join(drawn), legend(entries))


def _shares(values: Sequence[float], edges: Sequence[float]) -> list[float]:
    """Return the share of `values`, in per cent, in every bin."""
    counts = [0] * (len(edges) - 1)
    width = edges[1] - edges[0]
    for value in values:
        counts[min(int((value - edges[0]) / width), len(counts) - 1)] += 1
    return [100 * count / max(len(values), 1) for count in counts]


def _outline(shares: Sequence[float], edges: Sequence[float], index: int, x: Axis, y: Axis) -> str:
    steps = zip(pairwise(edges), shares, strict=True)
    path = "".join(f"V{y.at(share):.1f}H{x.at(end):.1f}" for (_, end), share in steps)
    colour = COLOURS[index % len(COLOURS)]
    whole = f"M{x.at(edges[0]):.1f} {BOTTOM}{path}V{BOTTOM}"
    filled = f'<path d="{whole}z" fill="{colour}" fill-opacity="0.15"/>'
    return f'{filled}<path d="{whole}" {style(index)}/>'


def _swatch(index: int) -> str:
    colour = COLOURS[index % len(COLOURS)]
    return f'<path d="M0-5H24V5H0z" fill="{colour}" fill-opacity="0.15"/>{stroke(index)}'


def _summary(sets: Values) -> str:
    if not sets.finite:
        return f"{sets.name}: no values."
    middle = number(statistics.median(sets.finite))
    return f"{sets.name}: {count(len(sets.finite))} values, median {middle}."


def bar(
    value: float | None,
    *,
    maximum: float,
    label: str,
    floor: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """Return a small bar from 0 to `value`, with a tick at its floor and a line for its interval.

    Args:
        value: 0 or more; less is drawn as 0, and None or what is not finite as nothing.
        maximum: what the whole width stands for, above 0.
        label: says in words what is shown.
        floor, low, high: as in a `Score`.
    """
    middle = _BAR_HEIGHT / 2
    parts = [f'<path d="M0 {middle}H{_BAR_WIDTH}" stroke="currentColor" stroke-opacity="0.2"/>']
    if _drawn(value):
        wide = _along(value, maximum)
        parts.append(f'<rect y="3" width="{wide:.1f}" height="8" fill="{COLOURS[0]}"/>')
    if _drawn(low) and _drawn(high):
        ends = f"M{_along(low, maximum):.1f} {middle}H{_along(high, maximum):.1f}"
        parts.append(f'<path d="{ends}" stroke="currentColor" stroke-width="2"/>')
    if _drawn(floor):
        tick = f"M{_along(floor, maximum):.1f} 0V{_BAR_HEIGHT}"
        parts.append(f'<path d="{tick}" stroke="{COLOURS[1]}" stroke-width="3"/>')
    box = f'viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bar" {box} role="img">'
        f"<title>{escape(label)}</title>{''.join(parts)}</svg>"
    )


def _drawn(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _along(value: float | None, maximum: float) -> float:
    return _BAR_WIDTH * min(max((value or 0) / maximum, 0), 1)


__all__ = [
    "Level",
    "Linear",
    "Logarithmic",
    "Series",
    "Values",
    "bar",
    "histogram",
    "lines",
]
