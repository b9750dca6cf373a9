"""Find the golden cases, and say in the end which were recognised, and by whom."""

import os
from importlib import import_module
from pathlib import Path

import pytest

from tests.golden.case import Found, files, find

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "reference"
for module in sorted(HERE.glob("check_*.py")):
    import_module(f"tests.golden.{module.stem}")  # its checkers register themselves
RECOGNISED = pytest.StashKey[dict[Path, Found]]()


def folders(given: str | None) -> list[Path]:
    """Return where to look: the folder that MEZZOTINT_GOLDEN names, or the cases kept here."""
    if given and not Path(given).is_dir():
        raise pytest.UsageError(f"MEZZOTINT_GOLDEN={given}: no such folder")
    wanted = [Path(given)] if given else [HERE / "cases", SHARED]
    return [folder for folder in wanted if folder.is_dir()]


def look(places: list[Path]) -> dict[Path, Found]:
    """Return what was found out about each case; finding nothing to check is an error."""
    found = {path: find(path) for path in files(places)}
    if not any(each.checker for each in found.values()):
        raise pytest.UsageError(
            f"no golden case is recognised among {len(found)} files in "
            f"{', '.join(map(str, places))}; expected <system>/*.safetensors"
        )
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_path" not in metafunc.fixturenames:
        return
    found = look(folders(os.environ.get("MEZZOTINT_GOLDEN")))
    metafunc.config.stash[RECOGNISED] = found
    wanted = [path for path, each in found.items() if each.checker or each.due]
    metafunc.parametrize("golden_path", wanted, ids=[f"{p.parent.name}/{p.stem}" for p in wanted])


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    found = config.stash.get(RECOGNISED, None)
    if found is None:
        return
    terminalreporter.section("golden cases")
    case = {path: f"{path.parent.name}/{path.stem}" for path in found}
    known = [f"{case[p]}  {each.checker.name}" for p, each in found.items() if each.checker]
    missed = [case[p] for p, each in found.items() if each.due and not each.checker]
    later = [case[p] for p, each in found.items() if not each.due and not each.checker]
    places = sorted({str(path.parent.parent) for path in found})
    terminalreporter.write_line(f"from {', '.join(places)}")
    terminalreporter.write_line(f"recognised {len(known)}:")
    for line in known:
        terminalreporter.write_line(f"  {line}")
    if missed:
        terminalreporter.write_line(f"not recognised {len(missed)}: {' '.join(missed)}")
    if later:
        terminalreporter.write_line(f"not yet {len(later)}: {' '.join(later)}")
