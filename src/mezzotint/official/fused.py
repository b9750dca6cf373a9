"""Projections to queries, keys and values: three tensors in some releases, one of ours."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.official.renames import State


def fused(state: Mapping[str, Tensor], parts: tuple[str, str, str], whole: str) -> State:
    """Return a state in which the three tensors of each layer are one below the other.

    Args:
        state: names to tensors.
        parts: what tells queries, keys and values apart in their names.
        whole: what stands in the name of the one.
    """
    first, *others = parts
    result: State = {}
    for name, tensor in state.items():
        if first in name:
            rows = [tensor, *(state[name.replace(first, other)] for other in others)]
            result[name.replace(first, whole)] = torch.cat(rows)
        elif not any(other in name for other in others):
            result[name] = tensor
    return result


def parted(state: Mapping[str, Tensor], parts: tuple[str, str, str], whole: str) -> State:
    """Return a state in which the one tensor of each layer is three; the inverse of `fused`."""
    result: State = {}
    for name, tensor in state.items():
        if whole in name:
            names = (name.replace(whole, part) for part in parts)
            result.update(zip(names, tensor.chunk(3), strict=True))
        else:
            result[name] = tensor
    return result
