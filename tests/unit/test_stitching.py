"""Stitched generators: still generators, whose steps are those of their models."""

from dataclasses import replace

import pytest
import torch

import mezzotint
from mezzotint import config
from mezzotint.card import model_card
from mezzotint.diffusion.allocation import Count, Official, OfficialPair
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.routing import Stitched
from mezzotint.diffusion.team import Team, on_grid
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.generator import DiffusionConfig, Generator
from mezzotint.releases import exported
from mezzotint.sampling import Sampling
from mezzotint.tokenizers.base import Pixels

CLASSES = ("cat", "flag")


def made(width=16, *, seed=0, path="linear", size=8, classes=CLASSES, null_row=True):
    shape = {"channels": 3, "size": [size, size], "num_classes": len(classes)}
    network = {"kind": "dit", "depth": 1, "width": width, "heads": 2, "patch": 4, **shape}
    recipe = DiffusionConfig(
        network=config.load("network", {**network, "null_row": null_row}),
        path=config.load("path", path),
    )
    denoiser = recipe.build()
    generator = torch.Generator().manual_seed(seed)
    for parameter in denoiser.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return Generator(
        denoiser=denoiser.requires_grad_(requires_grad=False),
        tokenizer=Pixels(size=size),
        classes=classes,
        sampling=Sampling(steps=5, guidance=config.load("scale", {"kind": "constant", "scale": 2})),
        null=recipe.null,
        tree={"model": recipe, "tokenizer": Pixels(size=size), "provenance": {"seen": seed}},
    )


@pytest.fixture
def large():
    return made(32, seed=1)


@pytest.fixture
def small():
    return made(16, seed=2)


def walked(model):
    *_, last = model.steps([0, 1], [3, 4])
    return last.x


@pytest.mark.parametrize("rule", [Count(), Official()])
def test_fraction_0_and_1_are_the_models(large, small, rule):
    assert torch.equal(walked(large.stitch_with(small, 0, rule=rule)), walked(large))
    assert torch.equal(walked(large.stitch_with(small, 1.0, rule=rule)), walked(small))
    between = walked(large.stitch_with(small, 0.4, rule=rule))
    assert not torch.equal(between, walked(large))


def test_the_first_steps_are_the_small_ones_and_the_last_the_large_ones(large, small):
    steps = list(large.stitch_with(small, 0.4).steps([0], [3]))
    theirs = list(small.steps([0], [3]))
    assert [torch.equal(a.x, b.x) for a, b in zip(steps, theirs, strict=True)] == [
        *(True, True),
        *(False, False, False),
    ]
    one = large.stitch_with(small, 0.4)
    grid = one.sampling.grid(one.denoiser.path, 5)
    placed = on_grid(one.denoiser, grid)
    assert isinstance(placed, Stitched)
    assert placed.partition.cuts == (float(grid[2]),)
    assert one.denoiser.allocation(grid) == [0, 0, 1, 1, 1]


def test_fractions_follow_the_number_of_steps(large, small):
    one = large.stitch_with(small, 0.5)
    for steps in (2, 4, 10):
        changed = one.with_sampling(steps=steps)
        grid = changed.sampling.grid(changed.denoiser.path, steps)
        assert changed.denoiser.allocation(grid).count(0) == steps // 2


def test_three_models_take_their_turns(large, small):
    middle = made(24, seed=3)
    one = large.stitch_with(small, 0.4, middle, 0.4)
    assert one.denoiser.fractions == pytest.approx((0.4, 0.4, 0.2))
    grid = one.sampling.grid(one.denoiser.path, 5)
    assert one.denoiser.allocation(grid) == [0, 0, 1, 1, 2]
    assert torch.equal(walked(large.stitch_with(small, 0.0, middle, 1.0)), walked(middle))


def test_without_a_grid_a_team_routes_by_time(large, small):
    team = large.stitch_with(small, 0.4).denoiser
    x, y = torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 1])
    t = torch.tensor([0.61, 0.6, 0.2], dtype=torch.float64)
    found = team(x, t, y)
    assert torch.equal(found.x0[:1], small.denoiser(x[:1], t[:1], y[:1]).x0)
    for row in (1, 2):
        rows = slice(row, row + 1)
        assert torch.allclose(
            found.x0[rows], large.denoiser(x[rows], t[rows], y[rows]).x0, atol=1e-6
        )


def test_seeds_rule_in_any_batch(large, small):
    one = large.stitch_with(small, 0.4)
    together = one.sample(seeds=range(3))
    alone = torch.cat([one.sample(name, seeds=k) for name in CLASSES for k in range(3)])
    assert (together.int() - alone.int()).abs().max() <= 1


