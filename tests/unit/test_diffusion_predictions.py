"""Predictions, losses and weightings against closed forms."""

import math

import pytest
import torch

from mezzotint.diffusion.paths import ContinuousVP, Cosine, DiscreteVP, Linear
from mezzotint.diffusion.predictions import (
    X0,
    Eps,
    FixedRange,
    Leading,
    LearnedRange,
    Score,
    Truth,
    Velocity,
    bound,
)
from mezzotint.diffusion.weightings import Likelihood, MinSNR, ScoreToVelocity, VelocitySpace

PATHS = [DiscreteVP(), ContinuousVP(), Linear(), Cosine()]
EXACT = 1e-12


def truth(path, t: float = 0.4) -> Truth:
    generator = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, 3, 4, 2, 2, generator=generator, dtype=torch.float64)
    times = torch.full((3,), t, dtype=torch.float64)
    scales = path.at(times, x0)
    step = path.step(times)
    step = None if step is None else step.like(x0)
    return Truth(x0, eps, scales.alpha * x0 + scales.sigma * eps, scales, step)


def perfect(name: str, case: Truth) -> torch.Tensor:
    s = case.scales
    return {
        "eps": case.eps,
        "x0": case.x0,
        "velocity": s.d_alpha * case.x0 + s.d_sigma * case.eps,
        "sit": -(s.d_alpha * case.x0 + s.d_sigma * case.eps),
        "score": -case.eps / s.sigma,
    }[name]


KINDS = {
    "eps": Eps(),
    "x0": X0(),
    "velocity": Velocity(),
    "sit": Velocity(towards_data=True),
    "score": Score(),
}


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", KINDS)
def test_a_perfect_network_is_read_perfectly(name, path):
    case = truth(path)
    out = perfect(name, case)
    estimate = KINDS[name].estimate(out, case.x, case.scales)
    assert torch.allclose(estimate.x0, case.x0, atol=EXACT, rtol=1e-10)
    assert torch.allclose(estimate.eps, case.eps, atol=EXACT, rtol=1e-10)
    assert KINDS[name].loss(out, case).abs().max() < 1e-20
    assert (KINDS[name].loss(out + 1, case) > 1e-3).all()


def test_leading_reads_the_first_channels():
    case = truth(Linear())
    out = torch.cat([case.x0, torch.full_like(case.x0, math.nan)], dim=1)
    assert torch.equal(Leading(X0()).estimate(out, case.x, case.scales).x0, case.x0)
    assert Leading(X0()).loss(out, case).tolist() == [0, 0, 0]


def test_losses_in_one_space_are_losses_in_another():
    case = truth(ContinuousVP())
    s = case.scales
    wrong = case.x0 + 0.1
    as_velocity = s.d_alpha * wrong + s.d_sigma * (case.x - s.alpha * wrong) / s.sigma
    one = X0(VelocitySpace(floor=1e-9)).loss(wrong, case)
    assert torch.allclose(one, Velocity().loss(as_velocity, case), rtol=1e-10)
    eps = case.eps + 0.1
    velocity = s.d_alpha * (case.x - s.sigma * eps) / s.alpha + s.d_sigma * eps
    wanted = Velocity().loss(velocity, case)
    assert torch.allclose(Eps(ScoreToVelocity()).loss(eps, case), wanted, rtol=1e-10)
    assert torch.allclose(Score(ScoreToVelocity()).loss(-eps / s.sigma, case), wanted, rtol=1e-10)


def test_weights():
    s = Linear().scales(torch.tensor([0.2, 0.5], dtype=torch.float64))
    assert torch.allclose(VelocitySpace()(s), 1 / s.sigma**2)
    assert MinSNR(5.0)(s).tolist() == pytest.approx([5.0, 1.0])
    gain = s.sigma / (1 - s.sigma)  # t / (1 - t) on the line
    assert torch.allclose(Likelihood()(s), gain / s.sigma**2)


def test_the_bound_is_zero_for_the_true_posterior_and_teaches_the_variance_alone():
    case = truth(DiscreteVP())
    out = torch.cat([case.eps, -torch.ones_like(case.eps)], dim=1).requires_grad_()
    estimate = LearnedRange().estimate(out, case.x, case.scales)
    assert bound(estimate, case).abs().max() < 1e-9
    off = (out.detach() + 0.1).requires_grad_()
    LearnedRange(simple=0.0).loss(off, case).sum().backward()
    assert off.grad is not None
    assert off.grad[:, :4].abs().max() == 0
    assert off.grad[:, 4:].abs().min() > 0


@pytest.mark.parametrize("index", [0, 1, 400])
@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_a_fixed_variance_is_at_the_last_step_that_of_the_step_before(index, mix):
    """The release's fixed large variances are [V_1, beta_1, beta_2, ...]; small ones [V_1, V_1..].

    The bound from tables alone: a divergence of Gaussians, and at index 0 the surprise of 255 bins.
    """
    path = DiscreteVP()
    case = truth(path, (index + 1) / 1000)
    out = case.eps + 0.1
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bars = (1 - betas).cumprod(0)
    before = torch.cat([bars.new_ones(1), bars[:-1]])
    small = betas * (1 - before) / (1 - bars)
    small[0] = small[1]
    log = (torch.cat([small[:1], betas[1:]]) if mix else small).log()
    coef = betas * before.sqrt() / (1 - bars), (1 - before) * (1 - betas).sqrt() / (1 - bars)
    x0 = (case.x - (1 - bars[index]).sqrt() * out) / bars[index].sqrt()
    true, mean = (coef[0][index] * each + coef[1][index] * case.x for each in (case.x0, x0))
    gap = small.log()[index] - log[index]
    kl = 0.5 * (-1 - gap + gap.exp() + (true - mean) ** 2 / log[index].exp())
    cdf = [
        0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        for u in ((case.x0 - mean + w) / (log[index] / 2).exp() for w in (1 / 255, -1 / 255))
    ]
    inside = (cdf[0] - cdf[1]).clamp(min=1e-12)
    low, high = cdf[0].clamp(min=1e-12), (1 - cdf[1]).clamp(min=1e-12)
    p = torch.where(case.x0 < -0.999, low, torch.where(case.x0 > 0.999, high, inside))
    bits = (kl if index else -p.log()).flatten(1).mean(1) / math.log(2)
    assert torch.allclose(FixedRange(mix=mix).loss(out, case), bits, rtol=1e-9)
