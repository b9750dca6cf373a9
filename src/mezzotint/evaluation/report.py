"""The report of one evaluation: read, written, and set beside others where that is fair."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from mezzotint import config
from mezzotint.errors import ConfigError
from mezzotint.evaluation.memorisation import Memorisation
from mezzotint.evaluation.page import Pictures, page
from mezzotint.evaluation.record import (
    ClassScore,
    Protocol,
    Score,
    difference,
    null_as_nan,
    said,
)
from mezzotint.evaluation.wording import MISSING, count, interval, number
from mezzotint.files import write_text

FORMAT: Final = 1
"""Of report.json; a change that old files do not survive raises it."""

JSON_NAME: Final = "report.json"
PAGE_NAME: Final = "report.html"
FIRST_COLUMN: Final = "report"
FLOOR_ROW: Final = "real data against itself"
_WAS: Final = " is stored as null, for it was "


def _memorisation(value: Any) -> Any:
    """Let its numbers be null in a file: its own fields are plain."""
    return None if value is None else null_as_nan(value)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything one evaluation found, and under which protocol.

    Attributes:
        title: what was measured.
        protocol: how it was measured.
        scores: the most telling one first; their names differ.
        classes: a line a class.
        confusion: counts; rows are the classes asked for, columns those that the judge saw.
        confusion_names: of rows and columns.
        memorisation: whether samples repeat training images.
        command: makes the report again.
        notes: what a reader should know.
        warnings: what a reader must know before trusting a number.
        verdict: all of it in a sentence; "" lets the page make one of the scores.

    Raises:
        ConfigError: two scores of one name, or a confusion table that is not square.
    """

    title: str
    protocol: Protocol
    scores: tuple[Score, ...]
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    confusion_names: tuple[str, ...] = ()
    memorisation: Annotated[Memorisation | None, BeforeValidator(_memorisation)] = None
    command: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    verdict: str = ""

    def __post_init__(self) -> None:
        names = sorted(score.name for score in self.scores)
        twice = [one for one, following in pairwise(names) if one == following]
        if twice:
            raise ConfigError(f"scores: {twice[0]} stands twice; give every score its own name")
        wanted = len(self.confusion_names)
        lengths = {len(row) for row in self.confusion or ()} | {len(self.confusion or ())}
        if self.confusion is not None and lengths != {wanted}:
            raise ConfigError(
                f"confusion: {wanted} names need {wanted} rows of {wanted} counts, got lengths "
                f"{', '.join(map(str, sorted(lengths)))}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain data; a number that is not finite becomes null, and a note says so."""
        found: dict[str, str] = {}
        tree = _finite(config.dump(self), (), found)
        # What an earlier writing said is not said again: what was infinite is NaN by now.
        known = {note.partition(_WAS)[0] for note in self.notes}
        notes = [f"{where}{_WAS}{was}" for where, was in found.items() if where not in known]
        return {"format": FORMAT} | tree | {"notes": [*self.notes, *notes]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Report":
        """Return the report that `to_json` gave; null comes back as NaN where a number must be.

        Raises:
            ConfigError: a key that is unknown or missing, or another format.
        """
        found = tree.get("format")
        if found != FORMAT:
            raise ConfigError(
                f"format: expected {FORMAT}, got {found!r}; evaluate the samples again"
            )
        return config.build(cls, {key: value for key, value in tree.items() if key != "format"})

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Read a report.json.

        Raises:
            ConfigError: the file is missing, is not JSON, or holds no report.
        """
        try:
            tree = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: not a readable report ({error})") from None
        if not isinstance(tree, dict):
            raise ConfigError(f"{path}: expected a report, got {config.shown(tree)}")
        try:
            return cls.from_json(tree)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def write(self, folder: Path, pictures: Pictures) -> None:
        """Write report.html and then report.json, each whole or not at all.

        Raises:
            ConfigError: a value that could not be read again, such as a tensor for a number.
            OutputError: the disk is full or the folder cannot be written.
        """
        tree = self.to_json()
        written = Report.from_json(tree)
        write_text(folder / PAGE_NAME, page(written, pictures))
        config.write_json(folder / JSON_NAME, tree)


def _finite(tree: Any, where: tuple[str, ...], found: dict[str, str]) -> Any:
    """Copy plain data with null for what is not finite; enter in `found` where, and what it was."""
    if isinstance(tree, float) and not math.isfinite(tree):
        found[".".join(where)] = str(tree)
        return None
    if isinstance(tree, dict):
        return {key: _finite(value, (*where, key), found) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_finite(v, (*where, _label(v, i)), found) for i, v in enumerate(tree)]
    return tree


def _label(value: Any, index: int) -> str:
    return str(value["name"]) if isinstance(value, dict) and "name" in value else str(index)


def compare(reports: Sequence[Report]) -> list[dict[str, str]]:
    """Return the rows of a table of reports, as text: the title, what differs, every score.

    A last row holds the floors, where there are any.

    Raises:
        ConfigError: no report at all, or numbers that do not compare: another extractor, judge,
            reference or number of images.
    """
    if not reports:
        raise ConfigError("nothing to compare; give one report or more")
    first, *rest = reports
    for other in rest:
        refuse_unlike(first, other)
    fields = zip(*(report.protocol.items() for report in reports), strict=True)
    varied = [
        values[0][0]
        for values in fields
        if len(set(values)) > 1 and not values[0][0].endswith("_digest")
    ]
    names = list(dict.fromkeys(score.name for report in reports for score in report.scores))
    rows = [_row(report, varied, names) for report in reports]
    floors = {name: _floor(reports, name) for name in names}
    if any(cell != MISSING for cell in floors.values()):
        rows.append({FIRST_COLUMN: FLOOR_ROW} | dict.fromkeys(varied, MISSING) | floors)
    return rows


def refuse_unlike(one: Report, other: Report) -> None:
    """Raise ConfigError if the numbers of two reports do not belong into one table."""
    pairs = zip(_identity(one.protocol), _identity(other.protocol), strict=True)
    unlike = [difference(name, said(a), said(b)) for (name, a), (_, b) in pairs if a != b]
    judges = [p.judge_digest or p.judge for p in (one.protocol, other.protocol)]
    if None not in judges and judges[0] != judges[1]:
        unlike.append(difference("judge_digest", said(judges[0]), said(judges[1])))
    if unlike:
        raise ConfigError(
            f"{other.title!r} does not compare with {one.title!r}: {'; '.join(unlike)}; evaluate "
            "both with the same extractor, judge, reference and number of images"
        )


def _identity(protocol: Protocol) -> Iterator[tuple[str, str | int | None]]:
    """Yield what must be equal before two numbers compare; a name stands in for a digest."""
    yield "extractor_digest", protocol.extractor_digest or protocol.extractor
    yield "reference_digest", protocol.reference_digest or protocol.reference
    yield "reference_count", protocol.reference_count
    yield "reference_codec", protocol.reference_codec
    yield "size", protocol.size
    yield "samples_count", protocol.samples_count


def _row(report: Report, varied: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    how = dict(report.protocol.items())
    scores = {score.name: _cell(score) for score in report.scores}
    row = {FIRST_COLUMN: report.title} | {name: how[name] for name in varied}
    return row | {name: scores.get(name, MISSING) for name in names}


def _cell(score: Score) -> str:
    ends = interval(score.low, score.high)
    return number(score.value) + ("" if ends == MISSING else f" ({ends})")


def _floor(reports: Sequence[Report], name: str) -> str:
    """Return the floor of one score: a number, or the range that the reports span."""
    found = [s for r in reports for s in r.scores if s.name == name and s.floor is not None]
    cells = list(dict.fromkeys(number(s.floor) for s in sorted(found, key=lambda s: s.floor or 0)))
    if not cells:
        return MISSING
    counts = sorted({score.floor_count for score in found if score.floor_count is not None})
    at = "" if counts == [reports[0].protocol.samples_count] else _at(counts)
    return (cells[0] if len(cells) == 1 else f"{cells[0]} to {cells[-1]}") + at


def _at(counts: Sequence[int]) -> str:
    return f" (n = {', '.join(map(count, counts))})"


def markdown(reports: Sequence[Report], columns: Sequence[str] = ()) -> str:
    """Return `compare(reports)` as a Markdown table.

    Args:
        reports: one or more that compare.
        columns: which, in this order: "report", fields of the protocol that differ, names of
            scores; () means all.

    Raises:
        ConfigError: as `compare`, or a column that is not there.
    """
    rows = compare(reports)
    for column in columns:
        if column not in rows[0]:
            raise ConfigError(f"column {column!r}: {config.nearest(column, rows[0])}")
    chosen = columns or list(rows[0])
    lines = [chosen, ["---"] * len(chosen), *([row[c] for c in chosen] for row in rows)]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines) + "\n"


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")


__all__ = [
    "ClassScore",
    "Pictures",
    "Protocol",
    "Report",
    "Score",
    "compare",
    "markdown",
]
