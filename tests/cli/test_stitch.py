"""`--stitch` of sample and evaluate, and the recipes that `sample -c` takes."""

import json

import pytest
import torch
import yaml

import mezzotint
from mezzotint.evaluation.report import Report
from tests.cli.conftest import Cli, write_model
from tests.cli.test_bad_input import one_line
from tests.cli.test_sample import pixels
from tests.evaluating import pictures, save_folder

NAMES = ("cat", "dog", "red fox")


def drawn(cli: Cli, out, *arguments):
    done = cli("sample", *arguments, "--seeds", 1, "--steps", 5, "--out", out, "--json")
    assert done.code == 0, done.err
    return pixels(out), json.loads((out / "manifest.json").read_text())


def same(first, second):
    return all((first[name] == second[name]).all() for name in first)


def test_the_ends_are_the_two_models(cli: Cli, model, small, tmp_path):
    large, _ = drawn(cli, tmp_path / "l", model)
    tiny, _ = drawn(cli, tmp_path / "s", small)
    none, manifest = drawn(cli, tmp_path / "0", model, "--stitch", f"{small}:0")
    every, _ = drawn(cli, tmp_path / "1", model, "--stitch", f"{small}:1")
    part, _ = drawn(cli, tmp_path / "2", model, "--stitch", f"{small}:0.4")
    assert same(none, large)
    assert same(every, tiny)
    assert not same(part, large)
    assert manifest["model"] == f"{small}:0 + {model}"
    assert manifest["provenance"]["stitched_with"][0]["fraction"] == 0


def test_three_models_and_a_rule(cli: Cli, model, small, tmp_path):
    middle = write_model(tmp_path / "middle", width=12, seed=2)
    two = ("--stitch", f"{small}:0.4,{middle}:0.4")
    found, _ = drawn(cli, tmp_path / "a", model, *two)
    apart = ("--stitch", f"{small}:0.4", "--stitch", f"{middle}:0.4")
    again, _ = drawn(cli, tmp_path / "b", model, *apart)
    official, _ = drawn(cli, tmp_path / "c", model, *two, "--stitch-rule", "official")
    assert same(found, again)
    one = mezzotint.load(model).stitch_with(mezzotint.load(small), 0.4, mezzotint.load(middle), 0.4)
    image = one.with_sampling(steps=5).sample("cat", seeds=1)[0].permute(1, 2, 0)
    assert (torch.tensor(found["000000_cat_seed1.png"]) == image).all()
    assert official.keys() == found.keys()


def test_a_recipe_names_models_fractions_and_precision(cli: Cli, model, small, tmp_path):
    path = tmp_path / "fast.yaml"
    recipe = {
        "source": str(model),
        "stitch": [{"source": str(small), "fraction": 0.4}],
        "rule": "count",
        "precision": "fp32",
        "sampling": {"steps": 5, "sampler": "heun"},
    }
    path.write_text(json.dumps(recipe))
    found, manifest = drawn(cli, tmp_path / "a", "-c", path)
    assert manifest["sampling"]["sampler"]["kind"] == "heun"
    by_hand = (model, "--stitch", f"{small}:0.4", "-o", "sampler=heun")
    assert same(found, drawn(cli, tmp_path / "b", *by_hand)[0])
    other, _ = drawn(cli, tmp_path / "c", "-c", path, "--stitch", f"{small}:0.8")
    assert not same(found, other)
    path.write_text(json.dumps({**recipe, "precision": "bf16"}))
    half, _ = drawn(cli, tmp_path / "d", "-c", path)
    assert half.keys() == found.keys()
    path.write_text(json.dumps({**recipe, "stich": []}))
    one_line(cli("sample", "-c", path, "--out", tmp_path / "e"), "stich: unknown key; did you mean")
    path.write_text(json.dumps({**recipe, "precision": "fp16"}))
    one_line(cli("sample", "-c", path, "--out", tmp_path / "e"), "precision: ")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{small}", "expected MODEL:FRACTION"),
        ("{small}:many", "expected MODEL:FRACTION"),
        ("{small}:1.5", "expected MODEL:FRACTION"),
        (":0.4", "expected MODEL:FRACTION"),
        (",", "expected MODEL:FRACTION"),
        ("{small}:0.6,{small}:0.6", "sum to 1.2, expected at most 1"),
        ("nowhere:0.4", "nowhere: neither a zoo model nor a path"),
        ("emoji-dit-tiny:0.4", "model 0 cannot be stitched with the large one: "),
    ],
)
def test_what_cannot_be_stitched_is_one_line(cli: Cli, model, small, tmp_path, text, wanted):
    text = text.format(small=small)
    done = cli("sample", model, "--stitch", text, "--out", tmp_path / "o")
    one_line(done, wanted)
    assert not (tmp_path / "o").exists()


