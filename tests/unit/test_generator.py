"""The facade: what counts as one class or seed, what is guided, and which config rules."""

import json

import pytest
import torch

import mezzotint
from mezzotint import config
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.errors import CheckpointError, DataError
from mezzotint.generator import DiffusionConfig, Generator
from mezzotint.sampling import Sampling
from mezzotint.tokenizers.base import Pixels


def made(classes: tuple[str, ...], **sampling) -> Generator:
    shape = {"channels": 3, "size": [8, 8], "num_classes": len(classes)}
    network = {"kind": "dit", "depth": 1, "width": 16, "heads": 2, "patch": 4} | shape
    recipe = DiffusionConfig(network=config.load("network", network))
    denoiser = recipe.build()
    for parameter in denoiser.parameters():
        parameter.data = torch.randn_like(parameter) * 0.1
    return Generator(
        denoiser=denoiser,
        tokenizer=Pixels(size=8),
        classes=classes,
        sampling=Sampling(**{"steps": 2, **sampling}),
        null=recipe.null,
        tree={"model": recipe, "tokenizer": Pixels(size=8)},
    )


@pytest.fixture
def model() -> Generator:
    return made(("cat", "flag"))


def test_a_lone_class_or_seed_is_one(model):
    images = model.sample("flag", seeds=8)
    assert len(images) == 1
    assert torch.equal(images, model.sample(["flag"], seeds=[8]))
    assert torch.equal(images, model.sample(1, seeds=8))
    assert torch.equal(images, model.sample("1", seeds=8))
    assert not torch.equal(images, model.sample("flag", seeds=7))
    assert len(model.sample(seeds=range(2))) == 4
    assert model.labels(torch.tensor([1, 0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"classes": []}, "no class was asked for"),
        ({"seeds": []}, "expected at least one of each"),
        ({"batch": 0}, "expected at least one of each"),
        ({"classes": "²"}, "no class '²'"),
        ({"classes": 2}, "out of range"),
        ({"classes": -1}, "out of range"),
    ],
)
def test_nothing_to_draw_is_said(model, arguments, wanted):
    with pytest.raises(DataError, match=wanted):
        model.sample(**arguments)


def test_without_classes_nothing_is_guided(model):
    lone = made(())
    assert lone.with_sampling(guidance=4.0).guided is lone.denoiser
    assert torch.equal(lone.sample(seeds=3), lone.sample(seeds=3, guidance=4.0))
    assert isinstance(model.with_sampling(guidance=4.0).guided, ClassifierFree)


def test_the_config_beside_the_tensors_is_the_one_that_rules(model, tmp_path):
    model.save(tmp_path)
    path = tmp_path / "config.json"
    tree = json.loads(path.read_text())
    tree["sampling"]["steps"] = 5
    tree["classes"] = ["cat", "banner"]
    path.write_text(json.dumps(tree))
    edited = mezzotint.load(tmp_path)
    assert len(list(edited.steps([0], [0]))) == edited.sampling.steps == 5
    assert edited.classes == ("cat", "banner")
    assert mezzotint.load(tmp_path / "model.safetensors").sampling.steps == 2
    path.write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read") as error:
        mezzotint.load(tmp_path)
    assert "\n" not in str(error.value)
    path.unlink()
    assert mezzotint.load(tmp_path).sampling.steps == 2
