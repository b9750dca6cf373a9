"""ADM's official tensors: sizes and costs of every published model, and names both ways."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mezzotint.config import load
from mezzotint.diffusion.betas import CosineBetas, LinearBetas
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.adm import ADM, ADMConfig
from mezzotint.networks.adm_classifier import ADMClassifier, ADMClassifierConfig
from mezzotint.official.adm import (
    arguments_of,
    classifier_arguments_of,
    classifier_config_from_official,
    classifier_config_of,
    config_from_official,
    config_of,
    from_official,
    parts,
    reordered,
    to_official,
)

SIZES = json.loads((Path(__file__).parent / "adm_sizes.json").read_text())
UNETS = {
    "64x64_diffusion": "64",
    "128x128_diffusion": "128",
    "256x256_diffusion": "256",
    "256x256_diffusion_uncond": "256-unconditional",
    "512x512_diffusion": "512",
    "lsun_bedroom_cat_horse": "lsun-256",
    "64_256_upsampler": "64-256",
    "128_512_upsampler": "128-512",
}
CLASSIFIERS = {f"{side}x{side}_classifier": f"{side}" for side in (64, 128, 256, 512)}


def published(name):
    flags = SIZES[name]["config"]
    if name in CLASSIFIERS:
        return classifier_config_of(classifier_arguments_of(flags))
    return config_of(arguments_of(flags), upsampler="large_size" in flags)


def inputs(config):
    """One image, and what else its network is given."""
    x, time = torch.zeros(1, config.channels, *config.size), torch.zeros(1)
    if isinstance(config, ADMClassifierConfig):
        return (x, time), {}
    if not config.low_channels:
        return (x, time, torch.zeros(1, dtype=torch.long)), {}
    low = torch.zeros(1, config.low_channels, *(side // 4 for side in config.size))
    return (x, time, torch.zeros(1, dtype=torch.long)), {"low": low}


def test_every_published_model_is_known():
    assert {**UNETS, **CLASSIFIERS}.keys() == SIZES.keys()
    assert set(UNETS.values()) == set(ADMConfig.PRESETS)
    assert set(CLASSIFIERS.values()) == set(ADMClassifierConfig.PRESETS)


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters_and_its_cost(name):
    """The rule of `how`: convolutions, products and attention of one image; MACs are FLOPs / 2.

    What is counted is PyTorch's; attention is spelt out, for the counter knows no fused one.
    """
    config = published(name)
    with torch.device("meta"):
        model = config.build()
        given, named = inputs(config)
        plain = sdpa_kernel(SDPBackend.MATH)
        with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
            model(*given, **named)
    assert sum(p.numel() for p in model.parameters()) == SIZES[name]["params"]
    macs = SIZES[name]["flops_or_macs"]["macs"]
    assert counter.get_total_flops() / 2 == pytest.approx(macs, rel=0.005)


@pytest.mark.parametrize("name", SIZES)
def test_a_preset_is_the_published_shape(name):
    config = published(name)
    kind, preset = (
        ("adm-classifier", CLASSIFIERS[name]) if name in CLASSIFIERS else ("adm", UNETS[name])
    )
    tree = {"kind": kind, "preset": preset, "channels": 3, "size": config.size}
    tree |= {"num_classes": config.num_classes}
    if kind == "adm":
        tree["outputs"] = 2
    assert load("network", tree) == config


SMALL = {"channels": 3, "size": (8, 16), "num_classes": 5, "width": 64, "dropout": 0.1}
SHAPES = [
    {"multipliers": (0.5, 1.5), "attention": (4,), "head_width": 16, "outputs": 2},
    {"multipliers": (1, 1, 2), "blocks": 1, "attention": (8, 2), "heads": 2, "heads_up": 4},
    {"multipliers": (1,), "blocks": 3, "attention": (8,), "num_classes": 0, "head_width": 32},
    {"multipliers": (1, 0.5), "null_row": True, "low_channels": 2, "scale_shift": False},
]
RESAMPLING = [(True, True), (False, True), (False, False)]
POOLS = ["attention", "adaptive", {"kind": "spatial", "hidden": 48}, {"kind": "spatial-v2"}]


def small(more, kind="adm"):
    """A network whose zeros are filled, and what of its config its tensors do not tell."""
    config = load("network", {"kind": kind, **SMALL, **more})
    model = config.build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    told = ("heads", "head_width", "heads_up", "head_major", "low_channels", "null_row", "dropout")
    return model, {name: getattr(config, name) for name in told if hasattr(config, name)}


def check_both_ways(model):
    ours = model.state_dict()
    official = to_official(ours)
    back = from_official(official)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = to_official(back)
    assert list(again) == list(official)
    assert all(torch.equal(again[name], official[name]) for name in official)
    return official


@pytest.mark.parametrize(("more", "resampling"), list(product(SHAPES, RESAMPLING)))
def test_names_go_both_ways_bit_for_bit(more, resampling):
    residual, convolutional = resampling
    alone = len(more["multipliers"]) == 1  # has nothing to halve: it is read as the release's
    more = {**more, "residual_resampling": residual or alone}
    model, told = small({**more, "convolutional_resampling": convolutional or alone})
    official = check_both_ways(model)
    assert "output_blocks.1.0.skip_connection.weight" in official
    assert config_from_official(official, size=model.config.size, **told) == model.config


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("pool", POOLS)
def test_a_classifier_goes_both_ways_bit_for_bit(pool, residual):
    more = {"multipliers": (1, 1, 2), "attention": (4,), "head_width": 16, "pool": pool}
    model, told = small({**more, "residual_resampling": residual}, "adm-classifier")
    official = check_both_ways(model)
    size = model.config.size
    assert classifier_config_from_official(official, size=size, **told) == model.config
    assert {
        official[name].shape[0] for name in to_official(dict.fromkeys(model.class_rows, 0))
    } == {5}


def test_a_classifier_that_does_not_tell_its_blocks_is_asked():
    more = {"multipliers": (1, 1), "blocks": 4, "pool": "adaptive"}
    model, told = small(more, "adm-classifier")
    official = to_official(model.state_dict())
    with pytest.raises(ConfigError, match=r"10 stages .* 2 blocks; say how many"):
        classifier_config_from_official(official, size=(8, 16), **told)
    read = classifier_config_from_official(official, size=(8, 16), blocks=4, **told)
    assert read == model.config
    more |= {"pool": "attention"}
    model, told = small(more, "adm-classifier")
    official = to_official(model.state_dict())
    assert classifier_config_from_official(official, size=(8, 16), **told) == model.config


@pytest.mark.parametrize("more", SHAPES[:2])
@pytest.mark.parametrize("head_major", [True, False])
def test_the_order_of_attention_changes_both_ways(more, head_major):
    model, _ = small({**more, "head_major": head_major})
    official = to_official(model.state_dict())
    state, config = reordered(official, model.config)
    assert config.head_major is not head_major
    moved = [name for name in state if not torch.equal(state[name], official[name])]
    assert moved
    assert all(".qkv." in name for name in moved)
    again, before = reordered(state, config)
    assert before == model.config
    assert all(torch.equal(again[name], official[name]) for name in official)
    other = ADM(config)
    other.load_state_dict(from_official(state))
    given, _ = inputs(config)
    x = torch.randn_like(given[0])
    torch.testing.assert_close(other.eval()(x, *given[1:]), model.eval()(x, *given[1:]))


def test_foreign_tensors_are_named():
    official = to_official(small(SHAPES[0])[0].state_dict())
    official["input_blocks.1.0.in_layers.1.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* input_blocks\.1\.0\.in_layers\.1"):
        from_official(official)
    with pytest.raises(CheckpointError, match=r"not an ADM U-Net: .*time_embed\.0"):
        config_from_official({"weight": torch.ones(1)}, size=(8, 8))
    with pytest.raises(CheckpointError, match="not an ADM classifier"):
        classifier_config_from_official({"weight": torch.ones(1)}, size=(8, 8))


def test_a_fresh_network_is_as_the_release_begins():
    model = load("network", {"kind": "adm", **SMALL, **SHAPES[0]}).build().eval()
    given, _ = inputs(model.config)
    assert model(*given).shape == (1, 6, 8, 16)
    assert not model(*given).any()
    table = model.label.table.weight
    assert float(table.detach().std()) == pytest.approx(1, abs=0.1)
    critic = load("network", {"kind": "adm-classifier", **SMALL, "multipliers": (1,)})
    assert isinstance(critic.build(), ADMClassifier)
    assert critic.build()(*given[:2]).any()


def test_an_unconditional_network_ignores_its_labels():
    model, _ = small(SHAPES[2])
    assert model.class_rows == ()
    (x, time, y), _ = inputs(model.config)
    model.eval()
    assert torch.equal(model(x, time, y), model(x, time, y + 7))


def test_an_upsampler_sees_its_low_resolution_image():
    model, _ = small(SHAPES[3])
    given, named = inputs(model.config)
    shown = model.eval()(*given, low=named["low"] + 1)
    assert (shown - model(*given, **named)).abs().max() > 1e-3
    with pytest.raises(ConfigError, match="low has 0 channels, expected low_channels 2"):
        model(*given)
    with pytest.raises(ConfigError, match="low has 2 channels, expected low_channels 0"):
        small(SHAPES[2])[0](*given, **named)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"width": 48}, "a level has 48 channels, expected a multiple of 32"),
        ({"multipliers": (1, 1, 1, 1, 1)}, "must be a multiple of 16"),
        ({"attention": (8,), "head_width": 48}, "head_width 48 must divide the 64 channels"),
        ({"attention": (8,), "heads_up": 5}, "heads 5 must divide the 64 channels"),
        ({"num_classes": 0, "null_row": True}, "num_classes 0 has no class table"),
    ],
)
def test_shapes_that_cannot_be_are_refused_in_a_line(more, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load("network", {"kind": "adm", "multipliers": (1,), **SMALL, **more})
    assert "\n" not in str(caught.value)


def test_a_spatial_pool_is_normed_in_whole_groups():
    with pytest.raises(ConfigError, match="hidden 40 must be a multiple of 32"):
        load("pool", {"kind": "spatial-v2", "hidden": 40})


def test_what_is_recalled_of_the_schedules():
    assert parts("64")[0].schedule == CosineBetas()
    assert {parts(name)[0].schedule for name in ADMConfig.PRESETS if name != "64"} == {
        LinearBetas()
    }
    assert parts("256-unconditional")[1] == LearnedRange()
    with pytest.raises(ConfigError, match="no published ADM '65'; did you mean"):
        parts("65")
