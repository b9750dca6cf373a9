"""PPAP's published sizes, counted on the meta device, and networks off the shelf."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from mezzotint import off_the_shelf
from mezzotint.errors import CheckpointError
from mezzotint.networks.adapters import PUBLISHED, Blocks, adapt, published, trained_share
from mezzotint.nn.lowrank import LowRank
from mezzotint.off_the_shelf import open_classifier
from mezzotint.official.ppap import from_official, partition, to_official

SIZES = json.loads((Path(__file__).parent / "ppap_sizes.json").read_text("utf-8"))


def deit() -> nn.Module:
    from timm import create_model

    return create_model("deit_small_patch16_224")


BASES = {
    "ResNet18": (models.resnet18, "resnet"),
    "ResNet50": (models.resnet50, "resnet"),
    "ResNet152": (models.resnet152, "resnet"),
    "DEIT": (deit, "deit"),
}


@pytest.mark.parametrize("name", SIZES)
def test_what_is_trained_is_counted_as_published(name):
    size = SIZES[name]
    make, placement = BASES[name.partition("_")[0]]
    config = PUBLISHED[placement].model_copy(
        update={
            "rank": size["config"]["gamma"],
            "alpha": float(size["config"]["lora_alpha"]),
            "convolutions": Blocks(),
        }
    )
    with torch.device("meta"):
        network = make()
        assert published(network).layers == config.layers
        adapt(network, config)
    assert trained_share(network) == (size["trainable_params"], size["base_params"])
    layers = [each for each in network.modules() if isinstance(each, LowRank)]
    assert len(layers) == size["n_lora_layers"]
    numbers = sum(each.lora_A.numel() + each.lora_B.numel() for each in layers)
    assert numbers == size["lora_params"]
    assert sum(p.numel() for p in network.parameters()) == size["params"]


@pytest.mark.parametrize(("experts", "steps"), [(5, 1000), (7, 1000), (50, 100), (100, 100)])
def test_a_boundary_is_served_by_the_expert_below_as_released(experts, steps):
    edges = [int(i * steps / experts) for i in range(experts + 1)]
    wanted = [
        next(i for i in range(experts) if edges[i] <= t <= edges[i + 1]) for t in range(steps)
    ]
    clock = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    assert partition(experts, steps, closed=True).rooms_of(clock).tolist() == wanted


def test_names_of_the_released_depth_experts_go_both_ways_bit_for_bit():
    layers = ("pretrained.layer1.0.0.conv_pw", "scratch.layer1_rn", "scratch.refinenet4.out_conv")
    layers += ("scratch.refinenet1.resConfUnit2.conv1",)
    official = {"midas.scratch.output_conv.0.weight": torch.randn(2, 3, 3, 3)}
    for layer in layers:
        official[f"midas.{layer}.conv.weight"] = torch.randn(4, 3, 1, 1)
        official[f"midas.{layer}.lora_A"] = torch.randn(2, 3)
        official[f"midas.{layer}.lora_B"] = torch.randn(4, 2)
    ours = from_official(official)
    assert {f"{layer}.base.weight" for layer in layers} < ours.keys()
    back = to_official(ours, "midas.")
    assert list(back) == list(official)
    assert all(torch.equal(back[name], tensor) for name, tensor in official.items())


def test_peft_s_form_trains_less():
    with torch.device("meta"):
        network = models.resnet50()
        adapt(network, PUBLISHED["resnet"])
    trained, own = trained_share(network)
    assert trained / own < 0.05


def test_timm_off_the_shelf_is_a_classifier_with_its_own_answers(monkeypatch):
    timm = pytest.importorskip("timm")
    create, kept = timm.create_model, []

    def offline(name: str, *, pretrained: bool = False, **arguments: object) -> nn.Module:
        found = create(name, **arguments)
        if pretrained:
            kept.append(create(name))
            kept[0].load_state_dict(found.state_dict())
        return found

    monkeypatch.setattr(timm, "create_model", offline)
    found = open_classifier("timm:resnet10t")
    assert len(set(found.classes)) == 1000
    assert found.classes[1] == "goldfish"
    x = torch.rand(1, 3, 64, 64)
    mean, deviation = (
        torch.tensor(kept[0].pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std")
    )
    with torch.no_grad():
        wanted = kept[0].eval()((x - mean) / deviation)
        assert torch.allclose(found.network(2 * x - 1), wanted, atol=1e-5)


def test_what_timm_has_not_is_one_line(monkeypatch):
    timm = pytest.importorskip("timm")
    with pytest.raises(CheckpointError, match=r"timm:resnet10x: timm has no such network; did you"):
        open_classifier("timm:resnet10x")

    def broken(name: str, **_: object) -> nn.Module:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(CheckpointError, match=r"cannot be had \(no route to host\)"):
        open_classifier("timm:resnet10t")
    assert off_the_shelf.PREFIX == "timm:"
