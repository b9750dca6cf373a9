"""DESIGN 4.7, laws 1 and 3: what is stitched, is what it is stitched of, row by row."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.diffusion.allocation import Count
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.dpm import DPMSolver, DPMSolverMultistep, Equal
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.diffusion.routing import Partition, Stitched, stitched
from mezzotint.diffusion.samplers import DDIM, Ancestral, Heun
from mezzotint.diffusion.sde import EulerMaruyama
from mezzotint.diffusion.solvers import Dopri5, RungeKutta
from mezzotint.errors import ConfigError
from tests.laws.models import (
    CLASSES,
    PATHS,
    PREDICTIONS,
    denoiser,
    grid_for,
    halved,
    last,
    network,
    start,
)

QUICK = settings(max_examples=3)
SAMPLERS: dict[str, Any] = {
    "ancestral": Ancestral(),
    "ddim": DDIM(),
    "ddim-eta": DDIM(0.7),
    "heun": Heun(),
    "rk4": RungeKutta(),
    "dopri5": Dopri5(),
    "euler-maruyama": EulerMaruyama(),
    "dpm-solver": DPMSolver(Equal(1)),
    "dpm-solver-multistep": DPMSolverMultistep(),
}
CUTS = st.lists(st.floats(0, 1), max_size=4).map(lambda cuts: tuple(sorted(cuts)))
TIMES = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6)


def darker(x, time, y):
    return network(x, time, y) - 0.2


def other(path: str, prediction: str) -> NetworkDenoiser:
    wide = prediction in {"learned-range", "leading"}
    narrow = lambda x, time, y: halved(x, time, y) - 0.2  # noqa: E731
    return NetworkDenoiser(darker if wide else narrow, PATHS[path], PREDICTIONS[prediction])


def values(estimate):
    found = (estimate.x0, estimate.eps, estimate.var_mix)
    return [each for each in found if each is not None]


def asked(times: list[float], path: str):
    x, _ = start(list(range(len(times))))
    t = PATHS[path].snap(torch.tensor(times, dtype=torch.float64)).clamp(max=0.99)
    return x, PATHS[path].snap(t), torch.arange(len(times)) % CLASSES


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(cuts=CUTS, times=TIMES)
def test_law_3_the_same_denoiser_everywhere_is_that_denoiser(path, prediction, cuts, times):
    plain = denoiser(path, prediction)
    one = Stitched((plain,) * (len(cuts) + 1), Partition(cuts))
    x, t, y = asked(times, path)
    for ours, theirs in zip(values(one(x, t, y)), values(plain(x, t, y)), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(cut=st.floats(0.05, 0.95), times=TIMES)
def test_law_3_mixed_times_are_one_at_a_time(path, prediction, cut, times):
    large, small = denoiser(path, prediction), other(path, prediction)
    one = Stitched((large, small), Partition((cut,)))
    x, t, y = asked(times, path)
    found = one(x, t, y)
    for row in range(len(times)):
        rows = slice(row, row + 1)
        own = small if float(t[row]) > cut else large
        for ours, theirs in zip(values(found), values(own(x[rows], t[rows], y[rows])), strict=True):
            assert torch.equal(ours[rows], theirs)
    scales = PATHS[path].at(t, x)  # law 1
    size = 1 + float((scales.alpha * found.x0).abs().max())
    back = scales.alpha * found.x0 + scales.sigma * found.eps
    assert torch.allclose(back, x, atol=1e-9 * size)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("path", ["discrete-vp", "linear"])
def test_fractions_0_and_1_are_the_two_models_bit_for_bit(path, sampler):
    prediction = "learned-range"
    small, large = other(path, prediction), denoiser(path, prediction)
    grid = grid_for(path, 6)
    if "solver" in sampler:
        grid = torch.cat([grid[:-1].clamp(max=0.98), grid.new_tensor([0.01])])
    y = torch.tensor([0, 2])

    def walked(one):
        x, noise = start([1, 2])
        return last(SAMPLERS[sampler](one, x, y, grid, noise))

    ends = {}
    for fraction in (0.0, 0.5, 1.0):
        allocation = Count()((fraction, 1 - fraction), grid[:-1])
        ends[fraction] = walked(stitched([small, large], allocation, grid))
    assert torch.equal(ends[0.0], walked(large))
    assert torch.equal(ends[1.0], walked(small))
    assert not torch.allclose(ends[0.5], ends[0.0])
    assert not torch.allclose(ends[0.5], ends[1.0])


def test_each_step_is_answered_by_whom_the_allocation_names():
    """In any order of turns; what a solver asks ahead of a step belongs to the step it is of."""
    heard: list[tuple[str, float]] = []

    def named(name):
        def listening(x, time, y):
            heard.append((name, float(time[0])))
            return halved(x, time, y)

        return NetworkDenoiser(listening, PATHS["linear"], PREDICTIONS["x0"])

    pieces = [named("s"), named("b"), named("l")]
    grid = grid_for("linear", 6)
    allocation = [0, 2, 2, 1, 0, 2]
    x, noise = start([0])
    last(DDIM()(stitched(pieces, allocation, grid), x, torch.tensor([0]), grid, noise))
    assert "".join(name for name, _ in heard) == "sllbsl"
    heard.clear()
    last(Heun()(stitched(pieces, allocation, grid), x, torch.tensor([0]), grid, noise))
    # A step's second evaluation is at the next step's time, and that step's model answers it.
    assert "".join(name for name, _ in heard) == "sl ll lb bs sl l".replace(" ", "")


def test_the_order_of_the_pieces_is_from_data_to_noise():
    large, small = denoiser("linear", "x0"), other("linear", "x0")
    x, y = start([0])[0], torch.tensor([1])
    t = torch.tensor([0.9], dtype=torch.float64)
    right, wrong = (Stitched(p, Partition((0.6,))) for p in ((large, small), (small, large)))
    assert torch.equal(right(x, t, y).x0, small(x, t, y).x0)
    assert torch.equal(wrong(x, t, y).x0, large(x, t, y).x0)


def test_a_cut_belongs_to_the_room_below_it():
    rooms = Partition((0.2, 0.2, 0.6)).rooms_of(torch.tensor([0.0, 0.1, 0.2, 0.21, 0.6, 0.61, 1.0]))
    assert rooms.tolist() == [0, 0, 0, 2, 2, 3, 3]
    routed = dict(Partition((0.5,)).route(torch.tensor([0.7, 0.5, 0.9])))
    assert {room: rows.tolist() for room, rows in routed.items()} == {0: [1], 1: [0, 2]}


def test_guidance_goes_around_or_inside():
    large, small = denoiser("linear", "x0"), other("linear", "x0")
    x, _ = start([0, 1])
    t, y = torch.tensor([0.3, 0.8], dtype=torch.float64), torch.tensor([0, 1])
    outside = ClassifierFree(Stitched((large, small), Partition((0.5,))), 2.0, null=CLASSES)
    inside = Stitched(
        tuple(ClassifierFree(each, 2.0, null=CLASSES) for each in (large, small)),
        Partition((0.5,)),
    )
    assert torch.equal(outside(x, t, y).x0, inside(x, t, y).x0)
    scales = [1.0, 2.0]
    each = Stitched(
        tuple(
            ClassifierFree(one, scale, null=CLASSES)
            for one, scale in zip((large, small), scales, strict=True)
        ),
        Partition((0.5,)),
    )
    assert torch.equal(each(x, t, y).x0[:1], large(x[:1], t[:1], y[:1]).x0)


@pytest.mark.parametrize("cuts", [(0.5, 0.4), (-0.1,), (1.1,), (float("nan"),)])
def test_cuts_that_are_no_partition_are_refused(cuts):
    with pytest.raises(ConfigError, match="expected ascending times"):
        Partition(cuts)


def test_pieces_that_do_not_fit_are_refused():
    one, far = denoiser("linear", "x0"), denoiser("cosine", "x0")
    with pytest.raises(ConfigError, match="2 denoisers for 1 rooms"):
        Stitched((one, one), Partition(()))
    with pytest.raises(ConfigError, match="share one noise schedule"):
        Stitched((one, far), Partition((0.5,)))
    with pytest.raises(ConfigError, match="5 indices for a grid of 4 steps"):
        stitched([one], [0] * 5, grid_for("linear", 4))


class Shaped:
    """A network that tells what it works on."""

    def __init__(self, latent=(3, 2, 2), null=CLASSES):
        self.latent, self.null = latent, null

    def __call__(self, x, time, y):
        return halved(x, time, y)


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        (Shaped(latent=(4, 2, 2)), "another latents than the first"),
        (Shaped(null=7), "another null class than the first"),
    ],
)
def test_networks_of_other_shapes_are_refused_through_guidance(network, wanted):
    first = NetworkDenoiser(Shaped(), PATHS["linear"], PREDICTIONS["x0"])
    second = NetworkDenoiser(network, PATHS["linear"], PREDICTIONS["x0"])
    with pytest.raises(ConfigError, match=wanted):
        Stitched((first, ClassifierFree(second, 1.5, null=3)), Partition((0.5,)))


def test_a_network_without_a_null_class_fits_one_with():
    nulls = (None, CLASSES)
    pieces = (NetworkDenoiser(Shaped(null=n), PATHS["linear"], PREDICTIONS["x0"]) for n in nulls)
    assert Stitched(tuple(pieces), Partition((0.5,))).path == PATHS["linear"]


def test_other_predictions_stitch_but_do_not_mix_what_only_one_of_them_knows():
    large = NetworkDenoiser(network, PATHS["discrete-vp"], LearnedRange())
    small = other("discrete-vp", "eps")
    one = Stitched((large, small), Partition((0.5,)))
    x, _ = start([0, 1])
    y = torch.tensor([0, 1])
    noisy = torch.full((2,), 0.8, dtype=torch.float64)
    assert one(x, noisy, y) is not None
    with pytest.raises(ConfigError, match="with and without var_mix"):
        one(x, torch.tensor([0.2, 0.8], dtype=torch.float64), y)
    guided = replace(ClassifierFree(one, 2.0, null=CLASSES))
    grid = grid_for("discrete-vp", 4)
    assert last(Ancestral()(guided, x, y, grid, start([0, 1])[1])).isfinite().all()
