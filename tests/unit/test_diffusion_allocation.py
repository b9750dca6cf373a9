"""Allocation rules: the figures of t_stitch.md, section 2.2, and where the rules differ."""

import pytest
import torch

from mezzotint.diffusion.allocation import (
    LCM,
    Count,
    Diffusers,
    LatentDiffusion,
    Official,
    OfficialList,
    OfficialPair,
    allocate,
    clock,
)
from mezzotint.diffusion.grids import Even, Respaced
from mezzotint.diffusion.paths import DiscreteVP, Linear
from mezzotint.errors import ConfigError

TENTHS = [k / 10 for k in range(11)]


def small_steps(steps, fraction, rule):
    return int((allocate(steps, (fraction, 1 - fraction), rule) == 0).sum())


@pytest.mark.parametrize("rule", [Count(), OfficialPair(), Official()])
@pytest.mark.parametrize("steps", [10, 20, 50, 100, 250])
def test_tenths_are_exact(rule, steps):
    assert [small_steps(steps, r, rule) for r in TENTHS] == [round(r * steps) for r in TENTHS]


def test_the_float64_exceptions_of_the_pair():
    assert small_steps(1000, 0.7, OfficialPair()) == 699
    assert small_steps(100, 0.95, OfficialPair()) == 94
    found = {r: small_steps(250, r, OfficialPair()) for r in (0.05, 0.15, 0.25, 0.33, 0.45, 0.55)}
    assert found == {0.05: 13, 0.15: 38, 0.25: 63, 0.33: 83, 0.45: 113, 0.55: 137}


def test_the_list_compares_in_float32():
    assert small_steps(500, 0.7, OfficialPair()) == 349
    assert small_steps(500, 0.7, OfficialList()) == 350


@pytest.mark.parametrize(("steps", "fraction", "taken"), [(4, 0.3, 1), (8, 0.2, 1), (51, 0.5, 25)])
def test_diffusers_is_a_floor(steps, fraction, taken):
    assert small_steps(steps, fraction, Diffusers()) == taken


@pytest.mark.parametrize(("fraction", "taken"), [(0, 0), (0.25, 2), (0.5, 3), (0.75, 4), (1, 4)])
def test_lcm_takes_one_more(fraction, taken):
    assert small_steps(4, fraction, LCM()) == taken


def test_latent_diffusion_is_strict():
    assert [small_steps(100, r, LatentDiffusion()) for r in TENTHS] == [
        round(100 * r) for r in TENTHS
    ]
    assert small_steps(4, 0.7, LatentDiffusion()) == 2
    assert small_steps(4, 0.7, OfficialPair()) == 3


def test_counting_deals_all_steps_out_in_order():
    assert allocate(10, (0.4, 0.4, 0.2)).tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert allocate(5, (0.0, 0.5, 0.5)).tolist() == [1, 1, 2, 2, 2]
    assert allocate(3, (0.25,) * 4).tolist() == [0, 1, 3]  # ends: 0.75, 1.5 and 2.25, rounded
    assert allocate(1, (1.0, 0.0)).tolist() == [0]
    assert allocate(7, (1.0,)).tolist() == [0] * 7


def test_official_is_the_pair_or_the_list():
    assert torch.equal(
        allocate(1000, (0.7, 0.3), Official()), allocate(1000, (0.7, 0.3), OfficialPair())
    )
    three = (0.4, 0.2, 0.4)
    assert torch.equal(allocate(20, three, Official()), allocate(20, three, OfficialList()))


@pytest.mark.parametrize(
    ("steps", "fractions", "rule", "wanted"),
    [
        (10, (0.4, 0.4), Count(), "sum to 0.8, expected 1"),
        (10, (-0.1, 1.1), Count(), "fraction -0.1: expected 0 to 1"),
        (10, (float("nan"), 1.0), Count(), "fraction nan"),
        (10, (), Count(), "sum to 0, expected 1"),
        (0, (0.4, 0.6), Count(), "0 steps"),
        (10, (0.4, 0.2, 0.4), OfficialPair(), "OfficialPair is a rule for two"),
        (10, (0.4, 0.2, 0.4), LCM(), "LCM is a rule for two"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused(steps, fractions, rule, wanted):
    with pytest.raises(ConfigError, match=wanted):
        allocate(steps, fractions, rule)


def test_the_clock_of_a_chain_is_its_index_and_in_continuous_time_a_left_limit():
    chain = DiscreteVP()
    visited = clock(chain, Respaced()(chain, 50)) * 1000
    assert torch.equal(visited.round(), OfficialPair().timesteps(50))
    assert clock(DiscreteVP(steps=100), torch.tensor([1.0, 0.5, 0.0])).tolist() == [0.99, 0.49]
    grid = Even()(Linear(), 10)
    times = clock(Linear(), grid)
    assert (times < grid[:-1]).all()
    assert torch.allclose(times, grid[:-1], atol=2e-6)
    for rule in (OfficialPair(), OfficialList()):
        assert rule((0.0, 1.0), times) == [1] * 10
        assert rule((1.0, 0.0), times) == [0] * 10
        assert rule((0.5, 0.5), times) == [0] * 5 + [1] * 5
