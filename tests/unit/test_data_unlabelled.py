"""Pictures without labels train a model without classes, which then cannot be asked for one."""

import pytest
import torch

import mezzotint
from mezzotint import config
from mezzotint.data.images import InMemory
from mezzotint.data.unlabelled import Bare
from mezzotint.errors import ConfigError, DataError
from tests.tiny import finish, resolved, tiny

SETTINGS = ("data={kind: unlabelled, inner: digits}", "sampling.guidance=constant", "train.drop=1")


def test_the_pictures_stay_and_the_labels_go():
    pixels = torch.arange(3 * 3 * 4, dtype=torch.uint8).view(3, 3, 2, 2)
    labelled = InMemory.of(pixels, torch.tensor([2, 0, 1]), ("a", "b", "c"))
    bare = Bare(labelled)
    assert (len(bare), bare.size, bare.classes) == (3, 2, ())
    assert bare.labels.tolist() == [0, 0, 0]
    assert torch.equal(bare.read(torch.tensor([2, 0])), pixels[[2, 0]])
    assert bare.digest != labelled.digest


def test_a_run_on_them_makes_an_unconditional_model(tmp_path):
    run = finish(tiny(tmp_path / "run", *SETTINGS))
    assert run.recipe.model.network.num_classes == 0
    model = mezzotint.load(tmp_path / "run")
    assert model.classes == ()
    assert model.sample(seeds=[1, 2]).shape == (2, 3, 8, 8)
    with pytest.raises(DataError, match=r"no class 'seven'|class 'seven'"):
        model.sample("seven")


def test_a_place_inside_is_not_what_makes_a_run_another():
    inner = {"kind": "torchvision", "name": "CIFAR10", "root": "here"}
    before = config.dump(resolved(*SETTINGS))
    before["data"]["inner"] = inner
    after = {**before, "data": {**before["data"], "inner": {**inner, "root": "there"}}}
    assert config.build(type(resolved()), after).changes(before) == []
    with pytest.raises(ConfigError, match=r"data\.inner"):
        resolved("data={kind: unlabelled, inner: dgits}")
