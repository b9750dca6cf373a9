"""Masked models on the command line: light passes, the probe, official weights in and out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mezzotint import config, load
from mezzotint.official import halton, mage, maskgit, nat
from tests.cli.conftest import Cli
from tests.cli.test_sample import opened, pixels
from tests.flow.test_masked import tree
from tests.masked_models import KINDS
from tests.tiny import finish, tiny


def network_of(place: Path) -> Any:
    made: Any = load(place)
    return made.denoiser.network


@pytest.fixture(scope="module", params=["maskgit", "mage"])
def folder(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param) / "run"
    return finish(tiny(place, "train.steps=2", tree=tree(request.param))).folder


def test_light_passes_are_a_setting(cli: Cli, folder, tmp_path):
    for reuse in (0, 1):
        out = tmp_path / str(reuse)
        settings = ("-o", f"reuse={reuse}", "-o", "after=1", "--class", "3", "--out", out)
        done = cli("sample", folder, *settings)
        assert done.code == 0, done.err
        told = json.loads((out / "manifest.json").read_text())["sampling"]
        assert (told["reuse"], told["after"]) == (reuse, 1)
    done = cli("sample", folder, "-o", "reuze=1", "--out", tmp_path / "odd")
    assert (done.code, "reuze: unknown key; did you mean reuse" in done.err) == (1, True)
    done = cli("sample", folder, "-o", "reuse=-1", "--out", tmp_path / "odd")
    assert (done.code, "reuse" in done.err) == (1, True)


def test_a_hole_is_drawn_anew_by_class(cli: Cli, folder, photo, tmp_path):
    out, mask = tmp_path / "o", np.zeros((8, 8), dtype=bool)
    mask[2:6, 1:5] = True
    arguments = ["--image", photo, "--hole", "1,2,4,4", "--class", "3,7", "--count", 2, "--film"]
    done = cli("sample", folder, *arguments, "--out", out)
    assert done.code == 0, done.err
    found, before = pixels(out), np.array(opened(photo))
    assert len(found) == 4
    assert all((image[~mask] == before[~mask]).all() for image in found.values())
    # Nothing is trained here, so a class may well make no difference; a seed does.
    assert (found["000000_3_seed0.png"] != found["000001_3_seed1.png"]).any()
    told = json.loads((out / "manifest.json").read_text())
    assert (told["image"], told["hole"]) == (str(photo), "1,2,4,4")
    assert opened(out / "film.png").width > 2 * 64
    lone = [*arguments[:4], "--class", "7", "--seeds", 1, "--out", tmp_path / "lone"]
    assert cli("sample", folder, *lone).code == 0
    alone = pixels(tmp_path / "lone")["000000_7_seed1.png"]
    assert (alone == found["000003_7_seed1.png"]).all()


def test_pictures_that_cannot_be_gone_on_from(cli: Cli, folder, model, photo, tmp_path):
    mistakes = [
        ([folder, "--image", photo], f"--image {photo}: say what of it to draw anew with --hole"),
        ([folder, "--hole", "0,0,2,2"], "give the picture that it is in with --image"),
        ([folder, "--image", photo, "--hole", "6,6,4,1"], "inside 8 x 8 px"),
        ([model, "--image", photo, "--hole", "0,0,2,2"], "--image is for masked models"),
    ]
    for arguments, said in mistakes:
        done = cli("sample", *arguments, "--out", tmp_path / "none")
        assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
        assert said in done.err
        assert not (tmp_path / "none").exists()


def test_mage_is_probed_and_others_are_not(cli: Cli, folder, tmp_path):
    out, sets = tmp_path / "probe", ("digits:held-out", "digits:held-out")
    done = cli("evaluate", *sets, "--probe", folder, "--out", out, "--json")
    if hasattr(network_of(folder), "represented"):
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert 0.1 < found["probe_top1"] <= 1
        assert found["images"] == 359
        assert (out / "probe.json").exists()
    else:
        assert done.code == 1
        assert "this network has no features to probe; expected MAGE" in done.err


def test_a_probe_takes_two_sets_and_a_masked_model(cli: Cli, folder, tmp_path):
    done = cli("evaluate", "digits", "--probe", folder, "--out", tmp_path / "a")
    assert (done.code, "TRAIN TEST" in done.err) == (1, True)
    done = cli("evaluate", "digits", "digits", "--probe", "emoji-judge", "--out", tmp_path / "b")
    assert (done.code, "has no features to probe" in done.err) == (1, True)


RELEASES: dict[str, Any] = {
    "maskgit": (lambda state: maskgit.to_official(state, heads=2), {"null_row": False}),
    "nat": (nat.to_official, {}),
    "halton": (halton.to_official, {}),
    "mage": (mage.to_official, {"num_classes": 0, "spare": 1000}),
}


@pytest.mark.parametrize("kind", RELEASES)
def test_official_weights_come_in_and_go_out(cli: Cli, kind, tmp_path):
    written, changes = RELEASES[kind]
    known: dict[str, Any] = {"codes": 16, "size": (4, 4), "num_classes": 7}
    shape = {**KINDS[kind], **known, **changes}
    network = config.load("network", {"kind": kind, **shape}).build().eval()
    before = {name: t.contiguous() for name, t in written(network.state_dict()).items()}
    save_file(before, tmp_path / "weights.safetensors")
    recipe = tree(kind)
    own = {name: value for name, value in shape.items() if name not in known}
    recipe["model"]["network"] = {"kind": kind, **own}
    recipe["data"] = {"kind": "folder", "path": "PICTURES", "size": 8}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config.dump(recipe)))
    arguments = ("--from", tmp_path / "own.yaml", "--to", "fp32", "--out", tmp_path / "model")
    done = cli("convert", tmp_path / "weights.safetensors", *arguments)
    assert done.code == 0, done.err
    made = load(tmp_path / "model")
    assert len(made.classes) == shape["num_classes"]
    tokens = torch.arange(16)[None] % 16
    y = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        wanted = network(tokens, tokens > 9, y)
        assert torch.equal(network_of(tmp_path / "model")(tokens, tokens > 9, y), wanted)
    done = cli(
        "convert", tmp_path / "model", "--to", "official", "--out", tmp_path / "b.safetensors"
    )
    assert done.code == 0, done.err
    after = load_file(tmp_path / "b.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
