"""The sections of a report's page, each a pure function from plain data to HTML.

A section about which nothing is known is "". All text of others passes through `escape`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from PIL.Image import Image

from mezzotint.evaluation.memorisation import Memorisation
from mezzotint.evaluation.pictures import GRID_WIDTH, Pictures, shown
from mezzotint.evaluation.plots import bar, histogram
from mezzotint.evaluation.record import ClassScore, Protocol, Score
from mezzotint.evaluation.wording import count, interval, number, percent

MATRIX_CLASSES: Final = 40
"""More classes than this do not fit a matrix; their most frequent confusions are listed."""

LISTED: Final = 20
_PICTURE: Final = 96  # pixels on the page
_DIRECTION: Final = {True: "lower ↓", False: "higher ↑", None: "neither"}


@dataclass(frozen=True)
class Column:
    """The head of a column: its name, and the class of its cells in page.css."""

    name: str
    kind: str = ""


def section(heading: str, *parts: str, name: str = "") -> str:
    """Return a section, or nothing if none of its parts says anything."""
    body = "\n".join(part for part in parts if part)
    anchor = f' id="{name}"' if name else ""
    return f"<section{anchor}>\n<h2>{escape(heading)}</h2>\n{body}\n</section>" if body else ""


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, kind: str = ""
) -> str:
    """Return a table that scrolls by itself where the page is narrow.

    Args:
        caption: HTML.
        columns: one a cell of a row.
        rows: cells as HTML; the first one heads its row.
        kind: class of the table in page.css.
    """
    head = "".join(f'<th scope="col"{_kind(c)}>{escape(c.name)}</th>' for c in columns)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f"<td{_kind(c)}>{x}</td>" for c, x in zip(columns[1:], rest, strict=True))
        + "</tr>"
        for first, *rest in rows
    )
    return scrolling(
        f"<table{_kind(Column('', kind))}>\n<caption>{caption}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>",
        columns[0].name,
    )


def _kind(column: Column) -> str:
    return f' class="{column.kind}"' if column.kind else ""


def figure(chart: str) -> str:
    """Return an SVG as a figure."""
    return f"<figure>{chart.strip()}</figure>"


def scrolling(wide: str, label: str) -> str:
    """Return a box that scrolls sideways, by keyboard too."""
    return (
        f'<div class="scroll" role="group" tabindex="0" aria-label="{escape(label)}">{wide}</div>'
    )


def scores(found: Sequence[Score], size: int | None) -> str:
    """Return the table of scores.

    Args:
        found: one a row.
        size: how many samples; floors at another n say so.
    """
    caption = (
        "The floor is the same metric between two parts of real data: what no sampler need beat. "
        'In the bars, <span class="key"></span> is the value, <span class="key floor"></span> the '
        'floor, <span class="key line"></span> the 95 % interval.'
    )
    columns = [
        Column("metric"),
        Column("value", "n"),
        Column("95 % interval", "n"),
        Column("floor", "n"),
        Column("better"),
        Column("against its floor"),
    ]
    return section("Scores", table(caption, columns, (_score(s, size) for s in found)))


def _score(score: Score, size: int | None) -> list[str]:
    note = f"<small>{escape(score.note)}</small>" if score.note else ""
    at = f"<small>n = {count(score.floor_count)}</small>" if score.floor_count != size else ""
    drawn = [score.value, score.floor or 0, score.high or 0]
    label = f"{score.name}: value {number(score.value)}, floor {number(score.floor)}"
    return [
        escape(score.name) + note,
        f"<strong>{number(score.value)}</strong>",
        interval(score.low, score.high),
        number(score.floor) + ("" if score.floor is None else at),
        _DIRECTION[score.lower_is_better],
        bar(
            score.value,
            maximum=_largest(drawn),
            label=label,
            floor=score.floor,
            low=score.low,
            high=score.high,
        ),
    ]


def _largest(values: Iterable[float | None]) -> float:
    """Return what a full bar stands for: a little over the largest, and never 0 or NaN."""
    return max((1.05 * v for v in values if v is not None and 0 < v < float("inf")), default=1.0)


def protocol(how: Protocol) -> str:
    """Return the protocol as a list, and as one line to copy."""
    items = "\n".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(value)}</dd>"
        for name, value in how.items()
    )
    note = '<p class="quiet">The same as one line; quote it beside every number.</p>'
    return section("Protocol", f"<dl>\n{items}\n</dl>", note, preformatted(str(how)))


def preformatted(line: str) -> str:
    """Return a line to copy: one click selects it."""
    return f"<pre><code>{escape(line)}</code></pre>"


def samples(pictures: Pictures) -> str:
    """Return the grid of samples, and those that the judge is most and least sure of."""
    names = ", ".join(pictures.grid_names)
    rows = f"Samples, a row a class{': ' if names else ''}{names}."
    grid = pictures.grid and shown(pictures.grid, rows, least=GRID_WIDTH)
    return section(
        "Samples",
        f"<figure>{grid}<figcaption>{escape(rows)}</figcaption></figure>" if grid else "",
        _strip("Those the judge is most sure of.", pictures.best),
        _strip(pictures.worst_caption, pictures.worst),
    )


def _strip(caption: str, images: Sequence[Image]) -> str:
    drawn = "".join(
        f"<li>{shown(image, f'Sample {i} of {len(images)}. {caption}', least=_PICTURE)}</li>"
        for i, image in enumerate(images, 1)
    )
    return f'<p class="quiet">{caption}</p><ul class="pairs">{drawn}</ul>' if drawn else ""


def classes(found: Sequence[ClassScore]) -> str:
    """Return the table of classes, the least recognised first."""
    if not found:
        return ""
    caption = (
        "The least recognised class first. Accuracy: share of the samples that the judge assigns "
        "to the class asked for. Distance: Fréchet distance to the class's real images, "
        '<span class="key floor"></span> its floor.'
    )
    columns = [
        Column("class"),
        Column("samples", "n"),
        Column("accuracy", "n"),
        Column(""),
        Column("distance", "n"),
        Column("floor", "n"),
        Column(""),
        *([Column("PSNR, dB", "n")] if (paired := any(c.psnr is not None for c in found)) else []),
    ]
    longest = _largest(x for each in found for x in (each.distance, each.floor))
    ordered = sorted(found, key=lambda c: (c.accuracy is None, c.accuracy or 0, -(c.distance or 0)))
    rows = ([*_class(c, longest), *([number(c.psnr)] if paired else [])] for c in ordered)
    return section("Classes", table(caption, columns, rows))


def _class(found: ClassScore, longest: float) -> list[str]:
    accuracy, distance = percent(found.accuracy), number(found.distance)
    floor = number(found.floor)
    label = f"{found.name}: distance {distance}, floor {floor}"
    return [
        escape(found.name),
        count(found.count),
        accuracy,
        bar(found.accuracy, maximum=1, label=f"{found.name}: accuracy {accuracy}"),
        distance,
        floor,
        bar(found.distance, maximum=longest, label=label, floor=found.floor),
    ]


def confusion(counts: Sequence[Sequence[int]] | None, names: Sequence[str]) -> str:
    """Return what the judge takes the samples of each class for."""
    if not counts:
        return ""
    drawn = _matrix if len(names) <= MATRIX_CLASSES else _most_confused
    return section("Confusion", drawn(counts, names))


def _matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{_heat(row, index)}</tr>'
        for index, (name, row) in enumerate(zip(names, counts, strict=True))
    )
    caption = (
        "Rows: the class asked for. Columns: the class that the judge sees. Numbers: per cent of "
        "the row, framed where both agree."
    )
    return scrolling(
        f'<table class="heat">\n<caption>{caption}</caption>\n<thead><tr><td></td>{head}</tr>'
        f"</thead>\n<tbody>\n{rows}\n</tbody>\n</table>",
        "confusion",
    )


def _heat(row: Sequence[int], own: int) -> str:
    total = max(sum(row), 1)
    return "".join(
        f'<td{" class=same" if i == own else ""} style="--heat:{n / total:.2f}">'
        f"{f'{100 * n / total:.0f}' if n else ''}</td>"
        for i, n in enumerate(row)
    )


def _most_confused(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    wrong = [
        (n, asked, seen)
        for asked, row in enumerate(counts)
        for seen, n in enumerate(row)
        if n and asked != seen
    ]
    worst = sorted(wrong, key=lambda each: (-each[0], each[1], each[2]))[:LISTED]
    rows = (
        [escape(names[asked]), escape(names[seen]), count(n), percent(n / sum(counts[asked]))]
        for n, asked, seen in worst
    )
    columns = [Column("asked for"), Column("seen"), Column("samples", "n"), Column("share", "n")]
    return table("The most frequent confusions.", columns, rows)


def memorised(found: Memorisation | None, pictures: Pictures) -> str:
    """Return whether samples repeat training images, how to read that, and the nearest pairs."""
    pairs = "".join(
        "<li><span>"
        + shown(each.sample, f"Sample {each.pair.sample}", least=_PICTURE)
        + shown(each.training, f"Training image {each.pair.training}", least=_PICTURE)
        + f"</span><small>sample {each.pair.sample}, training {each.pair.training}<br>"
        + f"distance {number(each.pair.distance)}</small></li>"
        for each in pictures.neighbours
    )
    note = '<p class="quiet">The nearest pairs: left the sample, right the training image.</p>'
    plot = pictures.distances and histogram(
        pictures.distances,
        "distance to the nearest training image",
        "share of images (%)",
        "How near the training set is",
    )
    return section(
        "Nearest training images",
        _reading(found) if found else "",
        f'{note}<ul class="pairs">{pairs}</ul>' if pairs else "",
        plot or "",
    )


def _reading(found: Memorisation) -> str:
    real = "training images to one another" if found.leave_one_out else "held-out images"
    return (
        f"<p><strong>{percent(found.share)}</strong> of the samples lie nearer to a training image "
        f"than {number(found.threshold)}, which {percent(found.level)} of the distances of {real} "
        f"undercut. A model that repeats nothing has about {percent(found.level)}, give or take "
        f"{percent(found.noise)}; one that repeats its training images has far more. Half of the "
        f"samples are nearer than {number(found.ratio)} times the middle distance of {real}. "
        f"Copies, equal in every feature: {count(found.copies)}. The pairs decide: "
        "features that ignore detail make neighbours of images that a person tells apart.</p>"
    )
