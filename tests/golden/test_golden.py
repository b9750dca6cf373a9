"""Every case that somebody recognises must be met, in all of its outputs."""

from pathlib import Path

from tests.golden.case import Case, find


def test_a_golden_case_is_met(golden_path: Path):
    checker, _ = find(golden_path)
    assert checker is not None
    case = Case.read(golden_path)
    checker.check(case)
    assert not case.left(), f"outputs that were never compared: {case.left()[:5]}"
