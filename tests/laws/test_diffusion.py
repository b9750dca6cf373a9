"""DESIGN 4.7, laws 1, 2, 7, 9 and 10, for every path, prediction and sampler."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.diffusion.denoiser import Clamped, NetworkDenoiser
from mezzotint.diffusion.dpm import DPMSolver, DPMSolverMultistep, Equal, Nested
from mezzotint.diffusion.exponential import Data, NoiseTarget, Taylor
from mezzotint.diffusion.grids import Even, LogSNR
from mezzotint.diffusion.guidance import ClassifierFree, Constant, Interval, PowerCosine
from mezzotint.diffusion.ode import RK4, Euler, Heun2, Heun3, Midpoint
from mezzotint.diffusion.paths import ContinuousVP, Linear
from mezzotint.diffusion.samplers import DDIM, Ancestral, Heun
from mezzotint.diffusion.sde import EulerMaruyama, HeunStep, LinearRate, TweedieStep
from mezzotint.diffusion.solvers import Dopri5, RungeKutta, encode
from mezzotint.errors import ConfigError
from mezzotint.noise import SeededNoise
from tests.laws.models import CLASSES, PATHS, PREDICTIONS, Gaussian, denoiser, grid_for, last, start

QUICK = settings(max_examples=3)
FEW = settings(max_examples=2)
SAMPLERS: dict[str, Any] = {
    "ancestral": Ancestral(),
    "ancestral-large": Ancestral(1.0),
    "ddim": DDIM(),
    "ddim-eta": DDIM(0.7),
    "heun": Heun(),
    "runge-kutta": RungeKutta(Midpoint()),
    "rk4": RungeKutta(),
    "dopri5": Dopri5(),
    "euler-maruyama": EulerMaruyama(),
    "sde-heun": EulerMaruyama(LinearRate(), HeunStep(), TweedieStep()),
    "dpm-solver": DPMSolver(Equal(1)),
    "dpm-solver-multistep": DPMSolverMultistep(),
}
MEMORYLESS = [name for name in SAMPLERS if name not in {"dopri5", "dpm-solver-multistep"}]


def times(count: int):
    return st.lists(st.floats(0.01, 0.99), min_size=count, max_size=count)


def guided(inner):
    return {
        "plain": inner,
        "clamped": Clamped(inner),
        "guided": ClassifierFree(inner, 2.5, null=CLASSES),
        "partly guided": ClassifierFree(inner, Interval(3.0, 0.2, 0.6), null=CLASSES, channels=2),
        "guided more and more": ClassifierFree(inner, PowerCosine(4.0), null=CLASSES),
    }


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(t=times(3), seed=st.integers(0, 99))
def test_law_1_an_estimate_mixes_back_to_x(path, prediction, t, seed):
    x, _ = start([seed, seed + 1, seed + 2])
    t = PATHS[path].snap(torch.tensor(t, dtype=torch.float64))
    scales = PATHS[path].at(t, x)
    for name, each in guided(denoiser(path, prediction)).items():
        estimate = each(x, t, torch.tensor([0, 1, 3]))
        back = scales.alpha * estimate.x0 + scales.sigma * estimate.eps
        size = 1 + float((scales.alpha * estimate.x0).abs().max())
        assert torch.allclose(back, x, atol=1e-9 * size), name


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("path", PATHS)
@FEW
@given(t=times(2), channels=st.sampled_from([None, 1, 3]))
def test_law_2_scale_1_is_conditional_and_0_unconditional(path, prediction, t, channels):
    inner = denoiser(path, prediction)
    x, _ = start([1, 2])
    t, y = PATHS[path].snap(torch.tensor(t, dtype=torch.float64)), torch.tensor([0, 2])
    conditional, plain = inner(x, t, y), inner(x, t, torch.full_like(y, CLASSES))
    one = ClassifierFree(inner, 1.0, null=CLASSES, channels=channels)(x, t, y)
    assert torch.equal(one.x0, conditional.x0)
    assert torch.equal(one.eps, conditional.eps)
    none = ClassifierFree(inner, Constant(0.0), null=CLASSES, channels=channels)(x, t, y)
    assert torch.allclose(none.eps[:, :channels], plain.eps[:, :channels])
    assert torch.allclose(none.x0[:, :channels], plain.x0[:, :channels])
    if channels:
        assert torch.equal(none.eps[:, channels:], conditional.eps[:, channels:])
    if conditional.var_mix is not None:
        assert torch.equal(none.var_mix, conditional.var_mix)


def test_guidance_costs_what_it_must():
    rows = []

    def counted(x, time, y):
        rows.append(len(x))
        return 0.1 * x

    inner = NetworkDenoiser(counted, Linear(), PREDICTIONS["x0"])
    x, _ = start([1, 2, 3])
    y = torch.tensor([0, 1, 2])
    scale = Interval(2.0, 0.3, 0.6)
    for t, cost in {(0.9, 0.8, 0.1): 3, (0.5, 0.9, 0.9): 4, (0.5, 0.4, 0.6): 6}.items():
        ClassifierFree(inner, scale, null=CLASSES)(x, torch.tensor(t, dtype=torch.float64), y)
        assert rows.pop() == cost
    with pytest.raises(ConfigError, match="no null class"):
        ClassifierFree(inner, 2.0, null=None)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampler", MEMORYLESS)
@FEW
@given(
    prediction=st.sampled_from(["x0", "velocity", "learned-range"]),
    seed=st.integers(0, 99),
    cut=st.integers(1, 3),
)
def test_law_7_a_grid_is_its_two_halves(sampler, path, prediction, seed, cut):
    walk, grid = SAMPLERS[sampler], grid_for(path, 4)
    inner, y = denoiser(path, prediction), torch.tensor([0, 1])
    (x, noise), (again, same) = start([seed, 200]), start([seed, 200])
    whole = last(walk(inner, x, y, grid, noise))
    half = last(walk(inner, again, y, grid[: cut + 1], same))
    parts = last(walk(inner, half, y, grid[cut:], same))
    assert torch.allclose(whole, parts, rtol=1e-9, atol=1e-12)


# order of convergence -----------------------------------------------------------------------------

VP = ContinuousVP()
LATE = {"start": 1.0, "end": 1e-3}
ORDERS: dict[str, tuple[Any, Any, int]] = {
    "ddim": (DDIM(), LogSNR(**LATE), 1),
    "heun": (Heun(), LogSNR(**LATE), 2),
    "euler": (RungeKutta(Euler()), Even(end=0.1), 1),
    "midpoint": (RungeKutta(Midpoint()), Even(end=0.1), 2),
    "heun2": (RungeKutta(Heun2()), Even(end=0.1), 2),
    "heun3": (RungeKutta(Heun3()), Even(end=0.1), 3),
    "rk4": (RungeKutta(RK4()), Even(start=0.6, end=0.1), 4),
    "dpm++ 1": (DPMSolver(Equal(1)), Nested(LogSNR(**LATE), Equal(1)), 1),
    "dpm++ 2": (DPMSolver(Equal(2)), Nested(LogSNR(**LATE), Equal(2)), 2),
    "dpm++ 3": (DPMSolver(Equal(3)), Nested(LogSNR(**LATE), Equal(3)), 3),
    "dpm 2": (DPMSolver(Equal(2), NoiseTarget()), Nested(LogSNR(**LATE), Equal(2)), 2),
    "dpm 3": (DPMSolver(Equal(3), NoiseTarget()), Nested(LogSNR(**LATE), Equal(3)), 3),
    "taylor 2": (DPMSolver(Equal(2), Data(), Taylor()), Nested(LogSNR(**LATE), Equal(2)), 2),
    "taylor 3": (DPMSolver(Equal(3), Data(), Taylor()), Nested(LogSNR(**LATE), Equal(3)), 3),
    "multistep 2": (DPMSolverMultistep(2), LogSNR(**LATE), 2),
    # It starts with a step of order 1, as released, and that error stays.
    "multistep 3": (DPMSolverMultistep(3), LogSNR(**LATE), 2),
    "multistep taylor": (DPMSolverMultistep(2, NoiseTarget(), Taylor()), LogSNR(**LATE), 2),
}


def error(walk, grid, model: Gaussian) -> float:
    x, noise = start([1, 2])
    found = last(walk(model, x, torch.tensor([0, 0]), grid, noise))
    exact = x * model.spread(float(grid[-1])) / model.spread(float(grid[0]))
    return float((found - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("name", ORDERS)
def test_law_9_the_error_falls_with_its_order(name):
    walk, grid, order = ORDERS[name]
    inner = order if isinstance(grid, Nested) else 1
    counts = (20, 40, 80)
    errors = [error(walk, grid(VP, count * inner), Gaussian(VP)) for count in counts]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert sum(slopes) / len(slopes) > order - 0.4, (errors, slopes)
    assert sum(slopes) / len(slopes) < order + 1.2, (errors, slopes)


def test_law_9_a_tighter_tolerance_is_a_smaller_error():
    grid = Even(end=0.05)(VP, 3)
    errors = [error(Dopri5(rtol=r, atol=r * 1e-3), grid, Gaussian(VP)) for r in (1e-3, 1e-5, 1e-7)]
    assert errors[0] < 1e-2
    assert errors[0] > 10 * errors[1] > 100 * errors[2], errors


def test_the_published_errors_of_uvit_section_9():
    model = Gaussian(VP)
    table = {
        (1, Data()): (4.3e-1, 2.4e-1),
        (2, Data()): (1.7e-1, 5.7e-2),
        (3, Data()): (2.7e-3, 2.3e-4),
        (2, NoiseTarget()): (4.2e-1, 8.6e-2),
        (3, NoiseTarget()): (4.9e-2, 2.9e-3),
    }
    for (order, target), wanted in table.items():
        for steps, value in zip((5, 10), wanted, strict=True):
            grid = Nested(LogSNR(end=1e-4), Equal(order))(VP, steps * order)
            found = error(DPMSolver(Equal(order), target), grid, model)
            assert found == pytest.approx(value, rel=0.05), (order, target, steps)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim-eta", "euler-maruyama", "sde-heun"])
def test_stochastic_samplers_keep_the_data_s_moments(sampler):
    model = Gaussian(Linear(), deviation=0.5, mean=0.3)
    noise = SeededNoise(range(2))
    x = noise(torch.zeros(2, 20000, dtype=torch.float64))
    grid = Even(start=0.999, tail=0.005)(Linear(), 150)
    found = last(SAMPLERS[sampler](model, x, torch.tensor([0, 0]), grid, noise))
    assert float(found.mean()) == pytest.approx(0.3, abs=0.015)
    assert float(found.std()) == pytest.approx(0.5, abs=0.02)


# independence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["discrete-vp", "linear"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@FEW
@given(order=st.permutations([3, 14, 15, 92]), cut=st.integers(1, 3))
def test_law_10_an_image_depends_on_its_seed_only(sampler, path, order, cut):
    inner = ClassifierFree(denoiser(path, "velocity"), Interval(2.0, 0.2, 0.7), null=CLASSES)
    grid = Even(start=0.98, tail=0.02)(PATHS[path], 4)

    def images(seeds: list[int]) -> dict[int, torch.Tensor]:
        x, noise = start(seeds)
        y = torch.tensor([seed % CLASSES for seed in seeds])
        return dict(zip(seeds, last(SAMPLERS[sampler](inner, x, y, grid, noise)), strict=True))

    together = images([3, 14, 15, 92])
    apart = images(order[:cut]) | images(order[cut:])
    for seed, image in together.items():
        assert torch.allclose(image, apart[seed], rtol=1e-9, atol=1e-12), seed


# both ways ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["continuous-vp", "linear", "cosine"])
def test_encoding_and_decoding_meet(path):
    inner, y = denoiser(path, "velocity"), torch.tensor([0, 1])
    x, noise = start([5, 6])
    grid = Even(start=0.95, end=0.05)(PATHS[path], 60)
    solver = RungeKutta(RK4())
    code = last(encode(inner, x, y, grid, sampler=solver))
    assert torch.allclose(last(solver(inner, code, y, grid, noise)), x, atol=1e-5)
