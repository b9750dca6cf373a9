"""`mezzotint sample --ppgn`: classes, hidden units, holes, and what it says to mistakes."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Cli
from tests.cli.test_sample import opened, pixels
from tests.plugged import plugged
from tests.tiny import finish, tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A PPGN model of 8 px digits, barely trained."""
    return finish(tiny(tmp_path_factory.mktemp("ppgn") / "run", "train.steps=2", tree=plugged()))


def test_classes_of_the_models_own_encoder(cli: Cli, made, tmp_path):
    out = tmp_path / "o"
    arguments = ["--class", "3,7", "--count", 2, "--steps", 3, "--film", "--json"]
    done = cli("sample", made.folder, *arguments, "--out", out)  # of itself: it is a PPGN model
    assert done.code == 0, done.err
    assert json.loads(done.out)["count"] == 4
    assert sorted(pixels(out)) == [
        "000000_3_seed0.png",
        "000001_3_seed1.png",
        "000002_7_seed0.png",
        "000003_7_seed1.png",
    ]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["sampling"]["steps"] == 3
    assert manifest["sampling"]["kind"] == "langevin"
    assert opened(out / "film.png").height > 2 * 64


def test_a_chain_depends_on_its_class_and_seed_alone(cli: Cli, made, tmp_path):
    common = ["sample", made.folder, "--ppgn", "--steps", 4]
    cli(*common, "--class", "1,2", "--seeds", "0:4", "--batch", 3, "--out", tmp_path / "many")
    cli(*common, "--class", "2", "--seeds", "3", "--out", tmp_path / "one")
    many, one = pixels(tmp_path / "many"), pixels(tmp_path / "one")
    gap = many["000007_2_seed3.png"].astype(int) - one["000000_2_seed3.png"]
    assert abs(gap).max() <= 1
    assert len({image.tobytes() for image in many.values()}) == 8


def test_another_critic_a_preset_and_a_recipe_file(cli: Cli, made, tmp_path):
    (tmp_path / "r.yaml").write_text("sampling: {preset: noiseless-joint, steps: 2}\n")
    arguments = ["--critic", "digits-guide", "-c", tmp_path / "r.yaml"]
    arguments += ["-o", "weights.prior=0.5", "--seeds", 0, "--out", tmp_path / "o"]
    done = cli("sample", made.folder, "--ppgn", *arguments)
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    given = manifest["sampling"]
    assert (given["steps"], given["stride"]["kind"]) == (2, "mean-abs")
    assert given["weights"] == {"prior": 0.5, "condition": 1.0, "noise": 1e-17}
    assert len(manifest["classes"]) == 10


def test_hidden_units_without_and_with_a_class(cli: Cli, made, tmp_path):
    common = ["sample", made.folder, "--ppgn", "--steps", 2, "--count", 2]
    done = cli(*common, "--unit", "hidden.0:5", "--out", tmp_path / "a")
    assert done.code == 0, done.err
    assert len(pixels(tmp_path / "a")) == 2
    units = ["--unit", "hidden.0:5", "--unit", "convolutions.0:1@0,2", "--class", "4"]
    assert cli(*common, *units, "--out", tmp_path / "b").code == 0
    assert sorted(pixels(tmp_path / "b")) == ["000000_4_seed0.png", "000001_4_seed1.png"]


@pytest.mark.parametrize("by", ["box", "mask"])
def test_a_hole_is_filled_and_the_rest_is_the_photo(cli: Cli, made, photo, tmp_path, by):
    white = np.zeros((8, 8), dtype=np.uint8)
    white[2:6, 1:7] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    hole = {"box": "1,2,6,4", "mask": tmp_path / "mask.png"}[by]
    arguments = ["--class", "3", "--count", 1, "--steps", 3, "--image", photo, "--hole", hole]
    done = cli("sample", made.folder, "--ppgn", *arguments, "--out", tmp_path / "o")
    assert done.code == 0, done.err
    found, before = pixels(tmp_path / "o")["000000_3_seed0.png"], np.array(opened(photo))
    assert (found[white == 0] == before[white == 0]).all()
    assert (found != before).any()


def test_chains_over_a_denoiser(cli: Cli, model, tmp_path):
    arguments = ["--critic", "digits-guide", "--steps", 2, "--count", 1, "--class", "0,1"]
    done = cli("sample", model, "--ppgn", *arguments, "--out", tmp_path / "o")
    assert done.code == 0, done.err
    assert len(pixels(tmp_path / "o")) == 2


def test_mistakes_get_one_line(cli: Cli, made, model, photo, tmp_path):
    Image.new("L", (5, 8)).save(tmp_path / "small.png")
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    run = made.folder
    mistakes = [
        ([run, "--ppgn", "--class", "three"], "the condition network knows no class 'three'"),
        ([run, "--ppgn", "--unit", "hidden.0"], "'hidden.0' is not a unit; expected LAYER:UNIT"),
        ([run, "--ppgn", "--unit", "hiden.0:1"], "no layer 'hiden.0'; did you mean hidden.0"),
        ([run, "--ppgn", "--unit", "hidden.0:99"], "unit 99 is out of range: this layer has 12"),
        ([run, "--ppgn", "--critic", "emoji-jugde"], "did you mean"),
        ([run, "--ppgn", "--guidance", "2"], "--guidance 2: chains have none"),
        ([run, "--ppgn", "-o", "prior=denoiser"], "prior denoiser: this model has no denoiser"),
        ([run, "--ppgn", "-o", "preset=dgnam"], "did you mean dgn-am"),
        ([run, "--ppgn", "--hole", "0,0,2,2"], "give the picture that it is in with --image"),
        ([run, "--ppgn", "--image", photo, "--hole", "6,6,4,1"], "inside 8 x 8 px"),
        (
            [run, "--ppgn", "--image", photo, "--hole", tmp_path / "small.png"],
            "the mask is 5 x 8 px and",
        ),
        ([run, "--ppgn", "--image", photo, "--hole", tmp_path / "black.png"], "the hole is empty"),
        ([run, "--ppgn", "--image", tmp_path / "none.png"], "none.png: cannot be read"),
        ([model, "--ppgn"], "nothing is asked for"),
        ([model, "--unit", "hidden.0:1"], "--unit is for chains in code space; add --ppgn"),
        (["digits-judge", "--ppgn"], "digits-judge: no code space to walk on"),
    ]
    for arguments, said in mistakes:
        done = cli("sample", *arguments, "--out", tmp_path / "o")
        assert done.code == 1, arguments
        assert done.err.startswith("mezzotint: ")
        assert said in done.err, done.err
        assert len(done.err.strip().splitlines()) == 1
        assert not (tmp_path / "o").exists(), arguments
