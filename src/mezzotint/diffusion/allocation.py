"""Which of several denoisers runs at which step: the rules of T-Stitch, published and official.

    allocate(S, (r, 1 - r)) -> S indices, 0 for the smallest model, noisiest step first

The published material holds six rules that differ by a step here and there; each is an object.
Pan et al., arXiv 2402.14167, and the release NVlabs/T-Stitch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from mezzotint.diffusion.paths import DiscreteVP, Path
from mezzotint.errors import ConfigError

CHAIN: Final = 1000
"""Steps of the chain on whose indices the official rules stand."""
CLOSE: Final = 1e-6
"""What fractions may miss 1 by, and what counts as just below a time."""


@runtime_checkable
class Rule(Protocol):
    """A way to deal steps out by fractions."""

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step.

        Args:
            fractions: one a model, smallest first; they sum to 1.
            clock: of every step, noisiest first, the release's time: index / 1000 in [0, 1).
        """
        ...

    def timesteps(self, num_steps: int) -> Float[Tensor, "steps"]:
        """Return the indices that the rule's own sampler visits, noisiest first."""
        ...


class _Respaced:
    """The indices that DiT's release visits: k 999 / (S - 1), accumulated and rounded."""

    def timesteps(self, num_steps: int) -> Float[Tensor, "steps"]:
        """Return the indices, noisiest first."""
        stride = (CHAIN - 1) / (num_steps - 1) if num_steps > 1 else 1.0
        places = accumulate([0.0, *[stride] * (num_steps - 1)])
        return torch.tensor([float(round(place)) for place in places], dtype=torch.float64).flip(0)


@dataclass(frozen=True)
class Count(_Respaced):
    """Model j runs the steps from round(c_(j-1) S) to round(c_j S), c the running sum.

    The paper's rule (section 3.2), and ours: it counts steps, so it is the same for every sampler,
    grid and path. Halves are rounded to even.
    """

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step."""
        ends = [round(part * len(clock)) for part in accumulate(fractions)]
        last = len(fractions) - 1
        return [next((j for j in range(last) if k < ends[j]), last) for k in range(len(clock))]


@dataclass(frozen=True)
class OfficialPair(_Respaced):
    """Two models: the small one while t / 1000 >= 1 - r, in float64 (`dit/models.py:TStitch`)."""

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step."""
        switch = 1 - _small(fractions, self)
        return [int(not t >= switch) for t in clock.tolist()]


@dataclass(frozen=True)
class OfficialList(_Respaced):
    """Any number: the first j whose running sum 1 - t / 1000 does not exceed (`MultiTStitch`).

    Both sides are float32, so it can differ from the rule of pairs by a step. Where rounding keeps
    the whole sum below the last step the release has no model; here it is the last one.
    """

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step."""
        sums = torch.tensor(fractions, dtype=torch.float32).cumsum(0)
        passed = (1 - clock).to(torch.float32)[:, None] > sums
        found: list[int] = passed.int().cumprod(1).sum(1).clamp(max=len(sums) - 1).tolist()
        return found


@dataclass(frozen=True)
class Official(_Respaced):
    """What the release's DiT scripts do: the rule of pairs for two models, of lists for more."""

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step."""
        chosen = OfficialPair() if len(fractions) == 2 else OfficialList()
        return chosen(fractions, clock)


@dataclass(frozen=True)
class LatentDiffusion:
    """Two models: the small one while t / 1000 > 1 - r, strictly, or always at r = 1.

    `ldm/models/diffusion/ddpm.py:TStitchProxy`; its DDIM visits 1, 1 + c, ... with c = 1000 // S.
    """

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step."""
        small = _small(fractions, self)
        return [int(not (small == 1 or t > 1 - small)) for t in clock.tolist()]

    def timesteps(self, num_steps: int) -> Float[Tensor, "steps"]:
        """Return the indices, noisiest first; more than S where S does not divide 1000."""
        places = range(0, CHAIN, max(CHAIN // num_steps, 1))
        return torch.tensor([place + 1.0 for place in places], dtype=torch.float64).flip(0)


@dataclass(frozen=True)
class Diffusers(_Respaced):
    """Two models: the small one while (k + 1) / S <= r (`tstitch_sd_utils.py:TStitchSD`)."""

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step."""
        small, count = _small(fractions, self), len(clock)
        return [int(not (k + 1) / count <= small) for k in range(count)]


@dataclass(frozen=True)
class LCM(_Respaced):
    """Two models: the small one while k / S <= r, one step more (`tstitch_sd_utils.py:TStitchLCM`).

    At r = 0 it never runs, at r = 1 always.
    """

    def __call__(self, fractions: Sequence[float], clock: Float[Tensor, "steps"]) -> list[int]:
        """Return the index of the model of every step."""
        small, count = _small(fractions, self), len(clock)
        return [int(not (small > 0 and (small == 1 or k / count <= small))) for k in range(count)]


def _small(fractions: Sequence[float], rule: Rule) -> float:
    """Return the fraction of the small one of two models."""
    if len(fractions) != 2:
        raise ConfigError(
            f"{len(fractions)} models: {type(rule).__name__} is a rule for two; take count or "
            "official"
        )
    return fractions[0]


COUNT: Final = Count()


def checked(fractions: Sequence[float]) -> tuple[float, ...]:
    """Return fractions that can be dealt out.

    Raises:
        ConfigError: one is outside [0, 1], or they do not sum to 1.
    """
    found = tuple(float(each) for each in fractions)
    wrong = [each for each in found if not 0 <= each <= 1]
    if wrong:
        raise ConfigError(f"fraction {wrong[0]:g}: expected 0 to 1")
    if not math.isclose(math.fsum(found), 1, rel_tol=0, abs_tol=CLOSE):
        raise ConfigError(f"fractions {found}: sum to {math.fsum(found):g}, expected 1")
    return found


def allocate(
    num_steps: int,
    fractions: Sequence[float],
    rule: Rule = COUNT,
    *,
    timesteps: Real[Tensor, "steps"] | None = None,
) -> Int[Tensor, "steps"]:
    """Return which model runs at every step, noisiest first; 0 is the smallest.

    Args:
        num_steps: S.
        fractions: of the trajectory, one a model, smallest first; they sum to 1.
        rule: how; `Count()` does not depend on the sampler, the others repeat the release.
        timesteps: indices of the chain of 1000 that the sampler visits; the rule's own by default.

    Raises:
        ConfigError: fractions that do not sum to 1, no step, or a rule for two models with others.
    """
    if num_steps < 1:
        raise ConfigError(f"{num_steps} steps; expected at least 1")
    visited = rule.timesteps(num_steps) if timesteps is None else timesteps
    return torch.tensor(rule(checked(fractions), visited.double() / CHAIN), dtype=torch.int64)


def clock(path: Path, grid: Float[Tensor, "times"]) -> Float[Tensor, "steps"]:
    """Return the official rules' time of every step of a grid, float64.

    On a chain of N steps it is index / N. In continuous time there is no index, and it lies just
    below t: a threshold at 1 - r is then the room (1 - r, 1], in float32 as well.

    Args:
        path: whose time.
        grid: descending times; the last one is an end, not a step.
    """
    steps = grid[:-1].double()
    if isinstance(path, DiscreteVP):
        return ((steps * path.steps).round() - 1).clamp(min=0) / path.steps
    return (steps - CLOSE).clamp(min=0)


__all__ = [
    "COUNT",
    "LCM",
    "Count",
    "Diffusers",
    "LatentDiffusion",
    "Official",
    "OfficialList",
    "OfficialPair",
    "Rule",
    "allocate",
    "checked",
    "clock",
]
