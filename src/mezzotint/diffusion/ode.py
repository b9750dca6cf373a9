"""Ordinary differential equations over batches: Runge-Kutta rules and fixed steps.

    state <- state + dt sum_i w_i k_i,   k_i = field(t + c_i dt, state + dt sum_j a_ij k_j)

A state is a tuple of tensors with a leading batch; every row has a time of its own, so an image's
steps need not depend on its neighbours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.estimate import fit

State = tuple[Tensor, ...]
Field = Callable[[Float[Tensor, "b"], State], State]


@runtime_checkable
class Rule(Protocol):
    """An explicit Runge-Kutta rule.

    Attributes:
        nodes: c_i of the evaluations after the first.
        rows: a_ij of each of them.
        weights: w_i of all evaluations.
    """

    nodes: ClassVar[tuple[float, ...]]
    rows: ClassVar[tuple[tuple[float, ...], ...]]
    weights: ClassVar[tuple[float, ...]]


@dataclass(frozen=True)
class Euler:
    """One evaluation, first order."""

    nodes: ClassVar[tuple[float, ...]] = ()
    rows: ClassVar[tuple[tuple[float, ...], ...]] = ()
    weights: ClassVar[tuple[float, ...]] = (1.0,)


@dataclass(frozen=True)
class Midpoint:
    """Two evaluations, second order."""

    nodes: ClassVar[tuple[float, ...]] = (1 / 2,)
    rows: ClassVar[tuple[tuple[float, ...], ...]] = ((1 / 2,),)
    weights: ClassVar[tuple[float, ...]] = (0.0, 1.0)


@dataclass(frozen=True)
class Heun2:
    """The trapezoidal rule: two evaluations, second order."""

    nodes: ClassVar[tuple[float, ...]] = (1.0,)
    rows: ClassVar[tuple[tuple[float, ...], ...]] = ((1.0,),)
    weights: ClassVar[tuple[float, ...]] = (1 / 2, 1 / 2)


@dataclass(frozen=True)
class Heun3:
    """Heun's rule of third order, three evaluations."""

    nodes: ClassVar[tuple[float, ...]] = (1 / 3, 2 / 3)
    rows: ClassVar[tuple[tuple[float, ...], ...]] = ((1 / 3,), (0.0, 2 / 3))
    weights: ClassVar[tuple[float, ...]] = (1 / 4, 0.0, 3 / 4)


@dataclass(frozen=True)
class RK4:
    """Kutta's 3/8 rule, fourth order, four evaluations; what torchdiffeq calls rk4."""

    nodes: ClassVar[tuple[float, ...]] = (1 / 3, 2 / 3, 1.0)
    rows: ClassVar[tuple[tuple[float, ...], ...]] = ((1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0))
    weights: ClassVar[tuple[float, ...]] = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def moved(
    state: State, dt: Float[Tensor, "b"], weights: Sequence[float], slopes: Sequence[State]
) -> State:
    """Return state + sum of (dt weight) slope, rounded in torchdiffeq's order."""
    result = []
    for index, each in enumerate(state):
        gains = fit(dt, each)[..., None] * each.new_tensor(weights)
        total = (torch.stack([k[index] for k in slopes], dim=-1) * gains).sum(-1)
        result.append(each + total)
    return tuple(result)


def stages(
    rule: Rule,
    field: Field,
    t: Float[Tensor, "b"],
    state: State,
    dt: Float[Tensor, "b"],
    first: State,
) -> list[State]:
    """Return the slopes of one step, of which the first is known."""
    slopes = [first]
    for node, row in zip(rule.nodes, rule.rows, strict=True):
        # The end is one sum, not a product and a sum, so that neighbouring steps meet exactly.
        time = t + dt if node == 1 else t + node * dt
        slopes.append(field(time, moved(state, dt, row, slopes)))
    return slopes


def fixed(rule: Rule, field: Field, state: State, times: Float[Tensor, "times"]) -> Iterator[State]:
    """Yield the state at every time after the first, one step an interval."""
    rows = len(state[0])
    for here, there in pairwise(times):
        t, dt = here.expand(rows), (there - here).expand(rows)
        slopes = stages(rule, field, t, state, dt, field(t, state))
        state = moved(state, dt, rule.weights, slopes)
        yield state
