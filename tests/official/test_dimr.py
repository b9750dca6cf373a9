"""DiMR's release: published sizes, names both ways, shapes off tensors, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint import config
from mezzotint.card import cost
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.guidance import ClassifierFree, Constant, PowerCosine
from mezzotint.diffusion.multiscale import MultiScale
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.dimr import DiMR, DiMRConfig
from mezzotint.networks.dimr_branches import ConvolutionBranch, TransformerBranch
from mezzotint.nn.norm import TimeDependent
from mezzotint.noise import SeededNoise
from mezzotint.official.dimr import (
    GRID,
    NORMS,
    SAMPLER,
    STEPS,
    config_from_official,
    config_of,
    from_official,
    guidance,
    parts,
    to_official,
)
from mezzotint.training.optim import adamw

SIZES = json.loads((Path(__file__).parent / "dimr_sizes.json").read_text())
BRANCHES: tuple[Any, ...] = (
    TransformerBranch(width=12, depth=3, heads=3, patch=2, shrink=2, mlp_ratio=1.5),
    ConvolutionBranch(width=8, depth=5, patch=2, kernel=5, head_kernel=1),
    ConvolutionBranch(width=6, depth=1, kernel=3),
)
SMALL: dict[str, Any] = {"channels": 3, "size": (8, 8), "num_classes": 5, "branches": BRANCHES}
ROTARY = TransformerBranch(width=12, depth=3, heads=2, patch=4, rotary=True)


def on_meta(arguments: dict[str, Any]) -> DiMR:
    with torch.device("meta"):
        return config_of(arguments).build()


def count(model: DiMR, prefix: str, inside: str = "") -> int:
    """Count the parameters whose official names begin and go on so."""
    named = to_official(dict(model.named_parameters()))
    return sum(p.numel() for name, p in named.items() if name.startswith(prefix) and inside in name)


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters_everywhere(name):
    entry = SIZES[name]
    for norm, parameters in entry["params_by_norm_type"].items():
        model = on_meta(entry["config"] | {"norm_type": norm})
        assert count(model, "") == parameters
    model = on_meta(entry["config"])
    assert count(model, "") == entry["params"]
    stages = range(len(model.branches))
    assert [count(model, f"stages.{r}.") for r in stages] == entry["params_per_branch"]
    rises = [count(model, f"stages.{r}.upsample.") for r in stages]
    assert rises == entry["params_of_upsample_per_branch"]
    timed = [m for m in model.modules() if isinstance(m, TimeDependent)]
    assert sum(p.numel() for m in timed for p in m.parameters()) == entry["time_dependent_params"]


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_costs_what_the_release_costs(name):
    """Multiply-adds as the file counts them: half of FlopCounterMode's, one forward of one x."""
    entry = SIZES[name]
    model = on_meta(entry["config"])
    with torch.device("meta"):
        time = torch.zeros(1)
        found = cost(model, torch.zeros(1, *model.latent), time, time.long())
    assert found["multiply_adds"] == pytest.approx(entry["flops_or_macs"], rel=0.005)


@pytest.mark.parametrize("name", SIZES)
def test_a_preset_is_the_published_shape(name):
    published = config_of(SIZES[name]["config"])
    tree = {"channels": published.channels, "size": published.size}
    tree |= {"num_classes": published.num_classes, "preset": name.removeprefix("DiMR-")}
    assert config.load("network", {"kind": "dimr", **tree}) == published
    assert config.load("network", config.dump(published)) == published
    assert {f"DiMR-{preset}" for preset in DiMRConfig.PRESETS} == set(SIZES)


def randomised(given: DiMRConfig) -> DiMR:
    model = given.build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


