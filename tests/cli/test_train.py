"""`mezzotint train`: a folder in, a run out, the same again resumes; and what mistakes are told."""

import json
import shutil

import pytest
import torch

from mezzotint.checkpoint import read_model
from mezzotint.data.draw import picture
from tests.cli.conftest import Cli

FAST = [
    *["-o", "train.batch=4", "-o", "train.warmup=1", "-o", "train.validate_images=4"],
    *["-o", "model.network.depth=1", "-o", "model.network.width=16", "-o", "sampling.steps=2"],
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder for each of three classes."""
    root = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for name in ("cat", "dog", "red fox"):
        (root / name).mkdir()
        for index in range(8):
            image = torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8)
            picture(image).save(root / name / f"{index}.png")
    return root


def test_a_folder_becomes_a_run_that_samples_and_resumes(cli: Cli, pictures, tmp_path):
    run = tmp_path / "run"
    done = cli("train", pictures, "--out", run, "--steps", 2, *FAST, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"run": str(run), "step": 2, "finished": True}
    assert "3 classes" in done.err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
    assert json.loads((run / "config.json").read_text())["classes"] == ["cat", "dog", "red fox"]
    assert (run / "samples" / "step_000000002.png").exists()
    weights, _ = read_model(run)
    again = cli("train", pictures, "--out", run, "--steps", 2, *FAST)
    assert "resumed at step 2" in again.err
    assert all(torch.equal(t, weights[name]) for name, t in read_model(run)[0].items())
    done = cli("sample", run, "--class", "red fox", "--count", 1, "--out", tmp_path / "s")
    assert done.code == 0, done.err
    assert (tmp_path / "s" / "000000_red-fox_seed0.png").exists()


def test_another_recipe_in_the_same_folder_is_refused(cli: Cli, pictures, tmp_path):
    run = tmp_path / "run"
    cli("train", pictures, "--out", run, "--steps", 1, *FAST)
    other = ["train", pictures, "--out", run, "--steps", 1, *FAST, "-o", "train.lr=5e-4"]
    done = cli(*other)
    assert done.code == 1
    assert "train.lr" in done.err
    forced = cli(*other, "--force")
    assert forced.code == 0, forced.err
    assert (tmp_path / "run.1" / "model.safetensors").exists()


def test_dry_run_prints_a_complete_recipe_and_makes_nothing(cli: Cli, pictures, tmp_path):
    done = cli("train", pictures, "--out", tmp_path / "run", "--dry-run")
    assert done.code == 0, done.err
    assert "num_classes: 3" in done.out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["digitss"], "no recipe 'digitss'; did you mean digits?"),
        (["digits", "-o", "train.lrr=1"], "train.lrr: unknown key; did you mean lr?"),
        (["digits", "-o", "train.steps=x"], "train.steps: expected int, got 'x'"),
        (["digits", "-o", "model.network.depth=x"], "model.network.depth: expected int, got 'x'"),
        (["digits", "-o", "model.network.num_classes=7"], "model.network.num_classes: 7, but"),
        (["digits", "-o", "data.kind=digit"], "data.kind: unknown data 'digit'; did you mean"),
        (["digits", "-o", "train.ema=[]"], "train.ema"),
    ],
)
def test_mistakes_get_one_line(cli: Cli, tmp_path, arguments, wanted):
    done = cli("train", *arguments, "--out", tmp_path / "run")
    assert done.code == 1
    assert wanted in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_broken_picture_is_named(cli: Cli, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "p")
    (tmp_path / "p" / "cat" / "bad.png").write_bytes(b"\x89PNG\r\n")
    done = cli("train", tmp_path / "p", "--out", tmp_path / "run", "--steps", 1, *FAST)
    assert done.code == 1
    assert "bad.png" in done.err


def test_an_empty_folder_is_told(cli: Cli, tmp_path):
    (tmp_path / "empty").mkdir()
    done = cli("train", tmp_path / "empty", "--out", tmp_path / "run")
    assert done.code == 1
    assert len(done.err.strip().splitlines()) == 1
    assert "empty" in done.err


def test_pictures_without_classes_make_an_unconditional_model(cli: Cli, pictures, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, path in enumerate(sorted(pictures.glob("*/*.png"))):
        shutil.copy(path, flat / f"{index}.png")
    run = tmp_path / "run"
    # Nothing tells a class from the null class here, so there is nothing to guide with.
    plain = ["-o", "sampling.guidance=constant", "-o", "train.drop=0"]
    done = cli("train", flat, "--out", run, "--steps", 1, *FAST, *plain)
    assert done.code == 0, done.err
    assert "no classes" in done.err
    done = cli("sample", run, "--count", 2, "--out", tmp_path / "s", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["count"] == 2
    assert (tmp_path / "s" / "000001_image_seed1.png").exists()


def test_one_class_trains_and_samples(cli: Cli, pictures, tmp_path):
    shutil.copytree(pictures / "cat", tmp_path / "p" / "cat")
    done = cli("train", tmp_path / "p", "--out", tmp_path / "run", "--steps", 1, *FAST)
    assert done.code == 0, done.err
    done = cli("sample", tmp_path / "run", "--class", "cat", "--count", 1, "--out", tmp_path / "s")
    assert done.code == 0, done.err
