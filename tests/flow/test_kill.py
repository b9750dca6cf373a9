"""A run that is killed at random moments, again and again, ends as if nobody had touched it."""

import json
import os
import random
import subprocess
import sys

import pytest
import torch

from mezzotint.checkpoint import read_tensors
from tests.house.source import ROOT

KILLS = 24
CLOCK = ("seconds", "environment")


@pytest.fixture(scope="module")
def forker():
    """Return a function that trains in a folder and says how that ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.flow.forker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:

        def train(folder, **kill):
            process.stdin.write(json.dumps({"folder": str(folder), **kill}) + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield train
        process.stdin.close()
        assert process.wait() == 0


def moments():
    """Yield where to kill: at a time, or in the middle of saving; in turn, with a fixed seed."""
    draw = random.Random(0)
    while True:
        yield {"after": draw.uniform(0.02, 0.6)}
        yield {"call": draw.randint(1, 60)}


def without_clock(note):
    note = {key: value for key, value in note.items() if key not in CLOCK}
    if "provenance" in note:
        note["provenance"] = without_clock(note["provenance"])
    return note


def contents(folder):
    """Return everything in a run folder that does not depend on the time of day."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    assert not [path for path in files if path.name.endswith(".part")]
    found = {"names": [str(path.relative_to(folder)) for path in files]}
    for path in files:
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            tensors, note = read_tensors(path)
            found |= {f"{name}:{key}": tensor for key, tensor in tensors.items()}
            found[name] = without_clock(note)
        elif path.suffix == ".jsonl":
            found[name] = [
                without_clock(json.loads(line)) for line in path.read_text().splitlines()
            ]
        elif path.suffix in {".png", ".yaml"}:
            found[name] = path.read_bytes()
    return found


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def test_a_killed_run_ends_bit_for_bit_like_one_left_alone(forker, tmp_path):
    assert forker(tmp_path / "whole") == "done"
    whole = contents(tmp_path / "whole")
    steps = [line["step"] for line in whole["metrics.jsonl"]]
    assert steps == sorted(set(steps))
    assert any(name.startswith("resume/step_000000020.safetensors:optimiser/") for name in whole)

    kills = runs = 0
    when = moments()
    while kills < KILLS:
        folder = tmp_path / f"killed-{runs}"
        while (end := forker(folder, **(next(when) if kills < KILLS else {}))) != "done":
            assert end == "killed"
            kills += 1
        runs += 1
        killed = contents(folder)
        assert killed.keys() == whole.keys()
        assert not [name for name in whole if not same(whole[name], killed[name])]
    print(f"{kills} kills in {runs} runs")
