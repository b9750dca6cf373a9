"""`mezzotint demo` and `mezzotint bench`: the main job, and how fast it is."""

import json

import pytest
from PIL import Image

from mezzotint import bench, generator
from mezzotint.cli import demo
from mezzotint.errors import ConfigError
from tests.cli.conftest import Cli


def test_the_demo_draws_every_class_it_names(cli: Cli, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CLASSES", "face,flag")
    done = cli("demo", "--out", tmp_path / "o", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["count"] == 16
    for name in ("grid", "film"):
        with Image.open(result[name]) as picture:
            assert min(picture.size) >= 2 * 64
            assert len(set(picture.convert("L").resize((32, 32)).tobytes())) > 20  # not blank
    again = cli("demo", "--out", tmp_path / "o")
    assert again.code == 1
    assert "already holds results" in again.err


def test_the_zoo_knows_the_classes_of_the_demo():
    made = generator.load(demo.MODEL)
    names = demo.CLASSES.split(",")
    assert len(names) == 8
    assert set(names) <= set(made.classes)


def test_bench_measures_every_model_and_dtype(cli: Cli, model):
    arguments = ["--batch", 2, "--rounds", 1, "--dtypes", "fp32,bf16", "--json"]
    done = cli("bench", "sample", model, *arguments)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [row["dtype"] for row in found["rows"]] == ["fp32", "bf16"]
    for row in found["rows"]:
        assert row["images/s"] > 0
        assert row["ms/step"] > 0
        assert row["peak MB"] > 50
    assert "torch" in found["machine"]


def test_bench_trains_a_recipe(cli: Cli):
    done = cli("bench", "train", "digits", "--steps", 1, "--rounds", 1, "--dtypes", "fp32")
    assert done.code == 0, done.err
    assert "| digits | fp32 |" in done.out


def test_multiply_adds_of_a_linear_layer_are_counted_exactly(model):
    made = generator.load(model)
    # 4 patches of a 16-wide DiT: projections, attention products, MLP; modulation once an image.
    tokens, width, patch = 4, 16, 48
    block = tokens * (3 + 1 + 4 + 4) * width**2 + 2 * tokens**2 * width + 6 * width**2
    ends = tokens * 2 * patch * width + 2 * width**2 + (256 + width) * width
    assert made.cost()["multiply_adds"] == block + ends


def test_an_unknown_dtype_is_answered():
    with pytest.raises(ConfigError, match="did you mean bf16"):
        bench.dtypes_of("bf61", "cpu")
