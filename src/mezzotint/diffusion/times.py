"""How training times are drawn: from uniform numbers in [0, 1) to times in (0, 1]."""

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor


@runtime_checkable
class Times(Protocol):
    """How training times are drawn."""

    def __call__(self, uniform: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Turn uniform numbers in [0, 1) into times in (0, 1]."""
        ...


@dataclass(frozen=True)
class UniformTimes:
    """All times alike."""

    def __call__(self, uniform: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Map [0, 1) to (0, 1]."""
        return 1 - uniform


@dataclass(frozen=True)
class LogitNormalTimes:
    """logit(t) is normal: most of the training in the middle (Esser et al., arXiv 2403.03206)."""

    mean: float = 0.0
    deviation: Annotated[float, Field(gt=0)] = 1.0

    def __call__(self, uniform: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Map uniform numbers through the normal quantile and the sigmoid."""
        z = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
        return torch.sigmoid(self.mean + self.deviation * z)


__all__ = ["LogitNormalTimes", "Times", "UniformTimes"]
