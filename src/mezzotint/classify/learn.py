"""Learned times: where the classes differ most surely, and how much that should count.

    p(c | x) ∝ exp(-sum_i w(t_i) error(c, i))

is a conditional logit in the errors. Its weights w, a piecewise linear log w over t, are fitted by
maximum likelihood on labelled images. To estimate sum_t w(t) d(t) from n evaluations whose paired
differences have standard deviation s(t), the best share of evaluations at t is proportional to
w(t) s(t) (Neyman's allocation), and each then counts as 1 / s(t).
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
SMOOTH: Final = 0.01
"""Weight of the squared second differences of log w between knots, for where data is few."""


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
    weight = _fitted(errors, y, evidence.plan.t)
    own = errors.gather(1, y[:, None, None].expand(-1, 1, errors.shape[2]))
    rivals = torch.ones(errors.shape[:2], dtype=torch.bool).scatter_(1, y[:, None], False)  # noqa: FBT003
    spread = (errors - own)[rivals].std(0)
    return _allocated(evidence.plan.t, weight, _smoothed(evidence.plan.t, spread), count)


def _hats(t: Float[Tensor, "n"]) -> Float[Tensor, "n k"]:
    """Return the weights by which values at the knots are interpolated."""
    place = t * (KNOTS - 1)
    return (1 - (place[:, None] - torch.arange(KNOTS)).abs()).clamp(min=0)


def _fitted(
    errors: Float[Tensor, "n p m"], y: Int[Tensor, "n"], t: Float[Tensor, "m"]
) -> Float[Tensor, "m"]:
    """Return the weights of greatest likelihood."""
    basis = _hats(t)
    log_weight = torch.full((KNOTS,), -float(errors.std().log()) - 2, dtype=torch.float64)
    log_weight.requires_grad_()
    optimiser = torch.optim.LBFGS([log_weight], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        logits = -(errors * (basis @ log_weight).exp()).sum(2)
        bent = log_weight[2:] - 2 * log_weight[1:-1] + log_weight[:-2]
        cost = cross_entropy(logits, y) + SMOOTH * (bent**2).sum()
        cost.backward()
        return float(cost.detach())

    with torch.enable_grad():
        optimiser.step(loss)
    return (basis @ log_weight.detach()).exp()


def _smoothed(t: Float[Tensor, "m"], values: Float[Tensor, "m"]) -> Float[Tensor, "m"]:
    """Return values as the exponential of a piecewise linear fit to their logarithms."""
    basis = _hats(t)
    ridge = 1e-6 * torch.eye(KNOTS, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    found = torch.linalg.solve(basis.T @ basis + ridge, basis.T @ values.clamp(min=tiny).log())
    return (basis @ found).exp()


def _allocated(
    t: Float[Tensor, "m"], weight: Float[Tensor, "m"], spread: Float[Tensor, "m"], count: int
) -> Listed:
    """Return the quantiles of the density w s, which count as 1 / s."""
    rising, order = t.sort()
    density, spread = (weight * spread)[order], spread[order]
    # The share below the middle of each of the times, linear in between.
    below = (density.cumsum(0) - density / 2) / density.sum()
    wanted = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    place = torch.searchsorted(below, wanted).clamp(1, len(t) - 1)
    share = ((wanted - below[place - 1]) / (below[place] - below[place - 1])).clamp(0, 1)
    times = rising[place - 1] + share * (rising[place] - rising[place - 1])
    counts = 1 / (spread[place - 1] + share * (spread[place] - spread[place - 1]))
    first = spread_order(count)
    counts = counts / counts.mean()
    return Listed(tuple(times[first].tolist()), tuple(counts[first].tolist()))


__all__ = ["learned"]
