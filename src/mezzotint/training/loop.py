"""The training loop: an iterator of states. Logging, saving and sampling belong to its caller."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mezzotint.data.loader import Batch
from mezzotint.errors import NumericError
from mezzotint.training.distributed import Ranks
from mezzotint.training.ema import EMA
from mezzotint.training.objectives import Loss, Objective


@dataclass(frozen=True)
class LoopPlan:
    """What the loop itself needs to know.

    Args:
        steps: number of optimiser steps.
        accumulate: pieces that a batch is cut into.
        clip: largest norm of the gradient, or None.
        rate: learning rate by step, counted from 0.
        patience: steps in a row that may be skipped for a loss that is no number.
        seed: of what a network draws by itself (dropout); a step's draws depend on it, the step
            and the rank, so a resumed run has no generator to restore.
    """

    steps: int
    accumulate: int
    clip: float | None
    rate: Callable[[int], float]
    patience: int
    seed: int


@dataclass
class State:
    """Where a run stands after a step.

    Attributes:
        step: optimiser steps done, skipped ones included.
        loss: mean over the batch.
        each, group: cost and group of each image of the batch, those of all ranks.
        parts: means of what the loss is made of, on this rank alone.
        norm: of the gradient, before clipping; of the first party, where there are several.
        lr: the learning rate used.
        skipped: whether the step was skipped for a loss or gradient that is no number.
        in_a_row: steps skipped since the last good one.
    """

    step: int = 0
    loss: float = float("nan")
    each: Float[Tensor, "b"] = field(default_factory=lambda: torch.zeros(0))
    group: Int[Tensor, "b"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    parts: dict[str, float] = field(default_factory=dict)
    norm: float = float("nan")
    lr: float = 0.0
    skipped: bool = False
    in_a_row: int = 0


def train(
    objective: Objective,
    network: nn.Module,
    loader: Callable[[int], Batch],
    optimiser: torch.optim.Optimizer,
    ema: EMA,
    plan: LoopPlan,
    state: State,
    ranks: Ranks,
) -> Iterator[State]:
    """Train from `state.step` to the last step, yielding the state after each.

    Raises:
        NumericError: too many steps in a row had a loss or gradient that is no number.
    """
    parties = _parties(network)
    while state.step < plan.steps:
        state.lr = plan.rate(state.step)
        for group in optimiser.param_groups:
            group["lr"] = group.get("rate", plan.rate)(state.step)
        optimiser.zero_grad()
        with ranks.seeded(plan.seed, 7, state.step):
            losses = _backward(objective, network, loader(state.step), plan.accumulate)
        _gather(state, losses, ranks)
        norms = [_clip(party, plan.clip) for party in parties]
        state.norm = norms[0]
        state.skipped = ranks.agree(not math.isfinite(state.loss + sum(norms)))
        state.step += 1
        if state.skipped:
            state.in_a_row += 1
        else:
            optimiser.step()
            state.in_a_row = 0
            ema.update(state.step)
        yield state
        _check(state, plan)


def _parties(network: nn.Module) -> Sequence[Sequence[nn.Parameter]]:
    """Return the trained parameters, those of adversaries apart: one's gradient clips no other."""
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    everything = [p for p in network.parameters() if p.requires_grad]
    apart = getattr(inner, "parties", None)
    return [everything] if apart is None else apart()


def _backward(objective: Objective, network: nn.Module, batch: Batch, pieces: int) -> list[Loss]:
    """Add up the gradients of a batch, piece by piece; ranks meet at the last one."""
    losses = []
    cut = list(_cut(batch, pieces))  # fewer than asked for, if the batch is small
    for index, piece in enumerate(cut):
        with _apart(network, wait=index < len(cut) - 1):
            loss = objective(piece)
            (loss.total * (len(piece) / len(batch))).backward()
        losses.append(loss)
    return losses


def _cut(batch: Batch, pieces: int) -> Iterator[Batch]:
    size = -(-len(batch) // pieces)
    for first in range(0, len(batch), size):
        part = slice(first, first + size)
        yield Batch(batch.images[part], batch.y[part], batch.seeds[part], batch.step)


def _apart(network: nn.Module, *, wait: bool) -> AbstractContextManager[None]:
    if wait and isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return nullcontext()


def _gather(state: State, losses: list[Loss], ranks: Ranks) -> None:
    state.each = ranks.gather(torch.cat([loss.each.float() for loss in losses]))
    state.group = ranks.gather(torch.cat([loss.group for loss in losses]))
    state.loss = float(state.each.mean())
    names = losses[0].parts
    state.parts = {n: sum(float(loss.parts[n]) for loss in losses) / len(losses) for n in names}


def _clip(parameters: Sequence[nn.Parameter], limit: float | None) -> float:
    """Scale the gradient down to `limit`; return its norm before that."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return float(norm)


def _check(state: State, plan: LoopPlan) -> None:
    if state.in_a_row >= plan.patience:
        raise NumericError(
            f"step {state.step}: loss or gradient was not finite {state.in_a_row} steps in a row; "
            "lower train.lr, or set train.precision to float32"
        )