CONFIGS = {
    **{norm: DiMRConfig(**SMALL, norm=made) for norm, made in NORMS.items()},
    "no-null-row": DiMRConfig(**SMALL, null_row=False),
    "unconditional": DiMRConfig(**(SMALL | {"num_classes": 0})),
    "rotary": DiMRConfig(**(SMALL | {"num_classes": 0, "branches": (ROTARY, *BRANCHES[1:])})),
    "transformer-above": DiMRConfig(
        **(SMALL | {"branches": (BRANCHES[0], TransformerBranch(width=9, depth=1, heads=3))})
    ),
    "convolution-first": DiMRConfig(**(SMALL | {"num_classes": 0, "branches": BRANCHES[1:]})),
    "alone": DiMRConfig(**(SMALL | {"branches": BRANCHES[:1]})),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_names_go_both_ways_bit_for_bit_and_tell_the_shape(name):
    model = randomised(CONFIGS[name])
    ours = model.state_dict()
    official = to_official(ours)
    back = from_official(official)
    assert list(back) == list(ours)
    assert all(torch.equal(back[each], ours[each]) for each in ours)
    again = to_official(back)
    assert all(torch.equal(again[each], official[each]) for each in official)
    if name == "alone":  # no finer branch says how many pixels the image has
        return
    assert config_from_official(official, null_row=model.config.null_row, heads=3) == model.config


def test_foreign_and_missing_tensors_are_named():
    official = to_official(randomised(CONFIGS["TDRMSN"]).state_dict())
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* stages\.0\.time\.weight"):
        from_official(official | {"stages.0.time.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"stages\.0\.input_layer"):
        config_from_official({"weight": torch.ones(1)})
    with pytest.raises(ConfigError, match=r"width 12 .* heads"):
        config_from_official(official)


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_go_from_coarse_to_fine_and_rows_are_alone(name):
    model = randomised(CONFIGS[name]).eval()
    x = SeededNoise([0, 1])(torch.empty(2, *model.latent))
    time, y = torch.tensor([3.0, 900.0]), torch.tensor([1, 4])
    with torch.no_grad():
        both = model(x, time, y)
        alone = model(x[1:], time[1:], y[1:])
        other = model(x, time, torch.zeros_like(y))
    sides = [model.config.size[0] // branch.cell for branch in model.config.branches]
    assert [each.shape for each in both] == [(2, 3, side, side) for side in sides]
    assert all(torch.allclose(a[1:], b, atol=1e-5) for a, b in zip(both, alone, strict=True))
    heard = [not torch.equal(a, b) for a, b in zip(both, other, strict=True)]
    assert heard == [model.config.num_classes > 0] * len(both)


def test_a_fresh_network_knows_no_time_and_slopes_do_not_decay():
    torch.manual_seed(0)
    model = DiMRConfig(**SMALL).build()
    x, y = torch.ones(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)
    first, last = (model(x, torch.tensor([time]), y) for time in (1.0, 1000.0))
    assert all(torch.equal(a, b) for a, b in zip(first, last, strict=True))
    assert 0.015 < float(model.branches[0].positions.detach().std()) < 0.025
    options = {"lr": 1.0, "betas": (0.9, 0.9), "weight_decay": 0.1, "decay_vectors": True}
    decayed, _ = adamw(model, **options).param_groups
    named = {id(p): name for name, p in model.named_parameters()}
    names = [named[id(p)] for p in decayed["params"]]
    assert any(name.endswith("upper") for name in names), "scales decay, as released"
    assert not [name for name in names if name.endswith(("slope", "shift"))]


@pytest.mark.parametrize("block", [True, False])
def test_the_finest_loss_reaches_coarser_branches_unless_blocked(block):
    model = randomised(DiMRConfig(**SMALL, block_gradient=block))
    out = model(torch.ones(1, 3, 8, 8), torch.ones(1), torch.zeros(1, dtype=torch.long))
    out[-1].sum().backward()
    assert (model.branches[0].patches.proj.weight.grad is None) == block
    assert model.branches[2].rise.linear.weight.grad is not None


def test_two_passes_before_one_backward_leave_the_gradients_right():
    """Values of a time are of the pass that they were asked for in (dimr.md, trap 10)."""
    model = randomised(CONFIGS["LN"])
    x, y = torch.ones(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)
    early, late = torch.tensor([9.0]), torch.tensor([900.0])
    parameters = list(model.parameters())

    def total(time):
        return torch.stack([each.sum() for each in model(x, time, y)]).sum()

    wanted = torch.autograd.grad(total(early), parameters)
    loss = total(early)
    total(late)
    found = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_a_rotary_scale_is_cut_down_in_place():
    model = randomised(CONFIGS["rotary"])
    scale = model.branches[0].blocks[0].attn.scale
    torch.nn.init.constant_(scale, 7.0)
    model(torch.ones(1, 3, 8, 8), torch.ones(1), torch.zeros(1, dtype=torch.long))
    assert torch.equal(scale, torch.full_like(scale, 100.0).log())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": (10, 8)}, "4 of branch 0 must divide"),
        ({"branches": BRANCHES[::-1]}, "lowest resolution comes first"),
        ({"branches": (ROTARY,)}, "not rotary"),
        ({"branches": BRANCHES[1:]}, "num_classes 5 needs a first branch"),
        ({"branches": ({"kind": "convolution", "width": 4, "depth": 2},)}, "depth 2 must be odd"),
        ({"branches": ({"kind": "convolution", "width": 4, "depth": 1, "kernel": 4},)}, "kernel 4"),
        ({"branches": ({"kind": "transformer", "width": 4, "depth": 1, "heads": 3},)}, "heads 3"),
        ({"branches": ()}, "branches"),
        ({"norm": "batch"}, "unknown norm"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_in_one_line(changes, words):
    with pytest.raises(ConfigError, match=words) as error:
        config.load("network", {"kind": "dimr", **SMALL, **changes})
    assert "\n" not in str(error.value)


def test_guidance_is_translated_as_the_release_reads_it():
    assert guidance() == Constant(1.4)
    assert guidance(0.7) == Constant(1.7)
    assert guidance(2.5, 4.0) == PowerCosine(2.5, 4.0)
    assert guidance(2.5, 0.0) == guidance(0.0) == Constant(1.0)
    for scale, power in ((1.5, -1.0), (-1.0, 4.0), (0.4, 1.0)):
        with pytest.raises(ConfigError, match="cfg_scale"):
            guidance(scale, power)


def test_the_published_sampling_runs_on_the_network():
    path, prediction = parts()
    assert prediction == MultiScale()
    times = GRID(path, STEPS)
    assert path.network_time(times[[0, -1]]).tolist() == [1000.0, 1.0]
    assert SAMPLER.plan.orders(STEPS) == (3,) * 83 + (1,)
    model = DiMRConfig(**SMALL).build().eval()
    denoiser = ClassifierFree(NetworkDenoiser(model, path, prediction), guidance(), model.null)
    noise = SeededNoise([0])
    x = noise(torch.empty(1, *model.latent))
    with torch.no_grad():
        *_, last = SAMPLER(denoiser, x, torch.ones(1, dtype=torch.long), GRID(path, 7), noise)
    assert last.t == float(times[-1])
    assert last.x.isfinite().all()
