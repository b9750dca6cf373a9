"""Pairs of channels that are turned by angles."""

import pytest
import torch

from mezzotint.nn.rotary import turned


def by_hand(x, angles):
    """Turn pair by pair, in plain numbers."""
    result = x.to(angles.dtype).clone()
    for pair in range(angles.shape[-1]):
        first, second = result[..., 2 * pair].clone(), result[..., 2 * pair + 1].clone()
        cos, sin = angles[..., pair].cos(), angles[..., pair].sin()
        result[..., 2 * pair] = first * cos - second * sin
        result[..., 2 * pair + 1] = first * sin + second * cos
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "pairs"), [(8, 4), (8, 2), (7, 3), (5, 0)])
def test_each_pair_turns_by_its_angle(width, pairs, dtype):
    generator = torch.Generator().manual_seed(0)
    # As they are cut out of queries, keys and values: with strides that may be odd.
    qkv = torch.randn(2, 5, 3, 1, width, generator=generator).to(dtype)
    _, k, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    angles = 7 * torch.randn(5, pairs, generator=generator)
    found = turned(k, angles)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.float(), by_hand(k, angles), rtol=1e-6, atol=1e-6)


def test_the_form_for_compilers_turns_as_far_and_so_do_its_gradients(monkeypatch):
    angles = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(1))
    sides = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda answer=compiling: answer)
        x = torch.linspace(-1, 1, 2 * 3 * 6 * 5).view(2, 3, 6, 5).requires_grad_()
        given = angles.clone().requires_grad_()
        out = turned(x, given)
        out.square().mul(torch.arange(5.0)).sum().backward()
        sides.append((out.detach(), x.grad, given.grad))
    for plain, compiled in zip(*sides, strict=True):
        torch.testing.assert_close(plain, compiled, rtol=1e-5, atol=1e-5)
