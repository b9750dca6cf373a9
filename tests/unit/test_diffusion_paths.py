"""Paths, schedules and transitions against closed forms, in float64 to 1e-12."""

import math

import pytest
import torch

from mezzotint.diffusion.betas import CosineBetas, LinearBetas, ScaledLinearBetas
from mezzotint.diffusion.paths import (
    ContinuousVP,
    Cosine,
    DiscreteVP,
    Linear,
    log_snr,
)
from mezzotint.diffusion.samplers import transitions
from mezzotint.diffusion.transition import Transition

EXACT = 1e-12
TIMES = torch.tensor([0.05, 0.3, 0.5, 0.77, 1.0], dtype=torch.float64)
PATHS = [DiscreteVP(), ContinuousVP(), Linear(), Cosine(), DiscreteVP(ScaledLinearBetas())]


def close(one: torch.Tensor, two, tolerance: float = EXACT) -> bool:
    return torch.allclose(
        one, torch.as_tensor(two, dtype=torch.float64), rtol=tolerance, atol=EXACT
    )


def test_a_discrete_chain_multiplies_its_betas():
    betas = [1e-4 + (0.02 - 1e-4) * k / 999 for k in range(1000)]
    signal = math.prod(1 - beta for beta in betas[:301])
    scales = DiscreteVP().scales(torch.tensor([0.301], dtype=torch.float64))
    assert close(scales.alpha**2, [signal])
    assert close(scales.sigma**2, [1 - signal])
    assert close(LinearBetas().betas(50)[[0, -1]], [0.002, 0.4])
    assert close(ScaledLinearBetas().betas(1000)[[0, -1]], [0.00085, 0.012])


def test_the_cosine_schedule_is_capped():
    betas = CosineBetas().betas(10)

    def curve(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    assert close(betas[3], 1 - curve(0.4) / curve(0.3))
    assert betas[-1] == 0.999
    with pytest.raises(ValueError, match="take more steps"):
        DiscreteVP(LinearBetas(), steps=10)


def test_flows_and_the_continuous_process_have_their_formulas():
    t = TIMES
    assert close(Linear().scales(t).alpha, 1 - t)
    assert close(Cosine().scales(t).sigma, torch.sin(t * math.pi / 2))
    signal = torch.exp(-(0.1 * t + 9.95 * t**2))
    assert close(ContinuousVP().scales(t).alpha ** 2, signal)
    assert Linear().scales(t).alpha[-1] == 0 == Cosine().scales(t).alpha[-1]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_rates_are_derivatives(path):
    # Away from a chain's own times, where log alpha has a corner.
    t, h = torch.tensor([0.05003, 0.30041, 0.77052], dtype=torch.float64), 1e-6
    ahead, behind, here = path.scales(t + h), path.scales(t - h), path.scales(t)
    assert close(here.d_alpha, (ahead.alpha - behind.alpha) / (2 * h), 1e-6)
    assert close(here.d_sigma, (ahead.sigma - behind.sigma) / (2 * h), 1e-6)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_time_of_inverts_the_log_snr(path):
    t = TIMES[:-1]
    assert close(path.time_of(log_snr(path, t)), t, 1e-9)


def test_clocks():
    t = torch.tensor([1 / 1000, 1.0], dtype=torch.float64)
    assert close(DiscreteVP().network_time(t), [0.0, 999.0])
    assert close(DiscreteVP(clock_shift=1.0).network_time(t), [1.0, 1000.0])
    assert close(Linear(clock=1.0, reverse_clock=True).network_time(t), [0.999, 0.0])
    assert close(ContinuousVP().network_time(t), [0.999, 999.0])


def test_a_transition_is_bayes_rule():
    signal, before = 0.3, 0.45
    step = Transition.between(torch.tensor([signal]), torch.tensor([before]), 1.0)
    signal, before = float(torch.tensor(signal)), float(torch.tensor(before))
    keep = math.sqrt(signal / before)
    precision = keep**2 / (1 - keep**2) + 1 / (1 - before)
    assert close(step.posterior, [1 / precision])
    assert close(step.coef_x, [keep / (1 - keep**2) / precision])
    assert close(step.coef_x0, [math.sqrt(before) / (1 - before) / precision])
    assert close(
        step.log_variance(torch.tensor([0.25], dtype=torch.float64)),
        0.25 * step.beta.log() + 0.75 * step.posterior.log(),
    )


def test_the_last_transition_borrows_a_logarithm():
    grid = torch.tensor([1.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    chain = transitions(DiscreteVP(), grid)
    assert chain.posterior[-1] == 0
    assert chain.log_posterior[-1] == chain.posterior[-2].log()
    assert chain.last.tolist() == [False, False, True]
    assert torch.isfinite(transitions(DiscreteVP(), grid[2:]).log_posterior).all()
