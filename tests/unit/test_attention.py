"""Attention by its formula and by PyTorch's kernel are one function."""

import pytest
import torch
from torch.nn import functional

from mezzotint.nn import attention
from mezzotint.noise import SeededNoise


def rows(dtype: torch.dtype, count: int = 12) -> list[torch.Tensor]:
    shape = torch.empty(2, 3, count, 8)
    return [SeededNoise([k, k + 1])(shape).to(dtype).requires_grad_() for k in (0, 10, 20)]


def test_in_bfloat16_a_training_step_has_the_kernel_s_values_and_gradients():
    ours, theirs = rows(torch.bfloat16), rows(torch.float32)
    mixed, wanted = attention.attend(*ours), functional.scaled_dot_product_attention(*theirs)
    torch.testing.assert_close(mixed.float(), wanted, atol=0.03, rtol=0.03)
    mixed.float().square().sum().backward()
    wanted.square().sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad.float(), other.grad, atol=0.15, rtol=0.05)


@pytest.mark.parametrize(
    ("dtype", "count", "free", "fused"),
    [
        (torch.float32, 12, True, True),
        (torch.bfloat16, 12, False, True),
        (torch.bfloat16, 257, True, True),
        (torch.bfloat16, 12, True, False),
    ],
)
def test_the_kernel_is_left_only_where_it_is_slow(monkeypatch, dtype, count, free, fused):
    asked = []
    kernel = functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.functional,
        "scaled_dot_product_attention",
        lambda *given, **options: asked.append(1) or kernel(*given, **options),
    )
    attention.attend(*(row.detach().requires_grad_(free) for row in rows(dtype, count)))
    assert bool(asked) == fused
