"""Quirks of the releases are named options: each changes something, and only what it says."""

import pytest
import torch

from mezzotint.diffusion.betas import ScaledLinearBetas
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.dpm import DPMSolver, Fast, Nested
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.exponential import NoiseTarget
from mezzotint.diffusion.grids import Even, LogSNR, Respaced
from mezzotint.diffusion.paths import ContinuousVP, DiscreteVP, log_snr
from mezzotint.diffusion.samplers import DDIM
from mezzotint.diffusion.sde import DecreasingRate, EulerMaruyama, HeunStep
from mezzotint.errors import ConfigError
from mezzotint.noise import SeededNoise, TapeNoise
from mezzotint.official.sit import PATHS, PREDICTIONS, SINGLE_PATHS, StridedHeun, Transport, grid
from mezzotint.official.uvit import DiscreteSD, LinearVP
from tests.laws.models import Gaussian, last

TIMES = torch.tensor([0.003, 0.25, 0.6, 0.999], dtype=torch.float64)
Y = torch.tensor([0, 0])


def walk(sampler, path, times):
    noise = SeededNoise([1, 2])
    x = noise(torch.zeros(2, 3, 4, 4, dtype=torch.float64))
    return last(sampler(Gaussian(path), x, Y, times, noise))


@pytest.mark.parametrize(
    ("rounded", "exact"),
    [
        (LinearVP, ContinuousVP()),
        (DiscreteSD, DiscreteVP(ScaledLinearBetas(), clock_shift=1.0)),
    ],
)
def test_uvit_schedules_are_our_paths_up_to_their_arithmetic(rounded, exact):
    wanted = exact.scales(TIMES)
    found, single = rounded(single=False).scales(TIMES), rounded().scales(TIMES)
    for name in ("alpha", "sigma"):
        assert torch.allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9)
        gap = (getattr(single, name) / getattr(wanted, name) - 1).abs().max()
        assert 1e-9 < gap < 1e-4
    lambdas = log_snr(exact, TIMES)
    assert torch.allclose(rounded(single=False).time_of(lambdas), TIMES, rtol=1e-9)
    assert torch.allclose(rounded().time_of(lambdas), TIMES, rtol=1e-4)


def test_uvit_sampling_in_float32_arithmetic_moves_by_its_cancellation():
    made = Nested(LogSNR(end=1e-4), Fast())
    sampler = DPMSolver(Fast(), NoiseTarget())
    exact, off, on = (
        walk(sampler, path, made(path, 10))
        for path in (ContinuousVP(), LinearVP(single=False), LinearVP())
    )
    largest = exact.abs().max()
    assert (off - exact).abs().max() < 1e-8 * largest
    assert 1e-7 * largest < (on - exact).abs().max() < 1e-3 * largest


def test_dit_s_float32_signal_is_felt_next_to_data_only():
    times = Respaced()(DiscreteVP(), 1000)
    off, on = (walk(DDIM(single=single), DiscreteVP(), times[-4:-1]) for single in (False, True))
    assert 1e-8 < (off - on).abs().max() < 1e-3
    off, on = (walk(DDIM(single=single), DiscreteVP(), times[:4]) for single in (False, True))
    assert (off - on).abs().max() < 1e-5


