"""The optimiser, and its learning rate as a pure function of the step."""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import nn


@runtime_checkable
class Decay(Protocol):
    """The learning rate over a run, as a share of its peak."""

    def __call__(self, progress: float) -> float:
        """Return the share at `progress` in [0, 1]."""
        ...


@dataclass(frozen=True)
class ConstantRate:
    """The peak, to the end."""

    def __call__(self, progress: float) -> float:  # noqa: ARG002 (the same at any progress)
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class CosineRate:
    """From the peak down to `last` along half a cosine."""

    last: float = 0.0

    def __call__(self, progress: float) -> float:
        """Return the share at `progress`."""
        return self.last + (1 - self.last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


@dataclass(frozen=True)
class FinalRate:
    """The peak, then straight down to `last` over the closing `share` of the run."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    last: float = 0.0

    def __call__(self, progress: float) -> float:
        """Return the share at `progress`."""
        left = min(1.0, max(0.0, (1 - progress) / self.share))
        return self.last + (1 - self.last) * left


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, decay: Decay) -> float:
    """Return the rate of step number `step`, counted from 0: linear warm-up, then `decay`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * decay((step - warmup) / max(1, steps - warmup))


def adamw(
    module: nn.Module,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    decay_vectors: bool = False,
) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters; matrices and kernels decay.

    Args:
        module: what is trained; what its `undecayed` names by the end of its name never decays.
        lr, betas, weight_decay: see `torch.optim.AdamW`.
        decay_vectors: let biases and scales decay too.
    """
    spared = tuple(getattr(module, "undecayed", ()))
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    decayed = {
        name: p
        for name, p in trained.items()
        if (decay_vectors or p.dim() > 1) and not name.endswith(spared)
    }
    groups = [
        {"params": list(decayed.values()), "weight_decay": weight_decay},
        {"params": [p for n, p in trained.items() if n not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
