"""`mezzotint show` explains models, recipes and kinds."""

import json

import pytest

from mezzotint import kinds, stored
from tests.cli.conftest import Cli
from tests.tiny import TREE
from tests.tokenizers import tiny_kl


def test_nothing_lists_what_there_is(cli: Cli):
    found = json.loads(cli("show", "--json").out)
    assert "digits" in found["recipes"]
    assert found["kinds"].keys() == kinds.KINDS.keys()


def test_a_model(cli: Cli, model):
    found = json.loads(cli("show", model, "--json").out)
    embeddings = (3 * 16 + 1) * 16 + (256 + 1) * 16 + (16 + 1) * 16 + 4 * 16 + 4 * 16
    block = (16 + 1) * 48 + (16 + 1) * 16 + (16 + 1) * 64 + (64 + 1) * 16 + (16 + 1) * 96
    head = (16 + 1) * 48 + (16 + 1) * 32
    expected = embeddings + block + head
    assert found["parameters"] == expected
    assert found["config"]["classes"] == ["cat", "dog", "red fox"]
    assert found["multiply_adds"] > 0


def test_a_classifier(cli: Cli):
    found = json.loads(cli("show", "digits-judge", "--json").out)
    widths, classes = (32, 64), 10
    first, second = widths
    body = 27 * first + 18 * first**2 + 9 * first * second + 9 * second**2 + first * second
    norms = 2 * (2 * first + first + second + second)
    assert found["parameters"] == body + norms + (second + 1) * classes
    assert found["multiply_adds"] > 1e6
    assert found["config"]["classes"] == [str(digit) for digit in range(10)]
    assert found["config"]["held_out"]["mean_accuracy"] > 0.9


def test_a_tokenizer(cli: Cli):
    found = json.loads(cli("show", str(tiny_kl()), "--json").out)
    model = stored.load(tiny_kl())
    assert found["parameters"] == sum(p.numel() for p in model.network.parameters())
    assert found["multiply_adds"] > 1e6
    assert found["config"]["model"]["network"]["kind"] == "kl"
    assert cli("show", "kl").code == 0


def test_a_recipe_whose_tokenizer_is_not_here_is_shown_as_written(cli: Cli, tmp_path):
    path = tmp_path / "latent.yaml"
    tree = {**TREE, "tokenizer": {"kind": "stored", "source": "GONE"}}
    path.write_text(json.dumps(tree))
    done = cli("show", str(path), "--json")
    assert "the tokenizer cannot be opened: GONE" in done.err
    assert json.loads(done.out)["recipe"] == tree


def test_a_recipe_is_shown_complete(cli: Cli):
    recipe = json.loads(cli("show", "digits", "--json").out)["recipe"]
    assert recipe["model"]["network"]["num_classes"] == 10
    assert recipe["tokenizer"] == {"kind": "pixels", "size": 8}


@pytest.mark.parametrize("kind", ["dit", "ddim", "linear", "discrete-vp", "digits"])
def test_a_kind(cli: Cli, kind):
    done = cli("show", kind)
    assert done.code == 0
    assert kind in done.out


def test_an_unknown_word_is_answered_with_the_nearest(cli: Cli):
    done = cli("show", "ancestrall")
    assert done.code == 1
    assert "did you mean ancestral" in done.err
