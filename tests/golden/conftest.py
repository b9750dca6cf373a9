"""Find the golden cases, and say in the end which were recognised, and by whom."""

import os
from pathlib import Path

import pytest

from tests.golden import check_dit, check_sit, check_uvit  # noqa: F401, they register
from tests.golden.case import files, find

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "reference"
RECOGNISED = pytest.StashKey[dict[Path, str]]()


def folders() -> list[Path]:
    given = os.environ.get("MEZZOTINT_GOLDEN")
    wanted = [Path(given)] if given else [HERE / "cases", SHARED]
    return [folder for folder in wanted if folder.is_dir()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_path" not in metafunc.fixturenames:
        return
    found = {path: find(path)[0] for path in files(folders())}
    metafunc.config.stash[RECOGNISED] = {p: c.name if c else "" for p, c in found.items()}
    known = [path for path, checker in found.items() if checker]
    metafunc.parametrize("golden_path", known, ids=[f"{p.parent.name}/{p.stem}" for p in known])


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    found = config.stash.get(RECOGNISED, None)
    if found is None:
        return
    terminalreporter.section("golden cases")
    known = [f"{p.parent.name}/{p.stem}  {name}" for p, name in found.items() if name]
    later = [f"{p.parent.name}/{p.stem}" for p, name in found.items() if not name]
    terminalreporter.write_line(f"from {', '.join(map(str, folders()))}")
    terminalreporter.write_line(f"recognised {len(known)}:")
    for line in known:
        terminalreporter.write_line(f"  {line}")
    if later:
        terminalreporter.write_line(f"not yet {len(later)}: {' '.join(later)}")
