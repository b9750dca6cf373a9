"""Recipes: every one that ships resolves, and each mistake is one line with its dotted path."""

from pathlib import Path

import pytest
import torch

from mezzotint import config, kinds, recipe
from mezzotint.errors import ConfigError
from mezzotint.networks.tokens import TokenConfig
from tests.plugged import tiny_encoder
from tests.tiny import ALONE, TREE, resolved
from tests.tokenizers import tiny_kl, tiny_vq

CPU = ALONE.device
CLASSES = 3


@pytest.fixture
def pictures(tmp_path):
    """A folder with a picture for each of three classes, for the recipes that need one."""
    from mezzotint.data.draw import picture

    for index in range(CLASSES):
        (tmp_path / f"class {index}").mkdir()
        image = torch.full((3, 32, 32), 60 * index, dtype=torch.uint8)
        picture(image).save(tmp_path / f"class {index}" / "1.png")
    return tmp_path


def placed(data, pictures):
    """Fill in the places that the user does; a set that is fetched or built is not at hand."""
    if "inner" in data:
        return {**data, "inner": placed(data["inner"], pictures)}
    if data["kind"] == "torchvision" or (data["kind"] == "emoji" and data.get("size", 32) > 32):
        return {"kind": "folder", "path": str(pictures), "size": data["size"]}
    return {**data, "path": str(pictures)} if "path" in data else data


@pytest.mark.parametrize("name", recipe.shipped())
def test_every_recipe_resolves_and_comes_back_from_a_file(name, pictures):
    tree = recipe.find(name)
    tree["data"] = placed(tree["data"], pictures)
    if "tokenizer" in tree:
        network = kinds.find("network", tree["model"].get("network", {}).get("kind", "dit"))
        codes = issubclass(network, TokenConfig)
        tree["tokenizer"]["source"] = str(tiny_vq(stride=16) if codes else tiny_kl(8))
    if "encoder" in tree["model"]:
        tree["model"]["encoder"]["source"] = str(tiny_encoder())
    found = recipe.resolve(tree)
    assert recipe.complete(config.dump(found)) == found
    assert found.changes(config.dump(found)) == []
    with torch.device("meta"):
        network = found.model.network.build()
    assert any(p.requires_grad for p in network.parameters())
    assert found.train.rate(found.train.steps - 1) > 0


def test_what_the_data_know_is_filled_in():
    network = resolved().model.network
    assert (network.channels, network.size, network.num_classes) == (3, (8, 8), 10)


def test_overrides_are_typed_and_do_not_touch_the_original():
    assert resolved("train.lr=3e-4").train.lr == 3e-4
    assert resolved("sampling.guidance.scale=4").sampling.guidance.scale == 4.0
    assert TREE["train"]["lr"] == 1e-3


MISTAKES = {
    "train.stepz=3": "train.stepz: unknown key; did you mean steps",
    "train.steps=many": "train.steps: expected int, got 'many'",
    "train.steps=1.5": "train.steps: expected int, got 1.5",
    "train.flip=perhaps": "train.flip: expected true or false, got 'perhaps'",
    "train=3": "train: ",
    "train=[1]": "train: ",
    "model=3": "model: expected a kind, or a mapping with a kind, got 3",
    "model=diffusoin": "model.kind: unknown model 'diffusoin'; did you mean diffusion?",
    "model.network=[dit]": "model.network: expected a kind, or a mapping with a kind, got ['dit']",
    "model.network.kind=dti": "model.network.kind: unknown network 'dti'; did you mean dit",
    "model.network.depht=3": "model.network.depht: unknown key; did you mean depth",
    "model.network.depth=x": "model.network.depth: expected int, got 'x'",
    "model.network.preset=S/3": "model.network.preset: unknown preset 'S/3'; did you mean S/",
    "model.network.heads=3": "width 16 must be a multiple of heads 3",
    "model.network.num_classes=7": "model.network.num_classes: 7, but the data make it 10",
    "model.prediction.weighting=velocity": "model.prediction.weighting.kind: unknown weighting",
    "model.path=lineer": "model.path.kind: unknown path 'lineer'; did you mean linear",
    "data=5": "data: expected a kind, or a mapping with a kind, got 5",
    "data.kind=digit": "data.kind: unknown data 'digit'; did you mean digits?",
    "data.path=x": "data.path: unknown key",
    "tokenizer=5": "tokenizer: expected a kind, or a mapping with a kind, got 5",
    "tokenizer={kind: pixels, size: 9}": "tokenizer.size: 9, but the data make it 8",
    "sampling.sampler=dddim": "sampling.sampler.kind: unknown sampler 'dddim'; did you mean ddim?",
    "sampling.steps=0": "sampling.steps: ",
    "sampling=ddim": "sampling: ",
    "smapling.steps=3": "smapling: unknown key; did you mean sampling?",
    "model.prediction={kind: multi-scale}": "this network has one output",
    "model.network={kind: dimr, branches: [{kind: transformer, width: 8, depth: 1, heads: 1}]}": (
        "predicts at several resolutions; expected multi-scale"
    ),
    "train.drop=0": "sampling.guidance needs a null class",
    "train.decay.kind=cosin": "train.decay.kind: unknown decay 'cosin'; did you mean cosine?",
    "train.times={kind: logit-normal, mea: 1}": "train.times.mea: unknown key; did you mean mean",
    "train.times={kind: uniform, low: 1}": "train.times.low: unknown key; it has no settings",
}


@pytest.mark.parametrize(("setting", "complaint"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_its_place(setting, complaint):
    with pytest.raises(ConfigError) as caught:
        resolved(setting)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["model", "data", "train"])
def test_a_section_that_is_missing(section):
    tree = {key: value for key, value in TREE.items() if key != section}
    with pytest.raises(ConfigError, match=f"^{section}: missing"):
        recipe.resolve(tree)


def test_a_recipe_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"no recipe 'digit'; did you mean digits"):
        recipe.find("digit")
    with pytest.raises(ConfigError, match="cannot be read"):
        recipe.find(str(tmp_path))
    bad = tmp_path / "bad.yaml"
    bad.write_text("train: [")
    with pytest.raises(ConfigError, match=r"bad\.yaml: line 1 is not valid YAML"):
        recipe.find(str(bad))
    bad.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        recipe.find(str(bad))


def test_precision_follows_the_processor(monkeypatch):
    flags = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert resolved("train.precision=auto").train.autocast(CPU) == torch.bfloat16
    flags["avx512_bf16"] = False
    assert resolved("train.precision=auto").train.autocast(CPU) is None
    assert resolved("train.precision=bf16").train.autocast(CPU) == torch.bfloat16
    assert resolved("train.precision=float32").train.autocast(CPU) is None


@pytest.mark.parametrize("name", recipe.shipped())
def test_every_recipe_stands_in_the_page_of_recipes(name):
    page = Path(__file__).parents[2] / "docs" / "recipes.md"
    assert f"`{name}`" in page.read_text("utf-8")
