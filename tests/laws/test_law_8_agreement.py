"""DESIGN 4.7, law 8: samplers that must agree, and where they do bit for bit.

Bitwise: the step that lands on t = 0, on every path. Up to rounding: Euler in alpha and sigma on
every path, Euler in t where these are lines, and DDIM(1) with the ancestral sampler.
"""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.diffusion.grids import Even
from mezzotint.diffusion.ode import Euler
from mezzotint.diffusion.samplers import DDIM, Ancestral, Heun, Step, evaluate, points
from mezzotint.diffusion.solvers import RungeKutta
from tests.laws.models import PATHS, denoiser, grid_for, last, start

FEW = settings(max_examples=2)


@pytest.mark.parametrize("prediction", ["eps", "x0", "velocity"])
@pytest.mark.parametrize("path", PATHS)
@FEW
@given(seed=st.integers(0, 99), steps=st.integers(2, 10))
def test_law_8_ddim_eta_1_is_ancestral(path, prediction, seed, steps):
    grid, y = grid_for(path, steps), torch.tensor([0, 1])
    inner = denoiser(path, prediction)
    (x, noise), (again, same) = start([seed, 200]), start([seed, 200])
    one = last(DDIM(1.0)(inner, x, y, grid, noise))
    two = last(Ancestral(0.0)(inner, again, y, grid, same))
    assert torch.allclose(one, two, rtol=1e-8, atol=1e-8)


def ddim_and(walk, path: str, prediction: str, seed: int, grid: torch.Tensor):
    """Return where DDIM and another walk end, and how large an image on the way was."""
    inner, y = denoiser(path, prediction), torch.tensor([0, 1])
    x, noise = start([seed, 200])
    ddim = list(DDIM()(inner, x, y, grid, noise))
    size = max(1.0, *(float(step.estimate.x0.abs().max()) for step in ddim))
    return ddim[-1].x, last(walk(inner, x, y, grid, noise)), size


def euler_in_the_scales(inner, x, y, grid, noise):
    """Yield Euler's steps of dx = x0 d alpha + eps d sigma, in alpha and sigma, not in t."""
    for here, there in pairwise(points(inner.path, grid)):
        estimate = evaluate(inner, x, here.t, y)
        x = x + (there.alpha - here.alpha) * estimate.x0
        x = x + (there.sigma - here.sigma) * estimate.eps
        yield Step(there.t, x, estimate)


@pytest.mark.parametrize("prediction", ["eps", "x0", "velocity"])
@pytest.mark.parametrize("path", PATHS)
@FEW
@given(seed=st.integers(0, 99), steps=st.integers(2, 10))
def test_law_8_euler_on_any_path_is_ddim(path, prediction, seed, steps):
    """Up to rounding: an Euler step adds to x, where DDIM mixes x0 and eps anew."""
    ddim, euler, size = ddim_and(euler_in_the_scales, path, prediction, seed, grid_for(path, steps))
    assert torch.allclose(euler, ddim, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize("path", ["linear", "sit-linear"])
@FEW
@given(seed=st.integers(0, 99), steps=st.integers(2, 10), land=st.booleans())
def test_law_8_euler_in_time_on_a_line_is_ddim(path, seed, steps, land):
    """Where alpha and sigma are linear in t, `RungeKutta(Euler())` is that step."""
    walk, grid = RungeKutta(Euler(), land=land), Even()(PATHS[path], steps)
    ddim, euler, size = ddim_and(walk, path, "velocity", seed, grid)
    assert torch.allclose(euler, ddim, rtol=1e-12, atol=1e-12 * size)


@pytest.mark.parametrize("walk", [RungeKutta(Euler()), Heun()], ids=["runge-kutta", "heun"])
@pytest.mark.parametrize("path", PATHS)
@FEW
@given(seed=st.integers(0, 99), begin=st.floats(0.05, 0.9))
def test_law_8_the_step_that_lands_is_ddim_s_bit_for_bit(path, walk, seed, begin):
    """On every path: the step that ends at t = 0 takes x0."""
    t = PATHS[path].snap(torch.tensor([begin], dtype=torch.float64))
    grid = torch.cat([t, t.new_zeros(1)])
    ddim, other, _ = ddim_and(walk, path, "velocity", seed, grid)
    assert torch.equal(ddim, other)
