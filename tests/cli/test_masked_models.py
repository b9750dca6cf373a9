"""Masked models on the command line: light passes, the probe, official weights in and out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mezzotint import config, load
from mezzotint.official import halton, mage, maskgit, nat
from tests.cli.conftest import Cli
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
