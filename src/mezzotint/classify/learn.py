"""Learned times: where the classes differ most surely, and how much that should count.

    p(c | x) ∝ exp(-sum_i g(t_i) error(c, i) / s(t_i))

is a conditional logit in the errors, over s(t), the standard deviation of the paired differences
there, which may fall by orders of magnitude along the way. The gains g, a piecewise linear log g
over t, are fitted by maximum likelihood on labelled images. To estimate sum_t g(t) d(t) / s(t) from
n evaluations, the best share of them at t is proportional to g(t) (Neyman's allocation), and each
then counts as 1 / s(t).
"""

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mezzotint.classify.evidence import Evidence
from mezzotint.classify.times import Listed, spread_order
from mezzotint.errors import DataError

KNOTS: Final = 8
SMOOTH: Final = 0.003
"""Weight of the squared second differences of log g between knots, for where data is few."""
SMALL: Final = 0.003
"""Weight of the squared changes of log g; images that are all told apart ask for infinite ones."""

_TINY: Final = torch.finfo(torch.float64).tiny


def learned(evidence: Evidence, y: Int[Tensor, "n"], count: int) -> Listed:
    """Return times with weights that tell the classes apart best.

    Args:
        evidence: of labelled images that the denoiser has not been trained on, by an exhaustive
            schedule over evenly spaced times.
        y: their classes, as candidates.
        count: how many times are wanted.

    Raises:
        DataError: errors are missing.
    """
    if bool(evidence.errors.isnan().any()):
        raise DataError(
            "learned times: the race has left gaps; take the evidence of schedule=Exhaustive(...)"
        )
    errors = evidence.errors.double() * evidence.elements
    own = errors.gather(1, y[:, None, None].expand(-1, 1, errors.shape[2]))
    rivals = torch.ones(errors.shape[:2], dtype=torch.bool).scatter_(1, y[:, None], False)  # noqa: FBT003
    spread = (errors - own)[rivals].std(0).clamp(min=_TINY)
    gain = _fitted((errors - own) / spread, y, evidence.plan.t)
    return _allocated(evidence.plan.t, gain, spread, count)


def _hats(t: Float[Tensor, "n"]) -> Float[Tensor, "n k"]:
    """Return the weights by which values at the knots are interpolated."""
    place = t * (KNOTS - 1)
    return (1 - (place[:, None] - torch.arange(KNOTS)).abs()).clamp(min=0)


def _fitted(
    differences: Float[Tensor, "n p m"], y: Int[Tensor, "n"], t: Float[Tensor, "m"]
) -> Float[Tensor, "m"]:
    """Return the gains of greatest likelihood."""
    basis = _hats(t)
    # From gains that leave every image in doubt: one that is told apart has nothing to teach.
    largest = differences.mean(2).abs().max().clamp(min=_TINY)
    start = -float(largest.log())
    log_gain = torch.full((KNOTS,), start, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_gain], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        logits = -(differences * (basis @ log_gain).exp()).mean(2)
        bent = log_gain[2:] - 2 * log_gain[1:-1] + log_gain[:-2]
        cost = cross_entropy(logits, y) + SMOOTH * (bent**2).sum()
        cost = cost + SMALL * ((log_gain - start) ** 2).sum()
        cost.backward()
        return float(cost.detach())

    with torch.enable_grad():
        optimiser.step(loss)
    return (basis @ log_gain.detach()).exp()


def _allocated(
    t: Float[Tensor, "m"], gain: Float[Tensor, "m"], spread: Float[Tensor, "m"], count: int
) -> Listed:
    """Return the quantiles of the density g, which count as 1 / s."""
    rising, order = t.sort()
    density, level = gain[order], spread[order].log()
    # The share below the middle of each of the times, linear in between.
    below = (density.cumsum(0) - density / 2) / density.sum()
    wanted = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    place = torch.searchsorted(below, wanted).clamp(1, len(t) - 1)
    share = ((wanted - below[place - 1]) / (below[place] - below[place - 1])).clamp(0, 1)
    times = rising[place - 1] + share * (rising[place] - rising[place - 1])
    counts = (-level[place - 1] - share * (level[place] - level[place - 1])).exp()
    first = spread_order(count)
    counts = counts / counts.mean()
    return Listed(tuple(times[first].tolist()), tuple(counts[first].tolist()))


__all__ = ["learned"]
