"""DPM-Solver and DPM-Solver++: exponential integrators in lambda = log(alpha / sigma).

    x_u = alpha_u x0_s + sigma_u eps_s + corrections from differences of the target

The first-order move is the same whether the noise or the clean image is integrated; the corrections
differ. Lu et al., arXiv 2206.00927 and 2211.01095, in the form of U-ViT's release.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mezzotint.config import part
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.exponential import Classic, Correction, Data, Gains, Target
from mezzotint.diffusion.grids import Even, Grid
from mezzotint.diffusion.paths import Path, log_snr
from mezzotint.diffusion.samplers import Point, Step, evaluate, points, pushed
from mezzotint.errors import ConfigError
from mezzotint.noise import Noise


@runtime_checkable
class Plan(Protocol):
    """How a number of evaluations is dealt out to steps of order 1 to 3."""

    def orders(self, evaluations: int) -> tuple[int, ...]:
        """Return orders that sum to `evaluations`."""
        ...


@dataclass(frozen=True)
class Fast:
    """Steps of the highest order, and lower ones at the end (DPM-Solver, appendix D.3).

    Args:
        order: 1, 2 or 3.
    """

    order: int = 3

    def __post_init__(self) -> None:
        _check_order(self.order)

    def orders(self, evaluations: int) -> tuple[int, ...]:
        """Return orders that sum to `evaluations`; a third-order plan never ends in a 3."""
        count, rest = divmod(evaluations, self.order)
        if self.order == 3 and rest == 0 and count:
            return (3,) * (count - 1) + (2, 1)
        return (self.order,) * count + (rest,) * (rest > 0)


@dataclass(frozen=True)
class Equal:
    """Steps of one order, and a shorter one for what is left.

    Args:
        order: 1, 2 or 3.
    """

    order: int = 3

    def __post_init__(self) -> None:
        _check_order(self.order)

    def orders(self, evaluations: int) -> tuple[int, ...]:
        """Return orders that sum to `evaluations`."""
        count, rest = divmod(evaluations, self.order)
        return (self.order,) * count + (rest,) * (rest > 0)


def _check_order(order: int) -> None:
    if order not in {1, 2, 3}:
        raise ConfigError(f"order {order}: DPM-Solver has orders 1, 2 and 3")


_OUTER: Final = Even(end=1e-3)
_DATA: Final = Data()
_CLASSIC: Final = Classic()


@dataclass(frozen=True)
class Nested:
    """A grid of solver steps with their inner evaluations between, evenly spaced in lambda.

    Called with a number of evaluations. With log-snr steps it is the first DPM-Solver's grid, with
    even steps that of the "singlestep" method.

    Args:
        outer: where the steps begin and end.
        plan: their orders.
    """

    outer: Annotated[Grid, part("grid")] = _OUTER
    plan: Annotated[Plan, part("plan")] = Fast()

    def __call__(self, path: Path, steps: int) -> Float[Tensor, "times"]:
        """Return `steps` + 1 descending times."""
        orders = self.plan.orders(steps)
        edges = self.outer(path, len(orders))
        lambdas = log_snr(path, edges)
        times = [edges[:1]]
        for index, order in enumerate(orders):
            parts = torch.arange(1, order, dtype=torch.float64) / order
            inner = torch.lerp(lambdas[index], lambdas[index + 1], parts)
            times += [path.time_of(inner), edges[index + 1 : index + 2]]
        return torch.cat(times)


class Node(NamedTuple):
    """A point of the path and its lambda."""

    point: Point
    lamda: float


def _nodes(path: Path, grid: Float[Tensor, "times"]) -> list[Node]:
    return [
        Node(*pair) for pair in zip(points(path, grid), log_snr(path, grid).tolist(), strict=True)
    ]


def _first_order(estimate: Estimate, there: Point) -> Float[Tensor, "b ..."]:
    return there.alpha * estimate.x0 + there.sigma * estimate.eps


@dataclass(frozen=True)
class DPMSolver:
    """The single-step solver: a step of order k spans k intervals of the grid.

    Its inner evaluations are the grid's own times. Intervals that touch an infinite lambda (t = 0,
    or t = 1 of a flow) are steps of order 1. No history: it may be cut between steps.

    Args:
        plan: the orders of the steps.
        target: data (++) or noise.
        correction: the papers' terms or Taylor's.
    """

    plan: Annotated[Plan, part("plan")] = Fast()
    target: Annotated[Target, part("target")] = _DATA
    correction: Annotated[Correction, part("correction")] = _CLASSIC

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,  # noqa: ARG002, a deterministic sampler
    ) -> Iterator[Step]:
        """Yield a step for every step of the plan."""
        nodes = _nodes(denoiser.path, grid)
        start = 0
        for order in self._orders(nodes):
            stretch = nodes[start : start + order + 1]
            x, estimate = self._step(denoiser, x, y, stretch)
            start += order
            yield Step(stretch[-1].point.t, x, estimate)

    def _orders(self, nodes: list[Node]) -> tuple[int, ...]:
        head = (1,) * math.isinf(nodes[0].lamda)
        tail = (1,) * (math.isinf(nodes[-1].lamda) and len(nodes) > 1 + len(head))
        return head + self.plan.orders(len(nodes) - 1 - len(head) - len(tail)) + tail

    def _step(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        nodes: list[Node],
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Walk from the first node to the last, evaluating at all but the last."""
        (here, start), *inner, (there, end) = nodes
        estimate = pushed(evaluate(denoiser, x, here.t, y), here)
        after = _first_order(estimate, there)
        pairs: list[tuple[float, Tensor]] = []
        for point, lamda in inner:
            moved = _first_order(estimate, point)
            if pairs:
                gains = self.target.gains(point, lamda - start)
                moved = moved + gains.second * (self._ratio(lamda, start, end) * pairs[-1][1])
            found = pushed(evaluate(denoiser, moved, point.t, y), point)
            pairs.append(self._slope(estimate, found, self._ratio(lamda, start, end)))
        if pairs:
            gains = self.target.gains(there, end - start)
            after = after + self._corrected(gains, pairs)
        return after, estimate

    def _ratio(self, lamda: float, start: float, end: float) -> float:
        return (lamda - start) / (end - start)

    def _slope(self, base: Estimate, found: Estimate, ratio: float) -> tuple[float, Tensor]:
        return ratio, (self.target.value(found) - self.target.value(base)) / ratio

    def _corrected(self, gains: Gains, pairs: list[tuple[float, Tensor]]) -> Float[Tensor, "b ..."]:
        if len(pairs) == 1:
            return self.correction.second(gains, pairs[0][1])
        return self.correction.third(gains, *pairs)


