"""How far a code goes in a step of a Langevin chain, and when it is drawn anew."""

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mezzotint.diffusion.estimate import fit
from mezzotint.noise import Noise


@runtime_checkable
class Stride(Protocol):
    """How far a code goes along its direction."""

    def __call__(self, direction: Float[Tensor, "b ..."], step: int) -> Float[Tensor, "b ..."]:
        """Return the move of step number `step`, counted from 0."""
        ...


@dataclass(frozen=True)
class Plain:
    """The direction itself, as the paper's equations have it."""

    def __call__(
        self,
        direction: Float[Tensor, "b ..."],
        step: int,  # noqa: ARG002 (the same at every step)
    ) -> Float[Tensor, "b ..."]:
        """Return the direction."""
        return direction


@dataclass(frozen=True)
class MeanAbs:
    """The direction over its mean magnitude in each chain, as the released code has it.

        s d / mean |d|        s = first + (last - first) step / over

    Noise is part of d, so only the ratios of the weights matter. The size s goes on past `over`.

    Args:
        first: mean change of a coordinate at step 0.
        last: the same at step `over`.
        over: steps between the two.
    """

    first: float = 1.0
    last: float = 1.0
    over: Annotated[int, Field(ge=1)] = 200

    def __call__(self, direction: Float[Tensor, "b ..."], step: int) -> Float[Tensor, "b ..."]:
        """Return the move of step number `step`; a direction of zeros stays one."""
        size = self.first + (self.last - self.first) * step / self.over
        mean = magnitude(direction)
        return direction * fit(torch.where(mean > 0, size / mean, 0.0), direction)


@dataclass(frozen=True)
class Restart:
    """Now and then a code is drawn anew, and with it the weight of the prior, which then stays.

    Args:
        every: steps between two restarts.
        low, high: between which e1 is drawn evenly.
    """

    every: Annotated[int, Field(ge=1)] = 100
    low: float = 1e-6
    high: float = 1e-2

    def due(self, step: int) -> bool:
        """Tell whether step number `step` ends in a restart."""
        return step > 0 and step % self.every == 0

    def draw(
        self, codes: Float[Tensor, "b ..."], noise: Noise
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b"]]:
        """Return codes from N(0, 1), not clipped, and a weight of the prior for each."""
        start, even = noise(codes), torch.special.ndtr(noise(codes.new_empty(len(codes))))
        return start, self.low + (self.high - self.low) * even


def magnitude(x: Float[Tensor, "b ..."]) -> Float[Tensor, "b"]:
    """Return the mean absolute value of each row."""
    return x.flatten(1).abs().mean(1)


__all__ = ["MeanAbs", "Plain", "Restart", "Stride", "magnitude"]
