"""Critics: how likely the wished-for class is, given an image; what guidance climbs.

log p(y | x_t)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


class Critic(Protocol):
    """A function from (x_t, t, y) to log p(y | x_t), differentiable in x_t."""

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return the log probability of each row's class.

        Args:
            x: what is judged.
            t: times in [0, 1], float64 on the CPU; 0 is clean.
            y: class indices.
        """
        ...


@dataclass(frozen=True)
class Through:
    """A critic of what a generator or decoder makes of x; its gradient passes through that.

    Args:
        before: from x to what the critic reads.
        critic: of that.
    """

    before: Callable[[Tensor], Tensor]
    critic: Critic

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return what the inner critic says."""
        return self.critic(self.before(x), t, y)
