"""`mezzotint convert`: half the size, the same within rounding, with card and preview."""

import json

import pytest
import torch
from PIL import Image

from mezzotint import classifier, generator
from mezzotint.data.embedded import Digits
from tests.cli.conftest import Cli
from tests.tiny import CLASSIFIER, finish, tiny


def test_bf16_halves_the_file_and_keeps_the_pictures(cli: Cli, model, tmp_path):
    sizes = {}
    for form in ("fp32", "bf16"):
        done = cli("convert", model, "--to", form, "--out", tmp_path / form, "--json")
        assert done.code == 0, done.err
        sizes[form] = json.loads(done.out)["bytes"]
    assert sizes["bf16"] < 0.75 * sizes["fp32"]
    made = {form: generator.load(tmp_path / form).sample(seeds=range(2)) for form in sizes}
    assert torch.equal(made["fp32"], generator.load(model).sample(seeds=range(2)))
    assert (made["bf16"].int() - made["fp32"].int()).abs().float().mean() < 2
    assert "preview.png" in (tmp_path / "bf16" / "README.md").read_text()
    with Image.open(tmp_path / "bf16" / "preview.png") as picture:
        assert picture.width > 8 * 64


def test_a_classifier_is_published_with_what_it_was_measured_at(cli: Cli, tmp_path):
    finish(tiny(tmp_path / "run", "train.steps=2", tree=CLASSIFIER))
    done = cli("convert", tmp_path / "run", "--out", tmp_path / "judge", "--json")
    assert done.code == 0, done.err
    judge = classifier.load(tmp_path / "judge")
    images = Digits().held_out()
    taken = judge(images.read(torch.arange(len(images)))).argmax(1)
    right = (taken == images.labels).float().mean().item()
    said = json.loads((tmp_path / "judge" / "config.json").read_text())["held_out"]
    assert said["images"] == len(images)
    assert said["accuracy"] == pytest.approx(right)
    assert sum(said["confusion"][3]) == int((images.labels == 3).sum())
    assert said["confusion"][3][7] == int(((images.labels == 3) & (taken == 7)).sum())
    card = (tmp_path / "judge" / "README.md").read_text()
    assert f"{right:.1%} of 359 images are named right" in card
    assert f"| **3** | {' | '.join(str(n or '') for n in said['confusion'][3])} | 37 |" in card
    assert sorted(each.name for each in (tmp_path / "judge").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_mistakes_get_one_line(cli: Cli, model, tmp_path):
    done = cli("convert", model, "--to", "fp16", "--out", tmp_path / "o")
    assert done.code == 1
    assert "did you mean bf16 or fp32" in done.err or "did you mean" in done.err
    assert not (tmp_path / "o").exists()