@dataclass(frozen=True)
class DPMSolverMultistep:
    """The multistep solver: one evaluation an interval, corrected by those before.

    Lower orders start it; an interval that touches an infinite lambda is a step of order 1. It has
    a history, so a grid must be walked in one piece.

    Args:
        order: 1, 2 or 3.
        target: data (++) or noise.
        correction: the papers' second-order term or Taylor's.
    """

    order: int = 2
    target: Annotated[Target, part("target")] = _DATA
    correction: Annotated[Correction, part("correction")] = _CLASSIC

    def __post_init__(self) -> None:
        _check_order(self.order)

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,  # noqa: ARG002, a deterministic sampler
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        past: list[tuple[float, Tensor]] = []
        for (here, start), (there, end) in pairwise(_nodes(denoiser.path, grid)):
            estimate = pushed(evaluate(denoiser, x, here.t, y), here)
            x = _first_order(estimate, there)
            h = end - start
            if math.isfinite(h):
                past = [(start, self.target.value(estimate)), *past][: self.order]
                x = x + self._correction(self.target.gains(there, h), h, past)
            yield Step(there.t, x, estimate)

    def _correction(
        self, gains: Gains, h: float, past: list[tuple[float, Tensor]]
    ) -> Float[Tensor, "b ..."] | float:
        """Return what the last evaluations add, from none to two of them."""
        slopes = [
            (h / (new - old), (one - two) * (h / (new - old)))
            for (new, one), (old, two) in pairwise(past)
        ]
        if not slopes:
            return 0.0
        if len(slopes) == 1:
            return self.correction.second(gains, slopes[0][1])
        (near, d1), (far, d2) = slopes
        r0, r1 = 1 / near, 1 / far
        bend = (d1 - d2) / (r0 + r1)
        return gains.second * (d1 + r0 * bend) + gains.third * bend