def test_it_is_written_and_read(large, small, tmp_path):
    one = large.stitch_with(small, 0.4, rule=OfficialPair())
    one.save(tmp_path / "m")
    again = mezzotint.load(tmp_path / "m")
    assert torch.equal(walked(again), walked(one))
    assert again.digest == one.digest
    assert isinstance(again.denoiser, Team)
    assert again.denoiser.rule == OfficialPair()
    assert again.cost() == one.cost()
    card = model_card("m", config.dump(again.tree))
    assert "A dit and a dit on pixels" in card
    one.save(tmp_path / "half", dtype=torch.bfloat16)
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.9 * (
        tmp_path / "m" / "model.safetensors"
    ).stat().st_size


def test_fractions_models_and_rules_change_the_digest(large, small):
    ones = [
        large.stitch_with(small, 0.4),
        large.stitch_with(small, 0.5),
        large.stitch_with(small, 0.4, rule=Official()),
        small.stitch_with(large, 0.4),
        large,
    ]
    assert len({each.digest for each in ones}) == 5
    assert large.stitch_with(small, 0.4).digest == ones[0].digest


def test_cost_is_the_mean_over_the_steps(large, small):
    one = large.stitch_with(small, 0.25).cost()
    costs = [each.cost() for each in (small, large)]
    assert one["parameters"] == sum(each["parameters"] for each in costs)
    wanted = 0.25 * costs[0]["multiply_adds"] + 0.75 * costs[1]["multiply_adds"]
    assert one["multiply_adds"] == round(wanted)


def test_it_moves_and_computes_in_another_dtype_as_one(large, small):
    one = large.stitch_with(small, 0.4).to("cpu", autocast=torch.bfloat16)
    held = [each for each in one.denoiser.modules() if isinstance(each, NetworkDenoiser)]
    assert [each.autocast for each in held] == [torch.bfloat16] * 2
    assert one.device == torch.device("cpu")
    assert one.sample("cat", seeds=0).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ({"path": "cosine"}, "its path is Cosine.*one noise schedule"),
        ({"size": 4}, r"its latents are \(3, 4, 4\) of images of \(4, 4\), not \(3, 8, 8\)"),
        ({"classes": ("cat", "dog")}, r"its classes are 2 \(cat, dog\), not 2 \(cat, flag\)"),
    ],
)
def test_models_that_do_not_fit_are_refused_with_the_reason(large, other, wanted):
    with pytest.raises(ConfigError, match=f"model 0 cannot be stitched.*{wanted}"):
        large.stitch_with(made(**other), 0.4)


def test_a_model_without_a_null_class_stitches_but_is_not_guided(large):
    one = large.stitch_with(made(null_row=False), 0.4)
    assert one.null is None
    with pytest.raises(ConfigError, match="no null class"):
        one.sample("cat")
    assert len(one.sample("cat", guidance=1.0)) == 1


def test_what_is_no_list_of_models_and_fractions_is_refused(large, small):
    one = large.stitch_with(small, 0.4)
    for wanted, call in {
        "stitched already": lambda: one.stitch_with(small, 0.2),
        "stitched already; give": lambda: large.stitch_with(one, 0.2),
        "expected model, fraction": lambda: large.stitch_with(small, 0.2, small),
        "expected model, fraction, model": lambda: large.stitch_with(small, 0.2, 0.3, small),
        "fraction -0.5: expected 0 to 1": lambda: large.stitch_with(small, -0.5),
        "sum to 1.5, expected at most 1": lambda: large.stitch_with(small, 1.5),
        "sum to 1.2, expected at most 1": lambda: large.stitch_with(small, 0.6, small, 0.6),
        "export its models one by one": lambda: exported(one),
    }.items():
        with pytest.raises(ConfigError, match=wanted):
            call()


def test_a_stitched_file_that_was_edited_badly_is_one_line(large, small, tmp_path):
    large.stitch_with(small, 0.4).save(tmp_path)
    path = tmp_path / "config.json"
    tree = config.read(path)
    for change, wanted in {
        "fractions": ([0.5, 0.4], "sum to 0.9, expected 1"),
        "models": (tree["model"]["models"][:1], "1 models and 2 fractions"),
        "rule": ({"kind": "cuont"}, "unknown allocation 'cuont'; did you mean count"),
    }.items():
        config.write_json(path, {**tree, "model": {**tree["model"], change: wanted[0]}})
        with pytest.raises(CheckpointError, match=wanted[1]) as error:
            mezzotint.load(tmp_path)
        assert "\n" not in str(error.value)
    config.write_json(path, tree)
    assert replace(mezzotint.load(tmp_path), sampling=large.sampling).classes == CLASSES
