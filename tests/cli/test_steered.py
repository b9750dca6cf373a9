"""`mezzotint adapt`, and `mezzotint sample` under a critic or away from a weaker model."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A tiny generator of digits, trained for no time at all."""
    from tests.tiny import finish, tiny

    folder = tmp_path_factory.mktemp("generator") / "digits"
    finish(tiny(folder, "train.steps=1", "train.validate_images=0"))
    return folder


def drawn(folder):
    return [np.array(Image.open(path)) for path in sorted(folder.glob("0*.png"))]


def one_line(done, *words):
    assert done.code == 1
    assert done.err.strip().splitlines()[-1].startswith("mezzotint: ")
    for word in words:
        assert word in done.err


def test_experts_are_adapted_and_steer(cli: Cli, digits, tmp_path):
    out = tmp_path / "experts"
    small = ["--experts", 2, "--images", 4, "--steps", 1, "-o", "batch=2", "-o", "sampling_steps=1"]
    done = cli("adapt", "digits-guide", "--model", digits, *small, "--out", out, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["count"] == 2
    assert 0 < told["share_of_classifier"] < 1
    again = cli("adapt", "digits-guide", "--model", digits, *small, "--out", out)
    assert again.code == 0, again.err
    asked = ["--class", "3", "--count", 1, "--steps", 2, "--critic", out, "--critic-scale", 30]
    done = cli("sample", digits, *asked, "--out", tmp_path / "steered")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "steered" / "manifest.json").read_text("utf-8"))
    assert manifest["steering"]["scale"] == 30.0
    assert manifest["steering"]["sees"] == "x_t"
    plain = cli("sample", digits, *asked[:6], "--out", tmp_path / "plain")
    assert plain.code == 0, plain.err
    assert not np.array_equal(drawn(tmp_path / "steered")[0], drawn(tmp_path / "plain")[0])


def test_scale_0_and_a_section_in_a_file(cli: Cli, digits, tmp_path):
    asked = ["--class", "3", "--count", 1, "--steps", 2]
    cli("sample", digits, *asked, "--out", tmp_path / "plain")
    done = cli(
        "sample", digits, *asked, "--critic", "digits-guide", "--critic-scale", 0,
        "--out", tmp_path / "none",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert np.array_equal(drawn(tmp_path / "none")[0], drawn(tmp_path / "plain")[0])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("sampling: {steps: 2}\nsteering: {critic: digits-guide, scale: 9}\n", "utf-8")
    done = cli(
        "sample", digits, "--class", "3", "--count", 1, "-c", recipe,
        "-o", "steering.unlabelled=true", "--out", tmp_path / "file",
    )  # fmt: skip
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "file" / "manifest.json").read_text("utf-8"))
    assert manifest["steering"]["unlabelled"] is True


def test_a_weaker_model_and_directions(cli: Cli, digits, tmp_path):
    done = cli(
        "sample", digits, "--class", "3", "--count", 1, "--steps", 2, "--guidance", 1,
        "-o", f"steering.weaker={digits}", "-o", "steering.apart=1.5",
        "-o", "direction={kind: projected, eta: 0.5}", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest["steering"]["scale"] == 1.5
    assert manifest["sampling"]["direction"]["kind"] == "projected"


def test_mistakes_are_one_line(cli: Cli, model, digits, tmp_path):
    out = ["--out", tmp_path / "out"]
    one_line(cli("sample", digits, "--critic-scale", 2, *out), "--critic-scale needs a critic")
    one_line(cli("sample", digits, "-o", "steering.critics=x", *out), "did you mean critic")
    one_line(cli("sample", digits, "--critic", "digits-gide", *out), "did you mean", "digits-guide")
    wrong = cli("sample", model, "--critic", "digits-guide", *out)
    one_line(wrong, "the critic has no class called cat, dog, red fox")
    one_line(cli("sample", digits, "--critic", digits, *out), "judges nothing")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine", "utf-8")
    done = cli("adapt", "digits-guide", "--model", digits, "--out", kept)
    one_line(done, "holds something that is not experts")
    assert (kept / "mine.txt").read_text("utf-8") == "mine"
    one_line(
        cli("adapt", "digits-guide", "--model", digits, "-o", "expert=3", *out),
        "did you mean experts",
    )
