"""The shape checks are on, and see a wrong batch, a wrong type and a wrong shape in a result."""

import os

import pytest
import torch
from jaxtyping import Float, Int, TypeCheckError, jaxtyped
from torch import Tensor

from mezzotint.nn.modulate import modulate
from tests.shapes import check

checked = jaxtyped(typechecker=check)


class Peer:
    """A class that beartype has never seen."""


@checked
def pick(
    x: Float[Tensor, "b c"], y: Int[Tensor, "b"], how: "Peer | None" = None
) -> Float[Tensor, "b"]:
    return x.gather(1, y[:, None])[:, 0] if how is None else x


def test_right_shapes_pass():
    assert pick(torch.ones(3, 2), torch.zeros(3, dtype=torch.int64)).shape == (3,)


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.ones(3, 2), torch.zeros(2, dtype=torch.int64)),
        (torch.ones(3, 2), torch.zeros(3)),
        (torch.ones(3), torch.zeros(3, dtype=torch.int64)),
        (torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), Peer()),
    ],
    ids=["batch", "type", "rank", "result"],
)
def test_wrong_shapes_do_not(arguments):
    with pytest.raises(TypeCheckError):
        pick(*arguments)


@checked
def grid(steps: int) -> Float[Tensor, "n+1"]:
    return torch.ones(steps + 1)


def test_a_sum_is_left_to_the_reader():
    assert len(grid(3)) == 4


@pytest.mark.skipif(os.environ.get("MEZZOTINT_SHAPES") == "0", reason="shape checks are off")
def test_the_package_is_checked():
    assert hasattr(modulate, "__wrapped__")
