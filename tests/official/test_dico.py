"""DiCo's release: sizes, costs and presets, names both ways bit for bit, and any size of input."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from mezzotint.card import cost
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.errors import CheckpointError
from mezzotint.networks.dico import DiCo, DiCoConfig
from mezzotint.official import dit
from mezzotint.official.dico import (
    GUIDED_CHANNELS,
    SCALE,
    STEPS,
    config_from_official,
    config_of,
    from_official,
    parts,
    to_official,
)
from tests.tiny import TREE, finish, tiny

SIZES = json.loads((Path(__file__).parent / "dico_sizes.json").read_text())


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters_and_multiply_adds(name):
    """Counted as `macs_matmul_conv_only`: convolutions and linear layers, a multiply-add is one."""
    entry = SIZES[name]
    side = entry["input_size"]
    with torch.device("meta"):
        model = DiCo(config_of(entry["config"], size=(side, side)))
        one = torch.zeros(1)
        found = cost(model, torch.zeros(1, *model.latent), one, one.long())
    assert found["parameters"] == entry["params"]
    assert found["multiply_adds"] == entry["macs_matmul_conv_only"]


@pytest.mark.parametrize(("kernel", "millions"), [(3, 33.1), (5, 33.2), (7, 33.4)])
def test_wider_kernels_have_the_parameters_that_the_paper_gives(kernel, millions):
    with torch.device("meta"):
        data = {"channels": 4, "size": (32, 32), "num_classes": 1000, "outputs": 2}
        model = DiCo(DiCoConfig(**data, **DiCoConfig.PRESETS["S"], kernel=kernel))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("name", DiCoConfig.PRESETS)
def test_a_preset_is_the_published_shape(name):
    published = config_of(SIZES[f"DiCo-{name}"]["config"])
    shared = published.model_dump(include={"channels", "size", "num_classes", "outputs"})
    assert DiCoConfig(**shared, **DiCoConfig.PRESETS[name]) == published


def shape(**changes) -> DiCoConfig:
    plain = {
        "channels": 3,
        "size": (8, 12),
        "num_classes": 5,
        "width": 6,
        "depths": (1, 2, 1, 3, 2),
        "mlp_ratio": 2.0,
        "outputs": 2,
    }
    return DiCoConfig(**{**plain, **changes})


def small(**changes) -> DiCo:
    model = DiCo(shape(**changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def run(model: DiCo, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(x, torch.full((len(x),), 300.0), torch.arange(len(x)) % model.null)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"null_row": False},
        {"outputs": 1, "mlp_ratio": 2.3, "width": 12},
        {"mlp_ratio": 0.29, "width": 100},
        {"mlp_ratio": 7 / 3},
        {"kernel": 7},
        {"kernel": 5, "attention": False},
    ],
)
def test_names_go_both_ways_bit_for_bit(changes):
    model = small(**changes)
    ours = model.state_dict()
    official = to_official(ours)
    assert "decoder_level_2.2.adaLN_modulation.1.weight" in official
    assert official["latent.0.conv1.weight"].shape[2:] == (1, 1)
    assert ("latent.0.ca.1.weight" in official) == model.config.attention
    back = from_official(official)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = to_official(back)
    assert all(torch.equal(again[name], official[name]) for name in official)
    read = config_from_official(official, null_row=model.config.null_row, size=(8, 12))
    ratio = {"mlp_ratio": model.config.mlp_ratio}
    assert read.model_copy(update=ratio) == model.config
    assert [p.shape for p in DiCo(read).parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize("ratio", [2, 4, 2.5, 2.3])
def test_the_ratio_is_read_off_as_it_was_given(ratio):
    official = to_official(small(mlp_ratio=ratio, width=20).state_dict())
    assert config_from_official(official).mlp_ratio == ratio


def test_arguments_that_are_missing_are_the_constructor_s():
    given = {"hidden_size": 16, "depth": [1, 1, 1, 1, 1], "num_classes": 3}
    whole = given | {"in_channels": 4, "mlp_ratio": 4, "class_dropout_prob": 0.1}
    assert config_of(given) == config_of(whole | {"learn_sigma": True})
    assert config_of({}).depths == (2, 5, 8, 5, 2)


def test_the_release_has_the_tensors_of_xl():
    with torch.device("meta"):
        model = DiCo(config_of(SIZES["DiCo-XL"]["config"]))
    official = to_official(model.state_dict())
    assert len(official) == 673
    assert official["up3_2.body.0.weight"].shape == (3328, 1664, 3, 3)
    assert official["reduce_chan_level1.weight"].shape == (832, 832, 1, 1)
    assert config_from_official(official) == model.config


def test_a_foreign_or_a_missing_tensor_is_named():
    official = to_official(small().state_dict())
    official["latent.0.se.1.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* DiCo: latent\.0\.se\.1\.weight"):
        from_official(official)
    with pytest.raises(CheckpointError, match=r"not a DiCo checkpoint: .*x_embedder"):
        config_from_official({"weight": torch.ones(1)})
    official["latent.0.conv4.weight"] = torch.ones(1, 24, 1, 1)
    with pytest.raises(CheckpointError, match="no ratio in common"):
        config_from_official(official)


def test_it_samples_as_dit_does():
    assert parts() == (DiscreteVP(), LearnedRange())
    assert (GUIDED_CHANNELS, STEPS, SCALE) == (dit.GUIDED_CHANNELS, dit.STEPS, 1.4)


@pytest.mark.parametrize("kernel", [3, 7])
def test_any_sides_that_are_multiples_of_4_are_taken(kernel):
    model = small(kernel=kernel)
    for sides in ((8, 12), (4, 4), (20, 8)):
        x = torch.randn(2, 3, *sides)
        out = run(model, x)
        assert out.shape == (2, 6, *sides)
        torch.testing.assert_close(run(model, x[1:].repeat(2, 1, 1, 1))[1], out[1])
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 10\): both sides must be multiples of 4"):
        run(model, torch.randn(1, 3, 8, 10))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": (8, 10)}, r"size \(8, 10\): both sides must be multiples of 4"),
        ({"kernel": 4}, "kernel 4 must be odd"),
        ({"num_classes": 0, "null_row": False}, "num_classes 0 needs null_row"),
        ({"width": 5}, "multiple of 2"),
        ({"depths": (1, 1, 1, 1)}, "depths"),
        ({"depths": (1, 1, 0, 1, 1)}, "greater than or equal to 1"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        shape(**changes)


def test_a_fresh_one_outputs_zero_and_names_its_classes_tables():
    model = DiCo(shape())
    assert not run(model, torch.randn(2, 3, 8, 12)).any()
    state = model.state_dict()
    assert [state[name].shape for name in model.class_rows] == [(6, 6), (6, 12), (6, 24)]
    assert {name for name, each in state.items() if len(each) == 6 and "table" in name} == set(
        model.class_rows
    )


def test_a_fresh_one_is_drawn_as_the_release_draws():
    model = DiCo(shape(width=64))
    state = model.state_dict()
    bounds = {
        "stem.weight": (3 * 9 + 64),
        "stages.0.0.conv_in.weight": (64 + 64),
        "stages.0.0.depthwise.weight": (9 + 9 * 64),
        "downs.0.conv.weight": (9 * 64 + 9 * 32),
        "joins.1.weight": (128 + 128),
    }
    for name, fans in bounds.items():
        limit = (6 / fans) ** 0.5
        assert 0.9 * limit < float(state[name].abs().max()) <= limit, name
    for name in ("times.2.mlp.2.weight", "labels.1.table.weight"):
        assert float(state[name].std()) == pytest.approx(0.02, rel=0.1), name
    assert not any(p.any() for name, p in state.items() if "bias" in name)
    assert not any(p.any() for name, p in state.items() if "modulation" in name)
    assert not state["head.conv.weight"].any()


def test_channel_attention_weighs_by_what_stands_anywhere():
    """Without it, what a place shows is felt nearby only."""
    x = torch.randn(1, 3, 64, 4)
    other = x.clone()
    other[..., :4, :] += 1
    felt = {}
    for attention in (True, False):
        model = small(attention=attention, depths=(1, 1, 1, 1, 1))
        felt[attention] = bool((run(model, x) != run(model, other))[..., -4:, :].any())
    assert felt == {True: True, False: False}


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path):
    """Fused AdamW pairs weights and moments by their place in memory, whatever their strides."""
    network = {"kind": "dico", "width": 4, "depths": [1, 1, 1, 1, 1]}
    settings = {**TREE["train"], "decay": {"kind": "constant"}}
    tree = {**TREE, "model": {**TREE["model"], "network": network}, "train": settings}
    whole = finish(tiny(tmp_path / "whole", tree=tree)).network
    finish(tiny(tmp_path / "stopped", "train.steps=6", tree=tree))
    resumed = finish(tiny(tmp_path / "stopped", tree=tree)).network
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
