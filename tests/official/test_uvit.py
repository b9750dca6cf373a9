"""U-ViT's release: published sizes and recipes, names both ways, and weights for another size."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.card import cost
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.generator import DiffusionConfig
from mezzotint.networks.uvit import UViT, UViTConfig, resized
from mezzotint.noise import SeededNoise
from mezzotint.official.uvit_network import (
    PUBLISHED,
    config_from_official,
    config_of,
    from_official,
    parts,
    published,
    sampling,
    to_official,
)

SIZES = json.loads((Path(__file__).parent / "uvit_sizes.json").read_text())
PRESETS = {
    "U_ViT_S_2_cifar10": "S/2",
    "U_ViT_S_4_celeba64": "S/4",
    "U_ViT_M_4_imagenet64": "M/4",
    "U_ViT_L_4_imagenet64": "L/4",
    "U_ViT_L_2_imagenet256": "L/2",
    "U_ViT_H_2_imagenet256": "H/2",
    "U_ViT_L_4_imagenet512": "L/4",
    "U_ViT_H_4_imagenet512": "H/4",
    "U_ViT_S_2_mscoco": "S/2-text",
    "U_ViT_S_2_deep_mscoco": "S/2-deep-text",
}
SMALL: dict[str, Any] = {
    "channels": 3,
    "size": (8, 8),
    "num_classes": 5,
    "depth": 4,
    "width": 36,
    "heads": 3,
}


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters_and_costs_what_the_release_costs(name):
    """Multiply-adds as the file counts them: half of FlopCounterMode's, one forward of one x."""
    entry = SIZES[name]
    config = config_of(entry["config"])
    with torch.device("meta"):
        model = config.build()
        x, time = torch.zeros(1, *model.latent), torch.zeros(1)
        y = time.long() if config.context is None else torch.zeros(1, *config.context)
        found = cost(model, x, time, y)
    assert found["parameters"] == entry["params"]
    assert found["multiply_adds"] == pytest.approx(entry["flops_or_macs"], rel=0.005)
    plain = entry.get("params_without_skip")
    if plain is not None:
        with torch.device("meta"):
            model = config.model_copy(update={"skips": False}).build()
        assert sum(p.numel() for p in model.parameters()) == plain


@pytest.mark.parametrize("name", SIZES)
def test_a_preset_is_the_published_shape(name):
    config = config_of(SIZES[name]["config"])
    data = {key: getattr(config, key) for key in ("channels", "size", "num_classes", "null_row")}
    assert UViTConfig(**UViTConfig.PRESETS[PRESETS[name]], **data) == config


def test_every_preset_is_of_something_published():
    assert set(PRESETS) == set(SIZES)
    assert set(PRESETS.values()) == set(UViTConfig.PRESETS)


def test_published_tables_tell_whether_they_have_a_null_row():
    tables = {name: config_of(entry["config"]) for name, entry in SIZES.items()}
    found = {name: (each.num_classes, each.null_row) for name, each in tables.items()}
    assert found["U_ViT_L_2_imagenet256"] == (1000, True)
    assert found["U_ViT_L_4_imagenet64"] == (1000, False)
    assert found["U_ViT_S_2_cifar10"] == (0, False)
    assert {DiffusionConfig(network=each).null for each in tables.values()} == {None, 1000}
    with pytest.raises(ConfigError, match="11 rows"):
        config_of({"num_classes": 11})


SHAPES = {
    "classes": {},
    "no null row": {"null_row": False},
    "everything": {"time_mlp": True, "qkv_bias": True, "mlp_ratio": 2.61},
    "no convolution, no skips": {"convolution": False, "skips": False},
    "no classes": {"num_classes": 0, "patch": 4},
    "text": {"num_classes": 0, "context": (7, 10)},
}


def drawn(**changes) -> UViT:
    """Return a small network whose tensors are all random, also those that start at 0."""
    model = UViTConfig(**SMALL | changes).build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.eval()


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_names_go_both_ways_bit_for_bit(changes):
    model = drawn(**changes)
    ours = model.state_dict()
    official = to_official(ours)
    assert "out_blocks.1.attn.qkv.weight" in official
    assert ("out_blocks.1.skip_linear.weight" in official) == model.config.skips
    back = from_official(official)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = to_official(back)
    assert all(torch.equal(again[name], official[name]) for name in official)
    null_row = model.config.null_row
    found = config_from_official(official, null_row=null_row, heads=3, text_tokens=7)
    assert found.model_copy(update={"mlp_ratio": model.config.mlp_ratio}) == model.config
    found.build().load_state_dict(ours)


def test_a_foreign_tensor_is_named():
    official = to_official(drawn().state_dict())
    official["in_blocks.0.attn.q_norm.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* in_blocks\.0\.attn\.q_norm\.weight"):
        from_official(official)


