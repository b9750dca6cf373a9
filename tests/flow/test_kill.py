"""A run that is killed at random moments, again and again, ends as if nobody had touched it.

And one that is asked to stop saves first.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import count

import pytest
import torch

from mezzotint.checkpoint import read_tensors
from mezzotint.training import resume
from tests.flow.forker import HANGING
from tests.house.source import ROOT

KILLS = 30
BEFORE_SAVING = 9
"""Flushes, renames and removals from the start of a run to its first save, which has about 13."""
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

        def train(folder, **job):
            process.stdin.write(json.dumps({"folder": str(folder), **job}) + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield train
        process.stdin.close()
        assert process.wait() == 0


def moments():
    """Yield where to kill: at a time, or at each point of saving; in turn, with a fixed seed."""
    draw = random.Random(0)
    for call in count(BEFORE_SAVING):
        yield {"after": draw.uniform(0.02, 0.6)}
        yield {"call": call}


def saved(folder):
    """Return the step from which a run would go on."""
    complete = resume.files(folder / "resume")
    return read_tensors(complete[-1])[1]["step"] if complete else 0


def without_clock(note):
    note = {key: value for key, value in note.items() if key not in CLOCK}
    if "provenance" in note:
        note["provenance"] = without_clock(note["provenance"])
    return note


def contents(folder):
    """Return everything in a run folder that does not depend on the time of day."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    found = {"names": [str(path.relative_to(folder)) for path in files]}
    assert not [name for name in found["names"] if "/." in f"/{name}"], "a draft is left"
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


def assert_same(found, whole):
    assert found.keys() == whole.keys()
    assert not [name for name in whole if not same(whole[name], found[name])]


@pytest.fixture(scope="module")
def whole(forker, tmp_path_factory):
    """What a run leaves that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert forker(folder) == "done"
    return contents(folder)


def test_a_killed_run_ends_bit_for_bit_like_one_left_alone(forker, whole, tmp_path):
    steps = [line["step"] for line in whole["metrics.jsonl"]]
    assert steps == sorted(set(steps))
    assert any(name.startswith("resume/step_000000020.safetensors:optimiser/") for name in whole)

    kills = runs = 0
    when = moments()
    while kills < KILLS:
        folder, reached = tmp_path / f"killed-{runs}", 0
        while (end := forker(folder, **(next(when) if kills < KILLS else {}))) != "done":
            assert end == "killed"
            assert saved(folder) >= reached, "what was saved once is never lost"
            reached = saved(folder)
            kills += 1
        runs += 1
        assert_same(contents(folder), whole)
    print(f"{kills} kills in {runs} runs")


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_and_leaves(forker, whole, tmp_path, ask):
    assert forker(tmp_path, ask=ask, once="resume/step_000000003.safetensors") == "stopped"
    *_, last = sorted(tmp_path.glob("resume/*"))
    _, note = read_tensors(last)
    assert 3 <= note["step"] < 20
    assert read_tensors(tmp_path / "model.safetensors")[1]["provenance"]["step"] == note["step"]
    assert forker(tmp_path) == "done"
    assert_same(contents(tmp_path), whole)


def test_a_second_ctrl_c_quits_at_once(forker, tmp_path):
    started = time.monotonic()
    assert forker(tmp_path, ask=signal.SIGINT, once=HANGING, hang=True) == "failed"
    assert time.monotonic() - started < 30