@pytest.mark.parametrize("index", [1, 2, 500])
def test_dit_s_float32_deviations_are_the_release_s(index):
    chain = DiscreteVP()
    x = SeededNoise([3, 4])(torch.zeros(2, 3, 4, 4))
    noise, far = x.flip(0), 80.0  # an estimate of clamped x0 has eps far from 1

    def denoiser(x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> Estimate:
        return Estimate(x, far * x)

    denoiser.path = chain  # type: ignore[attr-defined]
    grid = torch.tensor([index + 1, index], dtype=torch.float64) / chain.steps
    (step,) = DDIM(1.0, single=True)(denoiser, x, Y, grid, TapeNoise([noise]))  # type: ignore[arg-type]
    # dit.md, 2.4: all of it in float32 from the two products of 1 - beta.
    now, after = (chain.signal[place].float() for place in (index + 1, index))
    sigma = torch.sqrt((1 - after) / (1 - now)) * torch.sqrt(1 - now / after)
    wanted = x * torch.sqrt(after) + torch.sqrt(1 - after - sigma**2) * far * x + sigma * noise
    assert torch.allclose(step.x, wanted, atol=1e-6)


@pytest.mark.parametrize("name", PATHS)
def test_sit_s_float32_paths_are_ours_up_to_rounding(name):
    for one, two in zip(SINGLE_PATHS[name].scales(TIMES), PATHS[name].scales(TIMES), strict=True):
        assert torch.allclose(one, two, rtol=1e-3, atol=1e-6)


def test_sit_s_sample_eps_slip_is_an_option():
    slip = Transport("VP", "noise", sample_eps=0.01)
    assert slip.eps(sampling=True) == 1e-3
    meant = Transport("VP", "noise", sample_eps=0.01, tests_train_eps=False)
    assert meant.eps(sampling=True) == 0.01
    with pytest.raises(ConfigError, match="sample_eps"):
        Transport("VP", "noise", train_eps=0.01).eps(sampling=True)
    kept = Transport("VP", "noise", train_eps=0.01, tests_train_eps=False)
    assert (kept.eps(sampling=True), kept.eps(sampling=False)) == (1e-3, 0.01)
    assert Transport("GVP", "velocity", 0.1, 0.1).interval(sampling=True) == (0.0, 1.0)


def test_sit_s_points_are_our_times():
    ours = grid(0.0, 0.96, 5, last_step_size=0.04)
    assert torch.allclose(ours, Even(tail=0.04)(PATHS["Linear"], 5), atol=1e-7)


@pytest.mark.parametrize(("name", "count"), [("Linear", 26), ("VP", 19)])
def test_sit_s_second_evaluation_stands_where_its_float32_clock_is(name, count):
    path, rate = SINGLE_PATHS[name], DecreasingRate(0.5)
    w = torch.linspace(-1, 1, 12).view(1, 3, 2, 2)
    noise = SeededNoise([5])
    z = noise(w)
    draws = [noise(w) for _ in range(count - 1)]

    def outputs(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return -0.5 * x + 0.8 * w * torch.sin(3 * t)

    def drift(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma, d_alpha, d_sigma = (s.float() for s in path.scales(1 - t.double()[None]))
        rise = -d_alpha / alpha  # sit.md, 2.2 and 2.5
        gain = rise * sigma**2 + sigma * d_sigma
        score = outputs(x, t) / -sigma
        width = 0.25 * (0.5 * torch.cos(torch.pi * t) + 1) ** 2
        return rise * x + (gain + width) * score

    start, end = Transport(name, "noise").interval(sampling=True, sde=True)
    points = torch.linspace(start, end, count)
    stride, x = points[1] - points[0], z
    for t, draw in zip(points[:-1], draws, strict=True):
        width = 0.25 * (0.5 * torch.cos(torch.pi * t) + 1) ** 2
        x = x + torch.sqrt(2 * width) * draw * torch.sqrt(stride)
        first = drift(x, t)
        x = x + 0.5 * stride * (first + drift(x + stride * first, t + stride))

    denoiser = NetworkDenoiser(lambda x, t, _: outputs(x, t[0]), path, PREDICTIONS["noise"])
    times = grid(start, end, count)
    on, off = (
        last(EulerMaruyama(rate, step, step)(denoiser, z, Y[:1], times, TapeNoise(draws)))
        for step in (StridedHeun.along(times), HeunStep())
    )
    largest = x.abs().max()
    assert (on - x).abs().max() < 1e-5 * largest < (off - x).abs().max() < 1e-3 * largest
