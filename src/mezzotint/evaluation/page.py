"""A report as one HTML file: no other file, no request, no script; for screen, phone and paper."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mezzotint.evaluation import page_parts
from mezzotint.evaluation.pictures import PairPicture, Pictures
from mezzotint.evaluation.record import Score
from mezzotint.evaluation.wording import count, number, one_line, percent

if TYPE_CHECKING:  # a report writes its page
    from mezzotint.evaluation.report import Report

SURE: Final = 3
"""Standard deviations of chance beyond which a share of near neighbours is a finding."""

_STYLE: Final = Path(__file__).with_name("page.css")


def page(report: "Report", pictures: Pictures) -> str:
    """Return a report as HTML.

    Args:
        report: what was found.
        pictures: what else to show.
    """
    sections = [
        page_parts.scores(report.scores, report.protocol.samples_count),
        page_parts.protocol(report.protocol),
        page_parts.samples(pictures),
        page_parts.classes(report.classes),
        page_parts.confusion(report.confusion, report.confusion_names),
        page_parts.memorised(report.memorisation, pictures),
        page_parts.section("Curves", *map(page_parts.figure, pictures.charts)),
        _remarks(report),
        _again(report),
    ]
    return document(report.title, verdict(report), sections, _warned(report))


def document(title: str, verdict: str, sections: Sequence[str], warned: str = "") -> str:
    """Return a whole page.

    Args:
        title, verdict: plain text.
        sections: HTML; empty ones are left out.
        warned: HTML below the verdict.
    """
    title = escape(one_line(title))
    body = "\n".join(each for each in sections if each)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_STYLE.read_text('utf-8')}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{title}</h1>\n<p class="verdict">{escape(verdict)}</p>\n'
        f"{warned}</header>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def verdict(report: "Report") -> str:
    """Say in one line of plain words how good the samples are.

    The first score stands for quality, the classes for obedience, the nearest neighbours for
    originality. A share of near neighbours is a finding beyond `SURE` standard deviations.
    """
    if report.verdict:
        return report.verdict
    return " ".join([*_quality(report), *_obedience(report), *_originality(report)])


def _quality(report: "Report") -> Iterator[str]:
    if not report.scores:
        return
    first = report.scores[0]
    value, floor = number(first.value), number(first.floor)
    said = f"{first.name} is {value}"
    if not math.isfinite(first.value):
        yield f"{first.name} could not be computed."
    elif first.floor is None:
        yield f"{said}; no floor was measured."
    elif first.floor_count != report.protocol.samples_count:  # a distance falls as n grows
        yield f"{said}; its floor, {floor}, is that of another n, {count(first.floor_count)}."
    elif reaches(first):
        yield f"{said}, as good as real data against itself ({floor})."
    elif first.lower_is_better and first.floor > 0:
        ratio = number(first.value / first.floor, digits=2)
        yield f"{said}, {ratio} times the {floor} of real data against itself."
    else:
        yield f"{said}; real data against itself gives {floor}."


def reaches(score: Score) -> bool:
    """Tell whether a score is as good as its floor, its interval allowed for."""
    if score.floor is None or score.lower_is_better is None:
        return False
    if score.lower_is_better:
        return (score.value if score.low is None else score.low) <= score.floor
    return (score.value if score.high is None else score.high) >= score.floor


def _obedience(report: "Report") -> Iterator[str]:
    judged = [(c.count, c.accuracy) for c in report.classes if c.accuracy is not None]
    asked = sum(n for n, _ in judged)
    if asked:
        share = sum(n * accuracy for n, accuracy in judged) / asked
        yield f"{percent(share)} of the samples are recognised as the class asked for."


def _originality(report: "Report") -> Iterator[str]:
    found = report.memorisation
    if found is None:
        return
    near = f"{percent(found.share)} lie very near a training image, {percent(found.level)} expected"
    if found.copies:
        yield f"Copies of training images among the samples: {count(found.copies)}."
    elif found.share > found.level + SURE * found.noise:
        yield f"Some samples may repeat training images: {near}; look at the pairs."
    else:
        yield f"No sign of repeated training images: {near}."


def _warned(report: "Report") -> str:
    found = len(report.warnings)
    if not found:
        return ""
    what = "is one warning" if found == 1 else f"are {found} warnings"
    return f'<p class="warn">There {what}; <a href="#remarks">read before quoting</a>.</p>\n'


def _remarks(report: "Report") -> str:
    warnings = [
        f'<li class="warn"><strong>Warning.</strong> {escape(w)}</li>' for w in report.warnings
    ]
    notes = [f"<li>{escape(note)}</li>" for note in report.notes]
    lines = "\n".join(warnings + notes)
    heading = "Notes and warnings"
    return page_parts.section(heading, f"<ul>\n{lines}\n</ul>" if lines else "", name="remarks")


def _again(report: "Report") -> str:
    made = escape(report.protocol.implementation or "an unknown version")
    note = f'<p class="quiet">Measured by {made}. The numbers of this page are in report.json.</p>'
    known = page_parts.preformatted(report.command) if report.command else ""
    return page_parts.section("Make it again", known or "<p>The command is not recorded.</p>", note)


__all__ = ["PairPicture", "Pictures", "document", "page", "reaches", "verdict"]
