"""`mezzotint convert`: half the size, the same pictures within rounding, with card and preview."""

import json

import torch
from PIL import Image

from mezzotint import generator
from tests.cli.conftest import Cli


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


def test_mistakes_get_one_line(cli: Cli, model, tmp_path):
    done = cli("convert", model, "--to", "fp16", "--out", tmp_path / "o")
    assert done.code == 1
    assert "did you mean bf16 or fp32" in done.err or "did you mean" in done.err
    assert not (tmp_path / "o").exists()
