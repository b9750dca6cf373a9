"""Adaptive steps: Dormand and Prince's rule with a bound on the error of each step.

    norm((y5 - y4) / (atol + rtol max(|y|, |y'|))) <= 1

Each row of a batch has its own time and step, unless they are asked to share one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mezzotint.diffusion.estimate import fit
from mezzotint.diffusion.ode import Field, State, moved, stages
from mezzotint.errors import NumericError


@dataclass(frozen=True)
class DormandPrince:
    """The fifth-order rule of Dormand and Prince, with Shampine's constants.

    Attributes:
        errors: weights of the difference to the fourth-order solution.
        middle: weights of the state half-way, for interpolation.
    """

    nodes: ClassVar[tuple[float, ...]] = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
    rows: ClassVar[tuple[tuple[float, ...], ...]] = (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    )
    weights: ClassVar[tuple[float, ...]] = (
        *(35 / 384, 0.0, 500 / 1113),
        *(125 / 192, -2187 / 6784, 11 / 84),
    )
    errors: ClassVar[tuple[float, ...]] = (
        *(35 / 384 - 1951 / 21600, 0.0, 500 / 1113 - 22642 / 50085, 125 / 192 - 451 / 720),
        *(-2187 / 6784 + 12231 / 42400, 11 / 84 - 649 / 6300, -1 / 60),
    )
    middle: ClassVar[tuple[float, ...]] = (
        *(6025192743 / 30085553152 / 2, 0.0, 51252292925 / 65400821598 / 2),
        *(-2691868925 / 45128329728 / 2, 187940372067 / 1594534317056 / 2),
        *(-1776094331 / 19743644256 / 2, 11237099 / 235043384 / 2),
    )


@dataclass(frozen=True)
class Tolerance:
    """When an adaptive step is good enough: norm(error / (atol + rtol |state|)) <= 1.

    Args:
        relative, absolute: the bounds.
        joint: one norm, hence one step, for the whole batch; else every row has its own.
    """

    relative: float
    absolute: float
    joint: bool

    def norm(self, values: State, sizes: State) -> Float[Tensor, "b"]:
        """Return the largest root mean square over the parts of the state, float64 on the CPU."""
        if self.joint:
            return self._joint_norm(values, sizes)
        parts = [
            (value / (self.absolute + self.relative * size)).square().flatten(1).mean(1)
            if value.dim() > 1
            else (value / (self.absolute + self.relative * size)).square()
            for value, size in zip(values, sizes, strict=True)
        ]
        return torch.stack(parts).double().cpu().sqrt().amax(0)

    def _joint_norm(self, values: State, sizes: State) -> Float[Tensor, "b"]:
        """Return the norm over the whole batch, rounded as torchdiffeq rounds it."""
        kind = self.kind(values)
        absolute, relative = torch.tensor([self.absolute, self.relative]).to(kind)
        parts = []
        for value, size in zip(values, sizes, strict=True):
            scaled = value / (absolute + relative * size.to(kind))
            parts.append(scaled.abs().pow(2).mean().sqrt().double().cpu())
        return torch.stack(parts).amax().expand(len(values[0]))

    def kind(self, state: State) -> torch.dtype:
        """Return the precision of norms: torchdiffeq's is float64 for a state of several parts."""
        precise = len(state) > 1 or not self.joint
        return torch.float64 if precise else state[0].dtype


class _Stretch(NamedTuple):
    """The last accepted step of each row: where it lies, and its quartic."""

    start: Float[Tensor, "b"]
    end: Float[Tensor, "b"]
    powers: tuple[State, ...]

    def at(self, time: Float[Tensor, ""]) -> State:
        """Interpolate."""
        width = self.end - self.start
        place = torch.where(width > 0, (time - self.start) / width, 0.0)
        result = self.powers[-1]
        for power in reversed(self.powers[:-1]):
            result = tuple(c + fit(place, c) * r for c, r in zip(power, result, strict=True))
        return result


def adaptive(
    field: Field,
    state: State,
    times: Float[Tensor, "times"],
    tolerance: Tolerance,
    *,
    overshoot: bool,
) -> Iterator[State]:
    """Yield the state at every time after the first, by Dormand-Prince steps of adapted size.

    Args:
        field: the derivative.
        state: at `times[0]`.
        times: in either direction.
        tolerance: what is good enough.
        overshoot: let the last step pass the last time and interpolate, as torchdiffeq does.

    Raises:
        NumericError: no step is small enough.
    """
    sign = 1.0 if times[-1] > times[0] else -1.0
    clock = sign * times

    def rate(u: Float[Tensor, "b"], now: State) -> State:
        return tuple(sign * each for each in field(sign * u, now))

    u = clock[0].expand(len(state[0])).clone()
    slope = rate(u, state)
    reach = math.inf if overshoot else float(clock[-1] - clock[0]) / 10
    dt = _first_step(rate, u, state, slope, tolerance, reach=reach)
    stretch = _Stretch(u, u, (state,))
    for target in clock[1:]:
        while bool((behind := u < target).any()):
            step = dt if overshoot else torch.minimum(dt, clock[-1] - u).clamp(min=0)
            _check(u, step, behind, sign)
            slopes = stages(DormandPrince(), rate, u, state, step, slope)
            after = moved(state, step, DormandPrince.weights, slopes)
            slopes.append(rate(u + step, after))
            error = moved(tuple(map(torch.zeros_like, state)), step, DormandPrince.errors, slopes)
            ratio = tolerance.norm(error, _larger(state, after))
            taken = behind & (ratio <= 1)
            tried = _Stretch(u, u + step, _quartic(state, after, slopes, step))
            stretch = _either(taken, tried, stretch)
            state, slope = _rows(taken, after, state), _rows(taken, slopes[-1], slope)
            u = torch.where(taken, _landed(u, step, clock[-1]), u)
            dt = torch.where(behind, step * _growth(ratio), dt)
        yield stretch.at(target)