def test_what_shapes_cannot_tell_is_asked_for():
    official = to_official(drawn().state_dict())
    with pytest.raises(ConfigError, match="heads"):
        config_from_official(official)
    with pytest.raises(ConfigError, match="null_row"):
        config_from_official(official, heads=3)
    with pytest.raises(CheckpointError, match=r"patch_embed\.proj"):
        config_from_official({"weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match="square"):
        config_from_official(to_official(drawn(size=(8, 12)).state_dict()), heads=3)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"heads": 5}, "multiple of heads 5"),
        ({"size": (8, 9)}, "patch 2 must divide"),
        ({"num_classes": 0, "null_row": True}, "null_row is a row of the class table"),
        ({"context": (7, 10)}, "context takes the place of classes"),
        ({"num_classes": 0, "context": (0, 10)}, "tokens and width of at least 1"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes, wanted):
    with pytest.raises(ValueError, match=wanted):
        UViTConfig(**SMALL | changes)


@pytest.mark.parametrize(("depth", "blocks"), [(1, 1), (2, 3), (12, 13), (13, 13), (28, 29)])
def test_depth_counts_pairs(depth, blocks):
    with torch.device("meta"):
        model = UViTConfig(**SMALL | {"depth": depth}).build()
    assert sum(name.endswith("attn.qkv.weight") for name in model.state_dict()) == blocks


def outputs(model: UViT, y: torch.Tensor) -> torch.Tensor:
    x = SeededNoise(range(len(y)))(torch.empty(len(y), *model.latent))
    with torch.no_grad():
        return model(x, torch.full((len(y),), 0.5), y)


def test_what_conditions_is_felt_and_nothing_else():
    same = torch.zeros(2, dtype=torch.long)
    for changes in ({}, {"size": (6, 10)}, {"null_row": False}):
        model = drawn(**changes)
        assert outputs(model, same).shape == (2, *model.latent)
        assert not torch.equal(outputs(model, same), outputs(model, same + 4))
    lone = drawn(num_classes=0)
    assert lone.null is None
    assert lone.class_rows == ()
    assert torch.equal(outputs(lone, same), outputs(lone, same + 9))
    text = drawn(num_classes=0, context=(7, 10))
    assert text.null is None
    words = torch.randn(2, 7, 10)
    assert not torch.equal(outputs(text, words), outputs(text, words.flip(1)))


def test_a_fresh_network_is_drawn_as_the_release_draws_it():
    model = UViTConfig(**SMALL | {"width": 128, "heads": 4, "qkv_bias": True}).build()
    for name, tensor in model.named_parameters():
        parameter = tensor.detach()
        wide = parameter.numel() > 4000
        if name.startswith(("patches", "convolution")):
            bound = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 1.0
            assert 0 < parameter.abs().max() <= bound, name
        elif name == "label.table.weight":
            assert parameter.std() == pytest.approx(1, rel=0.2)
        elif "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, name.endswith("weight")))
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            assert parameter.std() == pytest.approx(0.02, rel=0.1 if wide else 0.3), name


def test_weights_are_brought_to_another_size():
    model = drawn(size=(8, 12))
    state = model.state_dict()
    same = resized(state, model.config, model.config)
    assert all(torch.equal(same[name], state[name]) for name in state)

    larger = model.config.model_copy(update={"size": (16, 20)})
    found = resized(state, model.config, larger)
    assert all(torch.equal(found[n], state[n]) for n in state if n != "positions")
    assert torch.equal(found["positions"][:, :2], state["positions"][:, :2])
    larger.build().load_state_dict(found)

    # A plane over the grid nearly stays one away from the edges: torch's cubic bends it by 0.1.
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    plane = (rows + 10 * columns).flatten()[:, None].expand(-1, 36)
    state["positions"] = torch.cat([state["positions"][:, :2], plane[None]], dim=1)
    double = model.config.model_copy(update={"size": (16, 24)})
    cells = resized(state, model.config, double)["positions"][0, 2:, 0].view(8, 12)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    wanted = (rows - 0.5) / 2 + 10 * (columns - 0.5) / 2
    assert torch.allclose(cells[3:-3, 3:-3], wanted[3:-3, 3:-3], atol=0.6)

    with pytest.raises(ConfigError, match=r"size alone, not in .*depth"):
        resized(state, model.config, double.model_copy(update={"depth": 6}))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_walks_its_own_grid(name):
    path, prediction = parts(name)
    sampler, grid, steps = sampling(name)
    times = grid(path, steps)
    clock = path.network_time(times[:1]).item()
    assert (len(times) - 1, clock) in {(50, 1000.0), (50, 999.0), (1000, 999.0)}
    few = grid(path, min(steps, 50))
    denoiser = NetworkDenoiser(lambda x, time, y: 0.1 * x, path, prediction)
    noise = SeededNoise([0])
    x = noise(torch.empty(1, 4, 2, 2))
    *_, last = sampler(denoiser, x, torch.zeros(1, dtype=torch.long), few, noise)
    assert last.t == float(few[-1]) == float(times[-1])
    assert last.x.isfinite().all()


def test_the_models_of_a_chain_are_the_huge_and_the_text_s():
    chain = {name for name in PUBLISHED if hasattr(parts(name)[0], "schedule")}
    assert chain == {name for name in PUBLISHED if "huge" in name or "mscoco" in name}
    assert {published(name).scale for name in PUBLISHED} == {1.0, 1.4, 1.7, 2.0}
    with pytest.raises(ConfigError, match="did you mean imagenet256_uvit_huge"):
        sampling("imagenet256_uvit_hug")
