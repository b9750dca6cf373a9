"""`mezzotint sample`: what it writes, that seeds rule, and what it says to mistakes."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Cli


def opened(path):
    with Image.open(path) as image:
        image.load()
        return image


def pixels(folder):
    return {path.name: np.array(opened(path)) for path in sorted(folder.glob("0*.png"))}


def test_png_folder_grid_and_manifest(cli: Cli, model, tmp_path):
    out = tmp_path / "out"
    done = cli("sample", model, "--class", "cat,red fox", "--count", 2, "--out", out, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["count"] == 4
    names = sorted(path.name for path in out.glob("0*.png"))
    assert names == [
        "000000_cat_seed0.png",
        "000001_cat_seed1.png",
        "000002_red-fox_seed0.png",
        "000003_red-fox_seed1.png",
    ]
    note = json.loads(opened(out / names[3]).text["mezzotint"])
    assert (note["class"], note["seed"]) == ("red fox", 1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["labels"] == [0, 2]
    assert manifest["seeds"] == [0, 1]
    assert opened(out / "grid.png").width > 2 * 64


def test_an_image_depends_on_its_class_and_seed_alone(cli: Cli, model, tmp_path):
    cli("sample", model, "--seeds", "0:4", "--batch", 5, "--out", tmp_path / "many")
    cli("sample", model, "--class", "dog", "--seeds", "3", "--out", tmp_path / "one")
    many, one = pixels(tmp_path / "many"), pixels(tmp_path / "one")
    # Matrix products of another batch size may round one pixel value differently.
    difference = many["000007_dog_seed3.png"].astype(int) - one["000000_dog_seed3.png"]
    assert abs(difference).max() <= 1
    assert (many["000003_cat_seed3.png"] != many["000007_dog_seed3.png"]).any()
    assert (many["000006_dog_seed2.png"] != many["000007_dog_seed3.png"]).any()


def test_npz_holds_the_same_images(cli: Cli, model, tmp_path):
    cli("sample", model, "--count", 3, "--batch", 4, "--out", tmp_path / "png")
    cli("sample", model, "--count", 3, "--batch", 4, "--npz", "--out", tmp_path / "npz")
    with np.load(tmp_path / "npz" / "samples.npz") as file:
        images, labels = file["arr_0"], file["arr_1"]
    assert images.dtype == np.uint8
    assert images.shape == (9, 8, 8, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (images == np.stack(list(pixels(tmp_path / "png").values()))).all()


def test_the_grid_shows_sixteen_seeds_of_each_class(cli: Cli, model, tmp_path):
    done = cli("sample", model, "--count", 18, "--steps", 1, "--batch", 7, "--out", tmp_path / "o")
    assert done.code == 0, done.err
    grid, single = opened(tmp_path / "o" / "grid.png"), 64 + 2
    assert grid.height == 3 * single + 2
    assert 16 * single < grid.width < 18 * single
    first = np.array(opened(tmp_path / "o" / "000018_dog_seed0.png"))
    left = grid.width - 16 * single
    place = np.array(grid)[2 + single : 2 + single + 64, left : left + 64]
    assert (place[::8, ::8] == first).all()


def test_film_has_a_row_a_class(cli: Cli, model, tmp_path):
    done = cli("sample", model, "--count", 1, "--film", "--out", tmp_path / "o", "--json")
    film = opened(json.loads(done.out)["film"])
    assert film.height > 3 * 64


def test_settings_and_recipes_change_the_result(cli: Cli, model, tmp_path):
    (tmp_path / "r.yaml").write_text("sampling: {steps: 2, sampler: heun}\n")
    cli("sample", model, "--seeds", 1, "-c", tmp_path / "r.yaml", "--out", tmp_path / "a")
    given = json.loads((tmp_path / "a" / "manifest.json").read_text())["sampling"]
    assert given["sampler"]["kind"] == "heun"
    assert given["steps"] == 2
    arguments = ["--steps", 4, "--guidance", 3, "-o", "sampler.eta=0.5"]
    cli("sample", model, "--seeds", 1, *arguments, "--out", tmp_path / "b")
    given = json.loads((tmp_path / "b" / "manifest.json").read_text())["sampling"]
    assert (given["steps"], given["guidance"]["scale"], given["sampler"]["eta"]) == (4, 3.0, 0.5)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--class", "dgo"], "no class 'dgo'; did you mean dog?"),
        (["--class", "3"], "class 3 is out of range, expected 0 to 2"),
        (["--seeds", "a:b"], "--seeds 'a:b': expected a number, a list 0,3,9 or a range 0:8"),
        (["--seeds", "4:4"], "--seeds '4:4'"),
        (["-o", "sampler=dddim"], "sampler.kind: unknown sampler 'dddim'; did you mean ddim"),
        (["-o", "stesp=3"], "stesp: unknown key; did you mean steps?"),
        (["-o", "steps=many"], "steps: expected int, got 'many'"),
        (["-o", "steps"], "-o steps: expected key.path=value"),
        (["-c", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--device", "tpu"], "--device tpu: not available here"),
    ],
)
def test_mistakes_get_one_line(cli: Cli, model, tmp_path, arguments, wanted):
    done = cli("sample", model, *arguments, "--out", tmp_path / "o")
    assert done.code == 1
    assert done.err.startswith("mezzotint: ")
    assert wanted in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_unknown_model_is_answered(cli: Cli, tmp_path):
    done = cli("sample", tmp_path / "none")
    assert done.code == 1
    assert "neither a zoo model nor a path" in done.err


def test_a_classifier_draws_nothing_and_is_told_so_in_one_line(cli: Cli, tmp_path):
    done = cli("sample", "digits-judge", "--out", tmp_path / "o")
    assert done.code == 1
    wanted = "digits-judge: a classifier model, but a diffusion or stitched or masked model is"
    assert wanted in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "o").exists()
    named = cli("sample", "emoji-jugde", "--out", tmp_path / "o").err
    assert "judge" not in named.replace("emoji-jugde", "")


def test_results_are_not_overwritten(cli: Cli, model, tmp_path):
    out = tmp_path / "o"
    assert cli("sample", model, "--seeds", 1, "--out", out).code == 0
    before = pixels(out)
    done = cli("sample", model, "--seeds", 2, "--out", out)
    assert done.code == 1
    assert "already holds results" in done.err
    assert "--force" in done.err
    assert pixels(out).keys() == before.keys()
    assert cli("sample", model, "--seeds", 2, "--out", out, "--force").code == 0
    assert pixels(tmp_path / "o.1").keys() == before.keys()
    assert "000000_cat_seed2.png" in pixels(out)


def test_usage_errors_are_code_2(cli: Cli):
    assert cli("sample").code == 2
    assert cli("sample", "--nonsense").code == 2
    assert cli("nonsense").code == 2