def _landed(
    u: Float[Tensor, "b"], step: Float[Tensor, "b"], end: Float[Tensor, ""]
) -> Float[Tensor, "b"]:
    """Return u + step, exactly the end where it is as good as there."""
    ahead = u + step
    return torch.where((ahead - end).abs() < 1e-12, end, ahead)


def _check(u: Tensor, step: Tensor, behind: Bool[Tensor, "b"], sign: float) -> None:
    stuck = behind & ~(u + step > u)
    if bool(stuck.any()):
        where = sign * float(u[stuck][0])
        raise NumericError(
            f"adaptive solver: no step is small enough at t = {where:.6g}; "
            "the derivative is not finite there; end the grid a little earlier"
        )


def _growth(ratio: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Return the next step's factor, 0.9 ratio^(-1/5) in [0.2, 10]; at least 1 after a success."""
    least = torch.where(ratio < 1, 1.0, 0.2)
    factor = torch.maximum(0.9 / ratio.nan_to_num(nan=1e30) ** 0.2, least)
    return factor.clamp(max=10.0)


def _first_step(
    rate: Field,
    u: Float[Tensor, "b"],
    state: State,
    slope: State,
    tolerance: Tolerance,
    *,
    reach: float,
) -> Float[Tensor, "b"]:
    """Guess a first step of at most `reach` (Hairer, Norsett & Wanner, Solving ODEs I, II.4)."""
    sizes = tuple(each.abs() for each in state)
    d0, d1 = tolerance.norm(state, sizes), tolerance.norm(slope, sizes)
    kind = tolerance.kind(state)
    d0, d1 = d0.to(kind), d1.to(kind)
    h0 = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1).clamp(max=reach)
    ahead = rate(u + h0.double(), moved(state, h0, (1.0,), [slope]))
    bend = tuple(a - b for a, b in zip(ahead, slope, strict=True))
    d2 = tolerance.norm(bend, sizes).to(kind) / h0
    steep = torch.maximum(d1, d2)
    h1 = torch.where(steep <= 1e-15, (h0 * 1e-3).clamp(min=1e-6), (0.01 / steep) ** 0.2)
    return torch.minimum(100 * h0, h1).double()


def _quartic(
    before: State, after: State, slopes: Sequence[State], dt: Float[Tensor, "b"]
) -> tuple[State, ...]:
    """Return the powers 0..4 of the polynomial through both ends, their slopes, and the middle."""
    middle = moved(before, dt, DormandPrince.middle, slopes)
    powers = []
    for y0, y1, mid, k0, k1 in zip(before, after, middle, slopes[0], slopes[-1], strict=True):
        h = fit(dt, y0)
        powers.append(
            (
                y0,
                h * k0,
                h * (k1 - 4 * k0) - 11 * y0 - 5 * y1 + 16 * mid,
                h * (5 * k0 - 3 * k1) + 18 * y0 + 14 * y1 - 32 * mid,
                2 * h * (k1 - k0) - 8 * (y1 + y0) + 16 * mid,
            )
        )
    return tuple(zip(*powers, strict=True))


def _larger(one: State, two: State) -> State:
    return tuple(torch.maximum(a.abs(), b.abs()) for a, b in zip(one, two, strict=True))


def _rows(taken: Bool[Tensor, "b"], yes: State, no: State) -> State:
    """Choose per row between two states."""
    return tuple(torch.where(fit(taken, a), a, b) for a, b in zip(yes, no, strict=True))


def _either(taken: Bool[Tensor, "b"], yes: _Stretch, no: _Stretch) -> _Stretch:
    """Choose per row between two stretches."""
    padded = no.powers + (no.powers[0],) * (len(yes.powers) - len(no.powers))
    powers = tuple(_rows(taken, a, b) for a, b in zip(yes.powers, padded, strict=True))
    ends = torch.where(taken, yes.start, no.start), torch.where(taken, yes.end, no.end)
    return _Stretch(*ends, powers)
