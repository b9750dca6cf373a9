"""Starting is quick, and torch stays out of it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("mezzotint"))
LOADS = "import sys\n{}\nsys.exit(1 if {{'torch', 'torchvision'}} & set(sys.modules) else 0)"
HELP = """import contextlib
from mezzotint.cli.main import main
sys.argv = ["mezzotint", "--help"]
with contextlib.suppress(SystemExit):
    main()"""
TRIES = 12


def seconds(command, bar):
    """Return the best time of several runs; stops at the first one within the bar."""
    best = float("inf")
    for _ in range(TRIES):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - start)
        if best < bar:
            break
    return best


@pytest.mark.parametrize("code", ["import mezzotint", HELP], ids=["import", "help"])
def test_torch_is_not_loaded(code):
    subprocess.run([sys.executable, "-c", LOADS.format(code)], check=True, capture_output=True)


def test_loading_torch_would_be_noticed():
    found = subprocess.run([sys.executable, "-c", LOADS.format("import torch")], check=False)
    assert found.returncode == 1


def test_help_answers_at_once():
    assert seconds([COMMAND, "--help"], 0.3) < 0.3


def test_importing_is_quick():
    assert seconds([sys.executable, "-c", "import mezzotint"], 0.2) < 0.2
