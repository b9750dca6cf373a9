"""Figures kept in git beside what they are of, so that what one machine measured is not lost."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mezzotint.files import write_text

RESULTS = Path(__file__).parent / "results"


def known(name: str, of: Mapping[str, Any], results: Path = RESULTS) -> dict[str, Any] | None:
    """Return figures that are kept under a name, if they are of the very same thing."""
    path = results / f"{name}.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text("utf-8"))
    return found["figures"] if found["of"] == _plain(of) else None


def kept(
    name: str,
    of: Mapping[str, Any],
    make: Callable[[], dict[str, Any]],
    results: Path = RESULTS,
) -> dict[str, Any]:
    """Return the figures that are kept, or make and keep them.

    Args:
        name: of the file, such as "evaluation/emoji-dit/steps-20-seed-0".
        of: all that the figures depend on: weights, settings, seeds.
        make: measures.
        results: the folder.
    """
    found = known(name, of, results)
    if found is None:
        found = make()
        path = results / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"of": _plain(of), "figures": found}, indent=1) + "\n")
    return found


def _plain(of: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(of, sort_keys=True))
