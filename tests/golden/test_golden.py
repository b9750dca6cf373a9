"""Every case of what this project has must be recognised, and met in all of its outputs."""

from pathlib import Path

from tests.golden.case import Case, find


def test_a_golden_case_is_met(golden_path: Path):
    found = find(golden_path)
    assert found.checker, f"{golden_path}: no checker knows it; its source is {found.source!r}"
    case = Case.read(golden_path)
    found.checker.check(case)
    assert not case.left(), f"outputs that were never compared: {case.left()[:5]}"
