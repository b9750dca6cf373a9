"""PPGN: parameters and multiply-adds of its generator and of CaffeNet, and names both ways."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mezzotint import config
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.autoencoding import CodeAutoencoderConfig
from mezzotint.networks.caffenet import CaffeNetConfig
from mezzotint.networks.upconvolution import UpconvolutionConfig
from mezzotint.official.ppgn import (
    caffenet_from_official,
    caffenet_to_official,
    config_from_official,
    config_of,
    from_official,
    to_official,
)

SIZES = json.loads((Path(__file__).parent / "ppgn_sizes.json").read_text())


def published(name):
    entry = SIZES[name]["config"]
    if "code_dim" in entry:
        return config_of(entry)
    shape = {"channels": 3, "size": [227, 227], "num_classes": entry["classes"]}
    return config.build(CaffeNetConfig, shape | CaffeNetConfig.PRESETS["caffenet"])


def sees(shape):
    if isinstance(shape, UpconvolutionConfig):
        return (1, shape.code)
    return (1, shape.channels, *shape.size)


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters_its_cost_and_its_output(name):
    entry, shape = SIZES[name], published(name)
    with torch.device("meta"):
        network = shape.build()
        given = torch.zeros(sees(shape))
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = network(given)
    assert counter.get_total_flops() == entry["flops_or_macs"]["flops"]
    assert list(out.shape) == (entry.get("output_shape") or [1, shape.num_classes])


def test_the_preset_is_the_published_shape():
    given = {"code": 4096, "size": (256, 256), **UpconvolutionConfig.PRESETS["caffenet"]}
    assert config.build(UpconvolutionConfig, given) == published("noiseless_joint_generator")
    prior = CodeAutoencoderConfig(code=4096, **CodeAutoencoderConfig.PRESETS["ppgn-h"])
    with torch.device("meta"):
        layers = [each for each in prior.build() if isinstance(each, torch.nn.Linear)]
    assert [each.out_features for each in layers] == [2048, 1024, 500, 1024, 2048, 4096]


def generator(**changes):
    shape = {"code": 5, "channels": 2, "size": (16, 16), "hidden": (7, 6), "first": 3}
    shape |= {"stages": ((4, 5), (0, 0))} | changes
    return config.build(UpconvolutionConfig, shape).build()


@pytest.mark.parametrize("stages", [((4, 5), (0, 0)), ((4, 0), (2, 3), (2, 0), (0, 0)), ((0, 0),)])
def test_the_generators_names_go_both_ways_bit_for_bit(stages):
    side = 4 * 2 ** len(stages)
    model = generator(stages=stages, size=(side, side))
    ours = model.state_dict()
    official = to_official(ours)
    assert {"defc7.weight", "defc5.bias", f"deconv{len(stages) - 1}.weight"} <= official.keys()
    back = from_official(official)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    assert config_from_official(official) == model.config


def small_caffenet(hidden=(6, 5)):
    convolutions = [{"width": 4, "pool": True, "norm": True}, {"width": 6, "groups": 2}]
    shape = {"channels": 3, "size": (9, 9), "num_classes": 3, "hidden": hidden}
    return config.build(CaffeNetConfig, {**shape, "convolutions": convolutions}).build()


def test_caffenets_names_go_both_ways_bit_for_bit():
    ours = small_caffenet().state_dict()
    official = caffenet_to_official(ours)
    assert sorted(name for name in official if name.endswith(".weight")) == [
        f"{layer}.weight" for layer in ("conv1", "conv2", "fc3", "fc4", "fc5")
    ]
    back = caffenet_from_official(official)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_a_foreign_tensor_is_named():
    official = to_official(generator().state_dict())
    with pytest.raises(CheckpointError, match=r"1 of \d+ .*PPGN's generator: defc8\.weight"):
        from_official(official | {"defc8.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="not the tensors of a PPGN generator"):
        config_from_official({"conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": (18, 18)}, "must be a multiple of 4: 2 stages double the map"),
        ({"stages": ((4, 5), (3, 0))}, "the last of the stages makes the image"),
        ({"stages": ((0, 5), (0, 0))}, "channels must be at least 1"),
    ],
)
def test_a_generator_that_cannot_be_is_refused_in_one_line(changes, said):
    with pytest.raises(ConfigError, match=said) as caught:
        generator(**changes)
    assert "\n" not in str(caught.value)


def test_a_caffenet_that_cannot_be_is_refused_in_one_line():
    shape = small_caffenet().config
    for changes, said in (
        ({"size": (1, 1)}, "nothing is left after 2 convolutions"),
        ({"convolutions": ({"width": 4, "groups": 2},)}, "groups 2 must divide 3 and 4 channels"),
    ):
        tree = {name: getattr(shape, name) for name in type(shape).model_fields}
        with pytest.raises(ConfigError, match=said):
            config.build(CaffeNetConfig, tree | changes)


def test_a_pool_rounds_up_and_stands_before_its_norm():
    network = small_caffenet()
    kinds = [type(each).__name__ for each in network.convolutions[0]]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d", "LocalResponseNorm"]
    assert network.maps(torch.zeros(1, 3, 8, 8)).shape[2:] == (4, 4)
    assert network.config.map == (6, 4, 4)


def test_a_code_is_never_negative_and_leads_to_the_logits():
    network = small_caffenet().eval()
    x = torch.randn(4, 3, 9, 9)
    code = network.code(network.maps(x))
    assert code.min() >= 0
    logits = network.head(torch.relu(network.hidden[1](code)))
    assert torch.allclose(network(x), logits, atol=1e-6)
