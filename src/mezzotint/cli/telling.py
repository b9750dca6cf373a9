"""What `mezzotint evaluate` says: the title of a report, its command, and its numbers."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.cli import shared

if TYPE_CHECKING:
    from mezzotint.evaluation.record import Score
    from mezzotint.evaluation.report import Report
    from mezzotint.evaluation.sources import Source


def title(ours: "Source", real: "Source") -> str:
    """Return the title of a report."""
    made = ours.made
    if "model" not in made:
        return f"{ours.name} against {real.name}"
    sampling = made.get("sampling", {})
    scale = sampling.get("guidance", {}).get("scale")
    guided = "" if scale is None else f", guidance {scale:g}"
    return f"{made['model']}, {sampling.get('steps')} steps{guided}"


def tell(report: "Report", out: Path, *, as_json: bool) -> None:
    """Say what was found, on stdout, and warnings on stderr."""
    from mezzotint.evaluation.report import JSON_NAME, PAGE_NAME

    for line in report.warnings:
        shared.say(f"warning: {line}")
    shared.say(str(report.protocol))
    values: dict[str, Any] = {"verdict": report.verdict} if report.verdict else {}
    for score in report.scores:
        plain = score.value if math.isfinite(score.value) else None  # JSON knows no NaN
        values[score.name] = plain if as_json else _told(score)
    if report.memorisation is not None:
        share = report.memorisation.share
        values["memorised"] = share if as_json else f"{share:.1%} of the samples"
    values |= {"report": str(out / PAGE_NAME), "json": str(out / JSON_NAME)}
    shared.result(values, as_json=as_json)


def _told(score: "Score") -> str:
    """Say a score with its interval and its floor: 3.2 (2.9 to 3.6; real data 1.8 at n = 2,812)."""
    from mezzotint.evaluation.wording import MISSING, count, interval, number

    ends = interval(score.low, score.high)
    floor = f"real data {number(score.floor)} at n = {count(score.floor_count)}"
    more = [
        *([score.note] if score.note.startswith("dB,") else []),
        *([ends] if ends != MISSING else []),
        *([floor] if score.floor is not None else []),
    ]
    return number(score.value) + (f" ({'; '.join(more)})" if more else "")
