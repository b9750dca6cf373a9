"""Exponential moving averages of the weights: average <- decay average + (1 - decay) weight.

Early on the decay is (1 + step) / (10 + step), so that an average does not remember the beginning.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class EMA:
    """Several averages of the same parameters, in float32, one for each decay.

    Args:
        module: whose parameters are averaged; frozen ones are part of the average too.
        decays: the decays, each in [0, 1).
    """

    def __init__(self, module: nn.Module, decays: Sequence[float]) -> None:
        self.decays = tuple(decays)
        self._live = dict(module.named_parameters())
        self.averages = {
            decay: {name: p.detach().float().clone() for name, p in self._live.items()}
            for decay in self.decays
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the current weights in, after step number `step`, counted from 1."""
        live = [p.detach().float() for p in self._live.values()]
        for decay, average in self.averages.items():
            warm = min(decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.values()), live, 1 - warm)

    @torch.no_grad()
    def restart(self) -> None:
        """Set every average to the current weights."""
        for average in self.averages.values():
            for name, tensor in average.items():
                tensor.copy_(self._live[name])

    def state(self) -> dict[str, Tensor]:
        """Return every average under "decay/name"."""
        return {f"{d}/{n}": a for d, each in self.averages.items() for n, a in each.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the averages back from `state`."""
        for decay, average in self.averages.items():
            for name, tensor in average.items():
                tensor.copy_(state[f"{decay}/{name}"])
