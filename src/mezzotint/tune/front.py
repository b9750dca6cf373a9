"""Which of several settings are worth having: the Pareto front of time and distance.

a is dominated by b where b is no slower and no worse, and one of the two is better
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mezzotint.errors import ConfigError
from mezzotint.tune.log import Look

_UNITS = {"s": 1.0, "ms": 1e-3, "": 1.0}


def dominates(one: Look, other: Look) -> bool:
    """Return whether a look is no slower and no worse than another, and better in one of them."""
    first, second = (one.ratio, one.value), (other.ratio, other.value)
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def front(looks: Sequence[Look]) -> list[Look]:
    """Return the looks that none dominates, fastest first."""
    drawn = [each for each in looks if each.distance is not None]
    kept = [each for each in drawn if not any(dominates(other, each) for other in drawn)]
    return sorted(kept, key=lambda each: each.ratio)


def ranked(looks: Sequence[Look]) -> list[Look]:
    """Return the looks by front: the first front, then that of the rest; in each by distance."""
    left = [each for each in looks if each.distance is not None]
    found: list[Look] = []
    while left:
        first = front(left)
        found += sorted(first, key=lambda each: each.value)
        left = [each for each in left if each not in first]
    return found


class Goal(Protocol):
    """What is wanted of a setting."""

    def near(self, seconds: float) -> bool:
        """Return whether a setting of that many seconds an image is worth a closer look."""
        ...

    def best(self, looks: Sequence[tuple[Look, float]], own: Look) -> Look | None:
        """Return the best of looks with their seconds an image, or None if none will do.

        Args:
            looks: all of one stage.
            own: the model with its own recipe, in that stage.
        """
        ...


@dataclass(frozen=True)
class Budget:
    """The lowest distance within so many seconds an image."""

    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:g} s an image"

    def near(self, seconds: float) -> bool:
        """Return whether the time is within a tenth of the budget, which noise may turn."""
        return seconds <= 1.1 * self.seconds

    def best(self, looks: Sequence[tuple[Look, float]], own: Look) -> Look | None:  # noqa: ARG002
        """Return the lowest distance of those in time."""
        within = (look for look, seconds in looks if seconds <= self.seconds)
        drawn = (each for each in within if each.distance is not None)
        return min(drawn, key=lambda each: each.value, default=None)


@dataclass(frozen=True)
class MaxLoss:
    """The least time at a distance at most this part above that of the model's own recipe."""

    part: float

    def __str__(self) -> str:
        return f"at most {self.part:.3g} above the own recipe's distance"

    def near(self, seconds: float) -> bool:  # noqa: ARG002
        """Return True: any time may do."""
        return True

    def best(self, looks: Sequence[tuple[Look, float]], own: Look) -> Look | None:
        """Return the fastest of those that are good enough."""
        bound = (1 + self.part) * own.value
        good = [look for look, _ in looks if look.value <= bound]
        return min(good, key=lambda each: each.ratio, default=None)


def goal_of(budget: str | None, max_loss: str | None) -> Goal:
    """Read "0.5s" or "500ms", or "2%".

    Raises:
        ConfigError: neither or both are given, or one is not understood.
    """
    if (budget is None) == (max_loss is None):
        raise ConfigError("give either --budget, such as 0.5s, or --max-loss, such as 2%")
    if budget is not None:
        found = re.fullmatch(r"(\d*\.?\d+)\s*(ms|s|)", budget)
        if not found or float(found[1]) <= 0:
            raise ConfigError(f"--budget {budget!r}: expected seconds an image, as 0.5s or 80ms")
        return Budget(float(found[1]) * _UNITS[found[2]])
    found = re.fullmatch(r"(\d*\.?\d+)\s*%", str(max_loss))
    if not found:
        raise ConfigError(f"--max-loss {max_loss!r}: expected a percentage, as 2%")
    return MaxLoss(float(found[1]) / 100)


__all__ = ["Budget", "Goal", "MaxLoss", "dominates", "front", "goal_of", "ranked"]
