"""Solvers of the probability-flow equation dx/dt = alpha' x0 + sigma' eps, both ways.

From noise to data they are samplers; from data to noise they encode, and with the divergence along
they measure likelihood. Song et al., arXiv 2011.13456, section 4.3; SiT, arXiv 2401.08740.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mezzotint.config import part
from mezzotint.diffusion.adaptive import Tolerance, adaptive
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.ode import RK4, Field, Rule, State, fixed
from mezzotint.diffusion.samplers import DDIM, Sampler, Step, points, pushed
from mezzotint.noise import Noise


class Flow:
    """The velocity field of a denoiser; remembers its last estimate.

    Args:
        denoiser: what to follow.
        y: conditions.
    """

    def __init__(self, denoiser: Denoiser, y: Shaped[Tensor, "b ..."]) -> None:
        self.denoiser = denoiser
        self.y = y
        self.estimate: Estimate | None = None

    def __call__(self, t: Float[Tensor, "b"], state: State) -> State:
        """Return (alpha' x0 + sigma' eps,) at a state of one tensor."""
        (x,) = state
        path = self.denoiser.path
        # sigma' is infinite at the clean end of a variance-preserving path; the velocity is not.
        t = torch.where(path.scales(t).d_sigma.isfinite(), t, t + 1e-9)
        estimate = self.denoiser(x, t, self.y)
        # An estimate may be more precise than the state.
        scales = path.at(t, estimate.x0)
        self.estimate = pushed(estimate, scales)
        velocity = scales.d_alpha * self.estimate.x0 + scales.d_sigma * self.estimate.eps
        return (velocity.to(x.dtype),)


@runtime_checkable
class Integrator(Protocol):
    """A way to integrate any derivative over a grid."""

    def integrate(
        self, field: Field, state: State, grid: Float[Tensor, "times"]
    ) -> Iterator[State]:
        """Yield the state at every time after the first."""
        ...


def _walk(
    integrator: Integrator, flow: Flow, x: Float[Tensor, "b ..."], grid: Float[Tensor, "times"]
) -> Iterator[Step]:
    """Yield a step for every interval; its estimate is that of the last evaluation."""
    states = integrator.integrate(flow, (x,), grid)
    for time, (reached,) in zip(grid[1:].tolist(), states, strict=True):
        assert flow.estimate is not None, "an integrator evaluates before it yields"
        yield Step(time, reached, flow.estimate)


_RULE: Final = RK4()


@dataclass(frozen=True)
class RungeKutta:
    """A fixed-step rule for the velocity in t; the grid is the step grid.

    Args:
        rule: euler, midpoint, heun2, heun3 or rk4.
        land: take x0 in the step that ends where sigma is 0, for networks that say nothing there;
            SiT's release asks its velocity networks at t = 0 too.
    """

    rule: Annotated[Rule, part("rule")] = _RULE
    land: bool = True

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        cut = len(grid)
        if self.land and points(denoiser.path, grid[-1:])[0].sigma == 0:
            cut -= 1
        for step in _walk(self, Flow(denoiser, y), x, grid[:cut]):
            x = step.x
            yield step
        if cut < len(grid):
            yield from DDIM()(denoiser, x, y, grid[cut - 1 :], noise)

    def integrate(
        self, field: Field, state: State, grid: Float[Tensor, "times"]
    ) -> Iterator[State]:
        """Yield the state at every time after the first."""
        return fixed(self.rule, field, state, grid)


@dataclass(frozen=True)
class Dopri5:
    """Adaptive steps of Dormand and Prince's fifth-order rule; the grid says where to report.

    Args:
        rtol, atol: relative and absolute tolerance of a step.
        joint: one step size for the whole batch, as torchdiffeq has, so that an image depends on
            its neighbours; else each image has its own.
        overshoot: pass the last time and interpolate, as torchdiffeq does; else land on it.
    """

    rtol: float = 1e-3
    atol: float = 1e-6
    joint: bool = False
    overshoot: bool = False

    def __call__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "b ..."],
        y: Shaped[Tensor, "b ..."],
        grid: Float[Tensor, "times"],
        noise: Noise,  # noqa: ARG002, a deterministic sampler
    ) -> Iterator[Step]:
        """Yield a step for every interval of the grid."""
        return _walk(self, Flow(denoiser, y), x, grid)

    def integrate(
        self, field: Field, state: State, grid: Float[Tensor, "times"]
    ) -> Iterator[State]:
        """Yield the state at every time after the first."""
        tolerance = Tolerance(self.rtol, self.atol, self.joint)
        return adaptive(field, state, grid, tolerance, overshoot=self.overshoot)


def encode(
    denoiser: Denoiser,
    x: Float[Tensor, "b ..."],
    y: Shaped[Tensor, "b ..."],
    grid: Float[Tensor, "times"],
    *,
    sampler: Sampler | None = None,
) -> Iterator[Step]:
    """Walk a deterministic sampler backwards, from data to noise.

    Args:
        denoiser: what to follow.
        x: the data, taken to lie at `grid[-1]`; that time must be one that the network knows.
        y: conditions.
        grid: descending times, as for sampling.
        sampler: DDIM at eta 0 by default: the reverse of Song et al., arXiv 2010.02502, 4.3.
    """
    return (sampler or DDIM())(denoiser, x, y, grid.flip(0), _silent)


def _silent(like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    raise AssertionError(f"encoding draws no noise; asked for {tuple(like.shape)}")


def log_likelihood(
    denoiser: Denoiser,
    x: Float[Tensor, "b ..."],
    y: Shaped[Tensor, "b ..."],
    grid: Float[Tensor, "times"],
    *,
    probe: Noise,
    solver: Integrator,
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b ..."]]:
    """Return log p(x) in nats an image, and the noise that x flows to.

        log p(x) = log N(z; 0, 1) + integral of div v dt from data to noise

    with the divergence estimated as e^T d(v e)/dx for random signs e (Hutchinson). Song et al.,
    arXiv 2011.13456, eq. 39.

    Args:
        denoiser: what to follow.
        x: the data, at `grid[-1]`.
        y: conditions.
        grid: descending times.
        probe: the signs of its draws are e, anew at every evaluation.
        solver: RungeKutta or Dopri5.
    """
    flow = Flow(denoiser, y)

    def field(t: Float[Tensor, "b"], state: State) -> State:
        with torch.enable_grad():
            place = state[0].detach().requires_grad_()
            signs = probe(place).sign()
            (velocity,) = flow(t, (place,))
            (slope,) = torch.autograd.grad((velocity * signs).sum(), place)
        return velocity.detach(), (slope * signs).flatten(1).sum(1)

    *_, (z, gained) = solver.integrate(field, (x, x.new_zeros(len(x))), grid.flip(0))
    normal = -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)
    return normal + gained, z
