"""Noise: one generator an image, tapes, and scaled draws."""

import pytest
import torch

from mezzotint.noise import SeededNoise, TapeNoise, mix, scaled


def test_a_row_belongs_to_its_seed():
    like = torch.zeros(3, 2, 4)
    together = SeededNoise([7, 8, 9])
    first, second = together(like), together(like)
    alone = SeededNoise([8])
    assert torch.equal(alone(like[:1])[0], first[1])
    assert torch.equal(alone(like[:1])[0], second[1])
    assert not torch.equal(first, second)


def test_draws_are_standard_normal():
    draws = SeededNoise(range(4))(torch.zeros(4, 20000, dtype=torch.float64))
    assert draws.mean().abs() < 0.02
    assert (draws.std() - 1).abs() < 0.02
    assert torch.corrcoef(draws).fill_diagonal_(0).abs().max() < 0.05


def test_neighbouring_seeds_share_nothing():
    assert len({mix(a, b) for a in range(30) for b in range(30)}) == 900
    assert mix(1, 2) != mix(2, 1)


def test_uniform_draws():
    drawn = SeededNoise(range(500)).uniform()
    assert drawn.dtype == torch.float64
    assert 0 <= float(drawn.min()) < 0.05
    assert 0.95 < float(drawn.max()) < 1


def test_a_count_of_seeds_that_does_not_fit_is_our_mistake():
    with pytest.raises(AssertionError, match="2 seeds but 3 images"):
        SeededNoise([1, 2])(torch.zeros(3, 1))


def test_tapes_and_temperatures():
    tape = torch.arange(6.0).view(3, 2)
    noise = scaled(TapeNoise(tape), 2.0)
    assert noise(torch.zeros(2)).tolist() == [0.0, 2.0]
    assert noise(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64
