"""The suite fails when it finds nothing, or something that it should know and does not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.golden import test_golden
from tests.golden.case import due, find
from tests.golden.conftest import HERE, folders, look

KNOWN = HERE / "cases" / "dit" / "diffusion_schedule.safetensors"


def put(path: Path, *names: str, source: str = "somewhere") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.zeros(1) for name in names or ("input/x", "output/y")}
    save_file(tensors, path, metadata={"source": source, "config": "{}"})
    return path


def known(folder: Path) -> Path:
    (folder / "dit").mkdir(parents=True)
    return Path(shutil.copy(KNOWN, folder / "dit" / "renamed.safetensors"))


def suite(folder: Path) -> tuple[int, str]:
    """Run the golden suite on a folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, test_golden.__file__],
        env={**os.environ, "MEZZOTINT_GOLDEN": str(folder)},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_folder_that_is_missing_ends_the_suite(tmp_path):
    with pytest.raises(pytest.UsageError, match="no such folder"):
        folders(str(tmp_path / "none"))
    code, said = suite(tmp_path / "none")
    assert code != 0
    assert re.search(r"MEZZOTINT_GOLDEN=\S+none: no such folder", said)


def test_a_folder_without_a_known_case_ends_the_suite(tmp_path):
    with pytest.raises(pytest.UsageError, match="no golden case is recognised among 0 files"):
        look([tmp_path])
    shutil.copy(KNOWN, tmp_path / "not-in-a-system.safetensors")
    with pytest.raises(pytest.UsageError, match="among 0 files"):
        look([tmp_path])
    put(tmp_path / "mdtv2" / "a.safetensors")
    with pytest.raises(pytest.UsageError, match="among 1 files"):
        look([tmp_path])


def test_a_case_that_should_be_known_fails_and_others_wait(tmp_path):
    known(tmp_path)
    put(tmp_path / "sit" / "new.safetensors", source="SiT something.py")
    put(tmp_path / "mdtv2" / "network.safetensors", "state/w", "input/x")
    put(tmp_path / "mdtv2" / "a.safetensors")
    code, said = suite(tmp_path)
    assert code == 1, said
    assert "1 failed, 1 passed" in said
    assert "no checker knows it; its source is 'SiT something.py'" in said
    assert "recognised 1:\n  dit/renamed" in said
    assert "not recognised 1: sit/new" in said
    assert "not yet 2: mdtv2/a mdtv2/network" in said


def test_what_is_due():
    assert due("dit")
    assert not due("mdtv2")


def test_a_file_without_metadata_is_not_recognised(tmp_path):
    path = tmp_path / "dit" / "bare.safetensors"
    path.parent.mkdir()
    save_file({"input/x": torch.zeros(1)}, path)
    assert find(path).checker is None
    assert find(path).due
