"""Grids against their formulas, and what they refuse."""

import pytest
import torch

from mezzotint.diffusion.dpm import Equal, Fast, Nested
from mezzotint.diffusion.grids import Even, Karras, LogSNR, Respaced, Shifted, Strided
from mezzotint.diffusion.paths import ContinuousVP, Cosine, DiscreteVP, Linear, log_snr
from mezzotint.errors import ConfigError

PATHS = [DiscreteVP(), ContinuousVP(), Linear(), Cosine()]
GRIDS = [Even(), Even(tail=0.04), Shifted(), Karras(), LogSNR(start=0.99), Nested(), Strided()]


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_grid_descends_within_the_clock(grid, path):
    if isinstance(grid, Strided) and not isinstance(path, DiscreteVP):
        pytest.skip("for chains")
    if isinstance(grid, Nested) and isinstance(path, Linear | Cosine):
        grid = Nested(LogSNR(start=0.99))
    times = grid(path, 10)
    assert times.dtype == torch.float64
    assert len(times) == 11
    assert (times.diff() < 0).all()
    assert times[0] <= 1
    assert times[-1] >= 0


def kept(grid, steps: int, chain: DiscreteVP | None = None) -> list[int]:
    chain = chain or DiscreteVP()
    times = grid(chain, steps)
    assert times[-1] == 0
    return [round(t * chain.steps) - 1 for t in times[:-1].flip(0).tolist()]


def test_respacing_rounds_as_released():
    assert kept(Respaced(), 50)[:4] == [0, 20, 41, 61]
    assert kept(Respaced(), 50)[-1] == 999
    assert kept(Respaced(), 1000) == list(range(1000))
    assert kept(Strided(), 25) == list(range(0, 1000, 40))
    # 2.5 and 7.5 go to even neighbours.
    assert kept(Respaced(), 5, DiscreteVP(steps=31)) == [0, 8, 15, 22, 30]
    sections = kept(Respaced((2, 1, 3)), 6, DiscreteVP(steps=100))
    assert sections == [0, 33, 34, 67, 83, 99]


def test_respacing_refuses_in_one_line():
    with pytest.raises(ConfigError, match="needs a discrete chain, and the path is Linear"):
        Respaced()(Linear(), 10)
    with pytest.raises(ConfigError, match="cannot keep 2000"):
        Respaced()(DiscreteVP(), 2000)
    with pytest.raises(ConfigError, match="no whole stride keeps"):
        Strided()(DiscreteVP(), 999)
    with pytest.raises(ConfigError, match="steps 10: sections"):
        Respaced((3, 4))(DiscreteVP(), 10)
    with pytest.raises(ConfigError, match="infinite there"):
        LogSNR()(Linear(), 10)


def test_formulas():
    assert Even(tail=0.1)(Linear(), 4).tolist() == pytest.approx([1, 0.7, 0.4, 0.1, 0])
    assert float(Shifted(3.0)(Linear(), 2)[1]) == pytest.approx(0.75, abs=1e-12)
    ratios = torch.exp(-log_snr(ContinuousVP(), Karras()(ContinuousVP(), 3)[:-1]))
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert ratios.tolist() == pytest.approx([80, middle, 0.002], rel=1e-9)
    lambdas = log_snr(ContinuousVP(), LogSNR(end=0.01)(ContinuousVP(), 5))
    assert torch.allclose(lambdas.diff(), lambdas.diff()[0].expand(5), rtol=1e-9)


def test_plans_sum_up():
    assert Fast().orders(10) == (3, 3, 3, 1)
    assert Fast().orders(11) == (3, 3, 3, 2)
    assert Fast().orders(12) == (3, 3, 3, 2, 1)
    assert Fast().orders(50) == (3,) * 16 + (2,)
    assert Fast(2).orders(11) == (2,) * 5 + (1,)
    assert Equal(3).orders(12) == (3,) * 4
    assert all(sum(Fast().orders(n)) == n for n in range(1, 60))
    with pytest.raises(ConfigError, match="orders 1, 2 and 3"):
        Fast(4)


def test_a_nested_grid_divides_lambda():
    times = Nested(LogSNR(end=1e-3), Equal(3))(ContinuousVP(), 6)
    lambdas = log_snr(ContinuousVP(), times)
    assert torch.allclose(lambdas.diff(), lambdas.diff()[0].expand(6), rtol=1e-8)
