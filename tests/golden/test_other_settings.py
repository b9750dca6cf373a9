"""Checkers read what a case says of itself: cases of other settings, made of the public ones."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.noise import TapeNoise
from tests.golden import check_guidance, check_lit, check_ppap, check_ppgn
from tests.golden.case import Case
from tests.golden.conftest import HERE


def changed(name: str, tensors: dict[str, Tensor] | None = None, **config: Any) -> Case:
    """Return a public case with other tensors and another configuration."""
    case = Case.read(HERE / "cases" / f"{name}.safetensors")
    meta = case.meta | {"config": json.dumps(case.config | config)}
    return Case(case.path, meta, case.tensors if tensors is None else tensors)


def without_outputs(case: Case) -> dict[str, Tensor]:
    return {name: each for name, each in case.tensors.items() if not name.startswith("output/")}


def met(case: Case, check: Any) -> None:
    check(case)
    assert not case.left()


@pytest.mark.parametrize(("steps", "length"), [(64, 16), (256, 256), (7, 100)])
def test_steps_that_would_reveal_nothing_reveal_one(steps: int, length: int):
    k, left, still = torch.arange(steps, dtype=torch.float64), length, []
    for step in range(1, steps + 1):
        left = max(1, min(left - 1, math.floor(length * math.cos(math.pi * step / (2 * steps)))))
        still.append(left)
    revealed = length - torch.tensor(still, dtype=torch.float64)
    outputs = {
        "power_cosine": 1 + 2 * (1 - torch.cos(torch.pi * (k / steps) ** 1.5)) / 2,
        "linear_muse_titok": 3 * k / steps,
        "mar_mask_len": torch.tensor(still),
        "mar_linear_cfg": 1 + 2 * revealed / length,
        "diffusers_gate_0.0_0.5": k < int(steps * 0.5),
    }
    tensors = {f"output/{name}": value for name, value in outputs.items()}
    setting = {"steps": steps, "scale": 3.0, "power": 1.5, "seq_len": length}
    met(changed("guidance/scale_schedules", tensors, **setting), check_guidance.scale_schedules)
    tensors["output/mar_mask_len"] = torch.tensor(still) + 1
    with pytest.raises(AssertionError, match="mar_mask_len"):
        met(changed("guidance/scale_schedules", tensors, **setting), check_guidance.scale_schedules)


@pytest.mark.parametrize("threshold", [0.0, 15.0])
def test_projected_guidance_by_default_may_shorten_long_differences(threshold: float):
    public = changed("guidance/cfg_conventions")
    c, u = 3 * public.input("cond"), 3 * public.input("uncond")
    difference, scale = c - u, public.config["scale"]
    length = difference.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert float(length.min()) > 15
    kept = difference * (15 / length).clamp(max=1) if threshold else difference
    tensors = {"input/cond": c, "input/uncond": u, "output/apg_default": u + scale * kept}
    met(changed("guidance/cfg_conventions", tensors), check_guidance.conventions)


def test_guidance_of_three_channels_does_without_a_learned_variance():
    tensors = dict(changed("guidance/cfg_conventions").tensors)
    for name in ("input/dit_model_out", "output/dit_first3channels", "output/dit_all_channels"):
        tensors[name] = tensors[name][:, :4]
    met(changed("guidance/cfg_conventions", tensors), check_guidance.conventions)


def test_a_loop_at_scale_0_has_no_gradient():
    public = changed("guidance/ddpm_loop20", classifier_scale=0.0)
    setting = check_guidance.Setting.of(public)
    x, y = public.input("x_T"), public.input("y")
    noise = TapeNoise(public.input("noises"))
    steps = list(setting.sampler(public)(setting.plain, x, y, setting.grid, noise))
    tensors = dict(public.tensors)
    tensors["output/samples"] = torch.stack([step.x for step in steps])
    tensors["output/pred_xstarts"] = torch.stack([step.estimate.x0 for step in steps])
    tensors["output/cond_grads"] = torch.zeros_like(tensors["output/cond_grads"])
    case = changed("guidance/ddpm_loop20", tensors, classifier_scale=0.0)
    met(case, check_guidance.adm_guided_loop)


def test_the_last_step_draws_nothing():
    public = changed("guidance/training_free_steps")
    x, y = public.input("x"), public.input("y")
    signal, strength = public.input("alphas_cumprod")[0], public.config["strength"]
    eps = check_guidance.Model(public)(x, public.input("timesteps")[:1].double(), y)
    free = x.clone().requires_grad_()
    likely = check_guidance.Judge(public)(free).log_softmax(1)[range(len(y)), y].sum()
    (slope,) = torch.autograd.grad(likely, free)
    eps = eps - strength * (1 - signal).sqrt() * slope
    tensors = without_outputs(public)
    tensors["output/cg_i0"] = (x - (1 - signal).sqrt() * eps) / signal.sqrt()
    met(changed("guidance/training_free_steps", tensors), check_guidance.training_free)


@pytest.mark.parametrize("everywhere", [True, False])
def test_churn_may_be_of_autoguidance_alone(everywhere: bool):
    setting: dict[str, Any] = {"S_churn": 3.0, "S_min": 0.05, "S_max": 20.0}
    public = changed("guidance/edm_guidance_samplers", **setting)
    noises = torch.randn(5, *public.input("noise").shape, dtype=torch.float64)
    tensors = without_outputs(public) | {"input/noises": noises}
    case = changed("guidance/edm_guidance_samplers", tensors, **setting)
    for name, weight, churns in (("autoguided", 1.7, True), ("unguided", 1.0, everywhere)):
        tensors[f"output/edm2_{name}"] = walked(case, weight, noises if churns else None)
    tensors["output/sigmas"] = public.tensors["output/sigmas"]
    met(case, check_guidance.edm)


def walked(case: Case, weight: float, noises: Tensor | None) -> Tensor:
    """Walk EDM2's sampler, as guidance.md has it."""
    net, other = (check_guidance.Toy(case.under(f"state/{name}.")) for name in ("net", "gnet"))
    config, y = case.config, case.input("labels")
    sigmas = changed("guidance/edm_guidance_samplers").tensors["output/sigmas"]
    x = case.input("noise") * sigmas[0]
    draws = iter(torch.empty(0) if noises is None else noises)

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        main, weak = (each(x, sigma.expand(len(x)), y) for each in (net, other))
        return (x - weak - weight * (main - weak)) / sigma

    for here, there in pairwise(sigmas):
        start = here
        if noises is not None and config["S_min"] <= here <= config["S_max"]:
            start = here * (1 + min(config["S_churn"] / config["num_steps"], 2**0.5 - 1))
            x = x + (start**2 - here**2).sqrt() * config["S_noise"] * next(draws)
        first = slope(x, start)
        ahead = x + (there - start) * first
        if there > 0:
            ahead = x + (there - start) * (first + slope(ahead, there)) / 2
        x = ahead
    return x


def test_weights_of_distillation_are_read_off_names_and_the_configuration():
    tensors = dict(changed("lit/kd_loss").tensors)
    base, noise, spread = (tensors[f"output/{n}"] for n in ("base", "kd_noise", "kd_var_raw"))
    tensors["output/total_025_001"] = (base + 0.25 * noise + 0.01 * spread).mean()
    tensors["output/total"] = (base + 0.3 * noise + 0.2 * spread).mean()
    met(changed("lit/kd_loss", tensors, lambda1=0.3, lambda2=0.2), check_lit.lit_distillation)


def test_any_timesteps_tell_their_expert():
    tensors = dict(changed("ppap/expert_index").tensors)
    some = torch.tensor([999, 0, 200, 201, 5])
    tensors["input/t"] = some
    for name in [name for name in tensors if "/index_N" in name]:
        tensors[name] = tensors[name][some]
    met(changed("ppap/expert_index", tensors), check_ppap.expert_index)


def test_a_chain_without_noise_is_restarted():
    case = changed("ppgn/official_hidden_unit_reset", epsilon3=0)
    recorded = check_ppgn.noises_of(case)
    for code in case.input("reset_codes"):
        assert torch.equal(recorded(code), code)
        recorded(code.new_empty(1))
