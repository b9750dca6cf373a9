"""Two gloo processes under torchrun train what one process trains."""

import json
import os
import subprocess
import sys

import pytest
import torch

from mezzotint.checkpoint import read_model, read_tensors
from tests.distributed.job import STEADY
from tests.evaluating import drawn_and_measured
from tests.house.source import ROOT
from tests.tiny import CLASSIFIER, MASKED, finish, tiny

LOSS = 1e-5  # relative; sums are taken in another order, nothing else differs
WEIGHT = 2e-5  # absolute, after 12 steps of at most 1e-3


def follow(run):
    run.open()
    return [state.loss for state in run.fit()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes have done their job."""
    place = tmp_path_factory.mktemp("two")
    begun = tiny(place / "begun by one")
    begun.open()
    for _ in begun.fit(lambda: begun.state.step == 5):
        pass
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.distributed.job", str(place)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-4000:]
    return place


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same run on one process: its losses and weights."""
    run = tiny(tmp_path_factory.mktemp("one"))
    losses = follow(run)
    return losses, run.network.state_dict() | run.ema.state()


def seen(folder, name, rank=0):
    return json.loads((folder / f"{name}.{rank}.json").read_text())


def weights(folder, name, rank=0):
    return read_tensors(folder / f"{name}.{rank}.safetensors")[0]


def assert_close(found, expected):
    """Compare weights, but those whose gradient is zero but for rounding: the keys' biases.

    A softmax does not notice a number that is added to all scores of a query, and AdamW makes a
    whole step of any gradient, however small.
    """
    for name, tensor in expected.items():
        ours = found[name]
        if name.endswith("attn.qkv.bias"):
            query, _, value = ours.chunk(3)
            ours, tensor = (
                torch.cat([query, value]),
                torch.cat([tensor.chunk(3)[0], tensor.chunk(3)[2]]),
            )
        torch.testing.assert_close(
            ours, tensor, rtol=0, atol=WEIGHT, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(
    "name", ["fresh", "pieces", "begun by one", "spoilt", "classifier", "masked"]
)
def test_both_ranks_see_the_same_numbers_and_hold_the_same_bits(folder, name):
    assert seen(folder, name, 0) == seen(folder, name, 1)
    ours, theirs = weights(folder, name, 0), weights(folder, name, 1)
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


@pytest.mark.parametrize("name", ["fresh", "pieces", "begun by one"])
def test_two_train_what_one_trains(folder, alone, name):
    losses, expected = alone
    found = [step["loss"] for step in seen(folder, name)]
    assert found == pytest.approx(losses[-len(found) :], rel=LOSS)
    assert_close(weights(folder, name), expected)


def test_two_train_the_classifier_that_one_trains(folder, tmp_path):
    run = tiny(tmp_path, tree=CLASSIFIER)
    losses = follow(run)
    assert [step["loss"] for step in seen(folder, "classifier")] == pytest.approx(losses, rel=LOSS)
    assert_close(weights(folder, "classifier"), run.network.state_dict() | run.ema.state())


def test_two_train_the_masked_generator_that_one_trains(folder, tmp_path):
    run = tiny(tmp_path, *STEADY, tree=MASKED)
    losses = follow(run)
    assert [step["loss"] for step in seen(folder, "masked")] == pytest.approx(losses, rel=LOSS)
    assert_close(weights(folder, "masked"), run.network.state_dict() | run.ema.state())


def test_only_the_first_writes(folder):
    assert not (folder / "written by rank 1").exists()
    assert (folder / "fresh" / "samples" / "step_000000012.png").exists()
    lines = [json.loads(x) for x in (folder / "fresh" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 5, 6, 9, 10, 12]


def test_a_run_goes_on_with_another_number_of_processes(folder, alone):
    assert [step["step"] for step in seen(folder, "begun by one")] == list(range(6, 13))
    losses, expected = alone
    run = tiny(folder / "begun by two")
    found = follow(run)
    assert len(found) == 8
    assert found == pytest.approx(losses[4:], rel=LOSS)
    assert_close(run.network.state_dict() | run.ema.state(), expected)


def test_logged_losses_are_those_of_the_whole_batch(folder, tmp_path):
    finish(tiny(tmp_path))
    for place in (folder / "fresh", folder / "begun by one"):
        for ours, theirs in zip(lines(place), lines(tmp_path), strict=True):
            assert ours["step"] == theirs["step"]
            assert numbers(ours) == pytest.approx(numbers(theirs), rel=1e-4)


def numbers(line):
    """Return the losses of a log line; a level in which no time fell counts as 0."""
    levels = [*line.get("loss_by_level", []), *line.get("held_out_by_level", [])]
    return [number or 0.0 for number in [line.get("loss"), line.get("held_out"), *levels]]


def lines(place):
    return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]


def test_a_step_that_one_rank_must_skip_is_skipped_by_both(folder):
    for rank in (0, 1):
        steps = seen(folder, "spoilt", rank)
        assert [step["step"] for step in steps if step["skipped"]] == [4]
    assert all(torch.isfinite(t).all() for t in read_model(folder / "spoilt")[0].values())


def test_samples_and_their_scores_do_not_know_how_many_processes_there_were(folder, tmp_path):
    found = json.loads((folder / "evaluated.json").read_text())
    assert found == pytest.approx(drawn_and_measured(tmp_path), rel=1e-9)
    ours, theirs = (
        sorted((home).rglob("shard-*.npz")) for home in (folder / "evaluated", tmp_path)
    )
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert len(ours) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert one.read_bytes() == other.read_bytes()
