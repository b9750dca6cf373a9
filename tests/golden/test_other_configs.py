"""Checkers read every key of a case: cases of configurations that no public one has."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.official import navae, vitok, vitok2, vitok_dit
from tests.golden import check_navae, check_vitok, check_vitok2
from tests.golden.case import Case

VITOK: dict[str, Any] = {"width": 12, "encoder_depth": 1, "decoder_depth": 1, "num_heads": 2}
VITOK |= {"img_size": 8, "patch_size": 4, "code_width": 3}
TOWER = {"width": 32, "depth": 1, "num_heads": 4, "nposemb": 4, "use_t5_mlp": True}


def case(config: Any, state: dict[str, Tensor], **tensors: Tensor) -> Case:
    named = {name.replace("__", "/"): tensor for name, tensor in tensors.items()}
    held = {f"state/{name}": tensor for name, tensor in state.items()}
    return Case(Path("a.safetensors"), {"config": json.dumps(config)}, held | named)


def fresh(shape: Any) -> dict[str, Tensor]:
    return shape.build().state_dict()


@pytest.mark.parametrize("sides", [(1, 8, 24), (2, 8, 8), (4, 12, 8)])
def test_clips_of_other_sides_are_compared(sides):
    config = VITOK | {"num_frames": max(2, sides[0]) if sides[0] > 1 else 1}
    state = vitok.to_official(fresh(vitok.config_of(config)))
    grid = torch.tensor([sides[0], sides[1] // 4, sides[2] // 4])
    eps = torch.zeros(1, int(grid.prod()), 3)
    made = case(config, state, input__x=torch.rand(1, 3, *sides), input__eps=eps, output__grid=grid)
    check_vitok.vitok_autoencoder(made)
    assert not made.left()


def test_moments_may_stand_in_another_dimension():
    made = Case.read(Path(__file__).parent / "cases" / "vitok" / "v1_losses.safetensors")
    made.meta["config"] = json.dumps({**made.config, "dim": 1})
    for name in ("input/moments", "output/mean", "output/logvar", "output/std"):
        made.tensors[name] = made.tensors[name].mT
    check_vitok.vitok_losses(made)
    assert not made.left()


def test_a_generator_may_have_no_null_row():
    config = {"code_width": 2, "width": 8, "depth": 1, "num_heads": 2, "num_tokens": 3}
    config |= {"num_classes": 4, "class_dropout_prob": 0.0, "learn_sigma": False}
    shape = vitok_dit.config_of(config).model_copy(update={"null_row": False})
    given = {"input__x": torch.rand(2, 3, 2), "input__t": torch.tensor([3, 900])}
    made = case(
        config,
        vitok_dit.to_official(fresh(shape)),
        **given,
        input__y=torch.tensor([0, 3]),
        output__out=torch.zeros(2, 3, 2),  # a fresh one outputs zero
    )
    check_vitok.vitok_dit(made)
    assert not made.left()


def test_the_leak_of_a_block_is_the_case_s():
    blank = {"conv1.weight": torch.zeros(1, 1, 3, 3), "conv1.bias": -torch.ones(1)}
    blank |= {"conv2.weight": torch.zeros(1, 1, 3, 3), "conv2.bias": -torch.ones(1)}
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    blank |= {"res_conv.weight": torch.zeros(1, 1, 1, 1)}
    blank |= {"blur_pool.filter": (row[:, None] * row)[None, None]}
    config = {"resblock": {"input_dim": 1, "output_dim": 1, "leaky": 0.5, "blur_resample": True}}
    made = case(
        config,
        {f"resblock.{name}": tensor for name, tensor in blank.items()},
        input__x=torch.zeros(1, 1, 8, 8),
        output__resblock=torch.full((1, 1, 4, 4), -0.5 / 2**0.5),
    )
    check_vitok.vitok_discriminators(made)
    assert not made.left()


def test_a_ratio_that_was_rounded_is_recognised():
    variant = "w8_d1_h2_m3-w12_d1_h3_m3/1x2x2"
    state = vitok2.to_official(fresh(vitok2.config_of_variant(variant)))
    check_vitok2.network(case({"variant": variant}, state))


@pytest.mark.parametrize("window", [None, [3, 3]])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_towers_may_have_no_window_and_heads_of_their_own(window, groups):
    tower = {**TOWER, "kv_groups": groups, "local_ws": window}
    config = {"image_model": "proj.vitok.gqa_naflex_vit", "patch_size": 2, "channel_dim": 3}
    config |= {"image": tower, "decoder_image": tower}
    shape = navae.config_of(config)
    made = case(config, navae.to_official(fresh(shape), shape))
    assert check_navae.network(made).config.window == (window or [None])[0]
