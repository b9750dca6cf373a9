"""Tables of the pages in docs/: their cells, and their places between two marks."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from mezzotint.files import write_text


def cell(numbers: Sequence[float]) -> str:
    """Return the mean of the seeds and half their difference."""
    half = (max(numbers) - min(numbers)) / 2
    mean = statistics.mean(numbers)
    places = 3 if max(abs(v) for v in numbers) < 10 else 1
    return f"{mean:.{places}f} ± {half:.{places}f}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; its first line is the heading."""
    head, *body = lines
    return (
        "\n".join(f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *body)) + "\n"
    )


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between a page's two marks of a table."""
    start, end = f"<!-- table {name} -->\n", f"<!-- end {name} -->"
    whole = page.read_text("utf-8") if page.exists() else ""
    before, _, rest = whole.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page}: no place for {name}; expected {start.strip()} … {end}")
    write_text(page, f"{before}{start}{text}{end}{after}")
