"""Official tensors: sizes of every published model, and names both ways, bit for bit."""

import json
from pathlib import Path

import pytest
import torch

from mezzotint.diffusion.grids import Respaced, Strided
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.dit import DiT, DiTConfig
from mezzotint.official.dit import (
    config_from_official,
    config_of,
    from_official,
    respacing,
    to_official,
)
from mezzotint.official.renames import unwrap

HERE = Path(__file__).parent
SIZES = {
    f"{system} {name}": entry
    for system in ("dit", "sit")
    for name, entry in json.loads((HERE / f"{system}_sizes.json").read_text()).items()
}


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters(name):
    entry = SIZES[name]
    with torch.device("meta"):
        model = DiT(config_of(entry["config"]))
    assert sum(p.numel() for p in model.parameters()) == entry["params"]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == entry.get("params_trainable", trainable)


@pytest.mark.parametrize("name", DiTConfig.PRESETS)
def test_a_preset_is_the_published_shape(name):
    published = SIZES.get(f"dit DiT-{name}")
    if published is None:
        pytest.skip("no entry of this name")
    config = config_of(published["config"])
    preset = DiTConfig(
        channels=config.channels,
        size=config.size,
        num_classes=config.num_classes,
        outputs=config.outputs,
        **DiTConfig.PRESETS[name],
    )
    assert preset == config


def small(null_row: bool = True, outputs: int = 2) -> DiT:
    config = DiTConfig(
        channels=3,
        size=(8, 8),
        num_classes=5,
        depth=2,
        width=36,
        heads=3,
        patch=2,
        mlp_ratio=2.5,
        outputs=outputs,
        null_row=null_row,
    )
    model = DiT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(("width", "mlp_ratio"), [(28, 4.36), (44, 15 / 44 + 1e-9), (36, 2.5)])
def test_a_ratio_read_off_makes_mlps_as_wide_as_they_are(width, mlp_ratio):
    config = DiTConfig(
        channels=4,
        size=(4, 4),
        num_classes=3,
        depth=1,
        width=width,
        heads=2,
        mlp_ratio=mlp_ratio,
    )
    state = to_official(DiT(config).state_dict())
    read = config_from_official(state, heads=2)
    DiT(read).load_state_dict(from_official(state))  # refuses an MLP that is one narrower


@pytest.mark.parametrize("null_row", [True, False])
@pytest.mark.parametrize("outputs", [1, 2])
def test_names_go_both_ways_bit_for_bit(null_row, outputs):
    model = small(null_row, outputs)
    ours = model.state_dict()
    official = to_official(ours)
    assert "blocks.1.adaLN_modulation.1.weight" in official
    back = from_official(official)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = to_official(back)
    assert all(torch.equal(again[name], official[name]) for name in official)
    assert config_from_official(official, null_row=null_row, heads=3) == model.config


def test_a_foreign_tensor_is_named():
    official = to_official(small().state_dict())
    official["blocks.0.attn.q_norm.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* blocks\.0\.attn\.q_norm\.weight"):
        from_official(official)


def test_what_shapes_cannot_tell_is_asked_for():
    official = to_official(small().state_dict())
    with pytest.raises(ConfigError, match="heads"):
        config_from_official(official)
    with pytest.raises(CheckpointError, match="x_embedder"):
        config_from_official({"weight": torch.ones(1)})


def test_a_training_file_gives_its_average():
    weights = {"module.pos_embed": torch.ones(1)}
    average = {"pos_embed": torch.zeros(1)}
    assert unwrap({"model": weights, "ema": average, "opt": {}}) == average
    assert list(unwrap({"model": weights})) == ["pos_embed"]
    with pytest.raises(CheckpointError, match="no state dict"):
        unwrap({"opt": 3})


def test_respacing_texts_are_read():
    assert respacing("250") == (Respaced((250,)), 250)
    assert respacing("10,15,20") == (Respaced((10, 15, 20)), 45)
    assert respacing("ddim25") == (Strided(), 25)
    assert respacing("") == (Respaced(), None)
    with pytest.raises(ConfigError, match="timestep_respacing"):
        respacing("fast")