def test_an_unknown_rule_is_answered(cli: Cli, model, small, tmp_path):
    options = ("--stitch", f"{small}:0.4", "--stitch-rule", "oficial", "--out", tmp_path / "o")
    one_line(cli("sample", model, *options), "unknown allocation 'oficial'; did you mean official")
    alone = cli("sample", model, "--stitch-rule", "official", "--out", tmp_path / "o")
    one_line(alone, "--stitch-rule official: only with --stitch")
    assert cli("sample").code == 2
    (tmp_path / "bare.yaml").write_text("steps: 2\n")
    done = cli("sample", "-c", tmp_path / "bare.yaml", "--out", tmp_path / "o")
    one_line(done, "no source in it; name the model on the command line")


def test_a_stitched_model_is_measured(cli: Cli, model, small, tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    real = save_folder(tmp_path / "real", pictures(60, classes=NAMES, size=8))
    judge = ("--features", "digits-judge", "--judge", "none")
    out = tmp_path / "report"
    common = (real, "--count", 20, "--steps", 2, "--out", out, *judge)
    stitched = ("evaluate", "--model", model, *common, "--stitch", f"{small}:0.5", "--json")
    done = cli(*stitched)
    assert done.code == 0, done.err
    assert f"{small}:0.5 + {model}" in Report.read(out / "report.json").title
    assert cli(*stitched).code == 0  # the same again goes on
    recipe = tmp_path / "chosen.yaml"
    turn = {"source": str(small), "fraction": 0.5}
    recipe.write_text(yaml.safe_dump({"source": str(model), "stitch": [turn]}))
    again = cli("evaluate", "-c", recipe, *common, "--json")
    assert again.code == 0, again.err
    assert "20 of 20 samples are there already" in again.err
    other = ("evaluate", "--model", model, *common, "--stitch", f"{small}:1", "--json")
    one_line(cli(*other), "samples made with another model, provenance, weights_digest")


def test_evaluate_takes_settings_and_refuses_those_without_a_model(
    cli: Cli, model, tmp_path, monkeypatch
):
    """-o crashed, and --guidance 0 was let through: a list has no hash, and 0 equals False."""
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    real = save_folder(tmp_path / "real", pictures(60, classes=NAMES, size=8))
    options = ("--count", 20, "--features", "digits-judge", "--judge", "none")
    done = cli(
        *("evaluate", "--model", model, real, *options),
        *("-o", "sampler=heun", "-o", "steps=2", "--guidance", 0, "--out", tmp_path / "a"),
    )
    assert done.code == 0, done.err
    assert Report.read(tmp_path / "a" / "report.json").protocol.guidance == "constant 0"
    for given in (
        ("--guidance", 0),
        ("--guidance", 1.5),
        ("-o", "steps=2"),
        ("--stitch", "x:0.4"),
        ("--balanced",),
        ("--seed", 3),
    ):
        done = cli("evaluate", real, real, *options, *given, "--out", tmp_path / "b")
        one_line(done, f"{given[0]}: only with --model; leave it out")
