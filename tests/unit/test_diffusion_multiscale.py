"""The multi-scale prediction: what is read, what is scored, and what is refused."""

import pytest
import torch

from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.multiscale import MultiScale, pooled
from mezzotint.diffusion.paths import DiscreteVP, Linear
from mezzotint.diffusion.predictions import X0, Eps, Prediction, Truth, Velocity
from mezzotint.diffusion.weightings import MinSNR
from mezzotint.errors import ConfigError

EXACT = 1e-12
INNER: dict[str, Prediction] = {
    "eps": Eps(),
    "x0": X0(MinSNR()),
    "velocity": Velocity(),
    "sit": Velocity(towards_data=True),
}


def truth(path, side: int = 8) -> Truth:
    generator = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, 3, 2, side, side, generator=generator, dtype=torch.float64)
    scales = path.at(torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64), x0)
    return Truth(x0, eps, scales.alpha * x0 + scales.sigma * eps, scales)


def perfect(inner: str, x0: torch.Tensor, eps: torch.Tensor, case: Truth) -> torch.Tensor:
    velocity = case.scales.d_alpha * x0 + case.scales.d_sigma * eps
    return {"eps": eps, "x0": x0, "velocity": velocity, "sit": -velocity}[inner]


@pytest.mark.parametrize("path", [DiscreteVP(), Linear()], ids=repr)
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("inner", INNER)
def test_perfect_outputs_are_read_perfectly_and_cost_nothing(inner, side, path):
    case = truth(path, side)
    widths = (2, 4, 8) if side == 8 else (3, 5, 9)
    levels = [
        (case.x0, case.eps) if w == side else (pooled(case.x0, w), pooled(case.eps, w))
        for w in widths
    ]
    outs = tuple(perfect(inner, x0, eps, case) for x0, eps in levels)
    prediction = MultiScale(INNER[inner], coefficients=None)
    estimate = prediction.estimate(outs, case.x, case.scales)
    assert torch.allclose(estimate.x0, case.x0, atol=EXACT)
    assert torch.allclose(estimate.eps, case.eps, atol=EXACT)
    assert float(prediction.loss(outs, case).max()) < EXACT
    off = (outs[0] + 1, outs[1], outs[2])
    weight = INNER[inner].loss(perfect(inner, case.x0, case.eps, case) + 1, case)
    assert torch.allclose(prediction.loss(off, case), weight / 16, atol=EXACT)


def test_every_output_counts_by_its_coefficient():
    case = truth(DiscreteVP())
    outs = tuple(torch.zeros(3, 2, side, side, dtype=torch.float64) for side in (4, 8))
    coarse = pooled(case.eps, 4).square().flatten(1).mean(1)
    fine = case.eps.square().flatten(1).mean(1)
    assert torch.allclose(MultiScale().loss(outs, case), coarse / 4 + fine, atol=EXACT)
    weighted = MultiScale(coefficients=(2.0, 0.5)).loss(outs, case)
    assert torch.allclose(weighted, 2 * coarse + fine / 2, atol=EXACT)
    plain = MultiScale(scale_correction=False).loss(outs, case)
    assert torch.allclose(plain, coarse / 16 + fine, atol=EXACT)


def test_pooled_noise_stays_unit_noise():
    noise = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert [round(float(pooled(noise, w).std()), 1) for w in (16, 8, 4)] == [1.0, 1.0, 1.0]
    assert float(pooled(noise, 8, scale_correction=False).std()) == pytest.approx(0.25, rel=0.05)


def test_rectangles_are_matched_by_width():
    x = torch.ones(1, 1, 4, 8)
    assert pooled(x, 4).shape == (1, 1, 2, 4)
    assert float(pooled(x, 4).mean()) == pytest.approx(2.0)


def test_a_width_that_no_halving_gives_is_refused():
    for side, width in ((8, 3), (12, 2), (9, 4), (8, 16)):
        with pytest.raises(ConfigError, match=f"{width} wide: expected {side}, or a half"):
            pooled(torch.ones(1, 1, side, side), width)


def test_coefficients_are_as_many_as_outputs():
    case = truth(DiscreteVP())
    outs = tuple(torch.zeros(3, 2, side, side, dtype=torch.float64) for side in (2, 4, 8))
    with pytest.raises(ConfigError, match=r"coefficients \(0\.25, 1\.0\): expected 3"):
        MultiScale().loss(outs, case)


def test_a_lone_output_is_refused():
    case = truth(DiscreteVP())
    denoiser = NetworkDenoiser(lambda x, time, y: x, DiscreteVP(), MultiScale())
    with pytest.raises(ConfigError, match="several outputs"):
        denoiser(case.x, torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ConfigError, match="several outputs"):
        MultiScale().loss(case.eps, case)


def test_a_last_output_that_is_not_the_whole_image_is_refused():
    case = truth(DiscreteVP())
    outs = tuple(torch.zeros(3, 2, side, side, dtype=torch.float64) for side in (2, 4))
    with pytest.raises(ConfigError, match=r"last output is \(4, 4\), but the image \(8, 8\)"):
        MultiScale().loss(outs, case)
    with pytest.raises(ConfigError, match="patch 1 and shrink 1"):
        MultiScale().estimate(outs, case.x, case.scales)
