"""`mezzotint train`: a folder in, a run out, the same again resumes; and what mistakes are told."""

import json
import shutil

import pytest
import torch
import yaml

from mezzotint.checkpoint import read_model
from mezzotint.cli.train import _again, _name
from mezzotint.data.draw import picture
from mezzotint.recipe import shipped
from tests.cli.conftest import Cli
from tests.tiny import CLASSIFIER

FAST = [
    *["-o", "train.batch=4", "-o", "train.warmup=1", "-o", "train.validate_images=4"],
    *["-o", "model.network.depth=1", "-o", "model.network.width=16", "-o", "sampling.steps=2"],
]

TINY = ["-o", "train.batch=4", "-o", "train.validate_images=4", "-o", "sampling.steps=2"]


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


def test_a_classifier_trains_resumes_and_is_shown(cli: Cli, tmp_path):
    recipe = tmp_path / "judge.yaml"
    recipe.write_text(yaml.safe_dump(CLASSIFIER))
    done = cli("train", recipe, "--out", tmp_path / "run", "--steps", 2, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["finished"]
    assert "held_out_mean_accuracy" in done.err
    assert "sample" not in done.err
    assert f"mezzotint show {tmp_path / 'run'}" in done.err
    again = cli("train", recipe, "--out", tmp_path / "run", "--steps", 3, "--json")
    assert "resumed at step 2" in again.err
    shown = json.loads(cli("show", tmp_path / "run", "--json").out)
    assert shown["config"]["provenance"]["step"] == 3


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
        (["digitss"], "no recipe 'digitss'; did you mean digits"),
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


@pytest.mark.parametrize("what", ["notes", "model"])
def test_a_folder_that_is_no_run_is_left_alone(cli: Cli, model, tmp_path, what):
    out = tmp_path / what
    if what == "model":
        shutil.copytree(model, out)
    else:
        out.mkdir()
        (out / "README.md").write_text("mine")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    done = cli("train", "digits", "--out", out, "--steps", 1)
    assert done.code == 1
    assert "holds something that is not a run" in done.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    done = cli("train", "digits", "--out", out, "--steps", 1, "--force", *TINY)
    assert done.code == 0, done.err
    aside = tmp_path / f"{what}.1"
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before


def test_a_run_is_not_taken_for_pictures(cli: Cli, pictures, tmp_path):
    cli("train", pictures, "--out", tmp_path / "run", "--steps", 1, *FAST)
    done = cli("train", tmp_path / "run", "--out", tmp_path / "other")
    assert done.code == 1
    assert "is a run or a model, not pictures" in done.err
    assert "--init-from" in done.err


def test_pictures_may_move_and_must_stay_the_same(cli: Cli, pictures, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(pictures, first)
    cli("train", first, "--out", tmp_path / "run", "--steps", 1, *FAST)
    first.rename(second)
    done = cli("train", second, "--out", tmp_path / "run", "--steps", 2, *FAST)
    assert done.code == 0, done.err
    assert "resumed at step 1" in done.err


def test_a_table_is_trained_on(cli: Cli, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "p")
    rows = [f"{p.parent.name}/{p.name},{p.parent.name}" for p in sorted(pictures.glob("*/*.png"))]
    table = tmp_path / "p" / "t.csv"
    table.write_text("\n".join(["file_name,label", *rows]))
    done = cli("train", table, "--out", tmp_path / "run", "--steps", 1, *FAST)
    assert done.code == 0, done.err
    assert "3 classes" in done.err


def test_the_recipe_keeps_its_say_about_pictures(cli: Cli, pictures, tmp_path):
    given = "data: {kind: folder, path: elsewhere, size: 16, crop: squash, balanced: false}\n"
    body = (shipped()["own-folder"]).read_text().splitlines(keepends=True)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("".join(given if line.startswith("data:") else line for line in body))
    shown = cli("train", recipe, "--data", pictures, "--dry-run").out
    assert f"path: {pictures}" in shown
    for setting in ("size: 16", "crop: squash", "balanced: false"):
        assert setting in shown


def test_a_size_needs_pictures(cli: Cli, tmp_path):
    done = cli("train", "digits", "--size", 64, "--out", tmp_path / "run")
    assert done.code == 1
    assert "--size 64: digits has data of its own" in done.err
    assert cli("train", "digits", "--steps", 0).code == 2


def test_the_command_to_go_on_does_not_start_anew(monkeypatch):
    monkeypatch.setattr("sys.argv", ["mezzotint", "train", "digits", "--force", "--out", "my run"])
    assert _again(1) == "mezzotint train digits --out 'my run'"
    assert _again(2) == "torchrun --nproc-per-node=2 -m mezzotint train digits --out 'my run'"


@pytest.mark.parametrize(
    ("what", "name"), [("digits", "digits"), ("a/b.yaml", "b"), ("photos.2024", "photos.2024")]
)
def test_a_run_is_named_after_what_it_trains(monkeypatch, tmp_path, what, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.2024").mkdir()
    assert _name(what) == name
    assert _name(".") == tmp_path.name
