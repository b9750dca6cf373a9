"""Settings that change along a plan: guidance, temperatures; a curve over a clock.

    start + (end - start) clock^power

The lineages of masked generators agree on the curves and differ in the clock that they read.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from pydantic import Field

from mezzotint.config import part
from mezzotint.masked.plan import Moment


@runtime_checkable
class Clock(Protocol):
    """How far a plan has come, in [0, 1]."""

    def __call__(self, moment: Moment) -> float:
        """Return the share of the plan that is done."""
        ...


@dataclass(frozen=True)
class Begun:
    """s / T: 0 at the first stage (TiTok's guidance)."""

    def __call__(self, moment: Moment) -> float:
        """Return the share."""
        return moment.stage / moment.stages


@dataclass(frozen=True)
class Finished:
    """(s + 1) / T: 1 at the last stage (MaskGIT, MAGE)."""

    def __call__(self, moment: Moment) -> float:
        """Return the share."""
        return (moment.stage + 1) / moment.stages


@dataclass(frozen=True)
class EndToEnd:
    """s / (T - 1): 0 at the first stage and 1 at the last (Halton-MaskGIT, NAT)."""

    def __call__(self, moment: Moment) -> float:
        """Return the share."""
        return moment.stage / max(moment.stages - 1, 1)


@dataclass(frozen=True)
class ByGroup:
    """(g + 1) / G: 1 in the last group (ReCAP's confidence)."""

    def __call__(self, moment: Moment) -> float:
        """Return the share."""
        return (moment.group + 1) / moment.groups


@dataclass(frozen=True)
class Known:
    """The share of tokens that are known after the stage (MAR's guidance).

    Args:
        least: so many count as masked even after the last stage; 1 in MAR's release, which so
            never quite reaches its scale, and 0 in ReCAP's.
    """

    least: Annotated[int, Field(ge=0)] = 0

    def __call__(self, moment: Moment) -> float:
        """Return the share."""
        return (moment.total - max(moment.left, self.least)) / max(moment.total, 1)


@runtime_checkable
class Along(Protocol):
    """A number that may change along a plan."""

    def __call__(self, moment: Moment) -> float:
        """Return it at a stage."""
        ...


@dataclass(frozen=True)
class Flat:
    """The same number at all stages."""

    value: float = 1.0

    def __call__(self, moment: Moment) -> float:  # noqa: ARG002
        """Return the number."""
        return self.value

    def to(self, value: float) -> "Flat":
        """Return the same curve towards another number."""
        return Flat(value)


@dataclass(frozen=True)
class Ramp:
    """start + (end - start) clock^power."""

    start: float
    end: float
    power: Annotated[float, Field(gt=0)] = 1.0
    clock: Annotated[Clock, part("clock")] = Finished()

    def __call__(self, moment: Moment) -> float:
        """Return the number."""
        share = self.clock(moment) ** self.power
        return share * self.end + (1 - share) * self.start

    def to(self, value: float) -> "Ramp":
        """Return the same curve towards another number."""
        return Ramp(self.start, value, self.power, self.clock)


@dataclass(frozen=True)
class Swell:
    """1 + (end - 1) (1 - cos(pi clock^power)) / 2: MDT's and TiTok's power-cosine guidance."""

    end: float
    power: Annotated[float, Field(gt=0)] = 1.0
    clock: Annotated[Clock, part("clock")] = Begun()

    def __call__(self, moment: Moment) -> float:
        """Return the number."""
        rise = (1 - math.cos(math.pi * self.clock(moment) ** self.power)) / 2
        return (self.end - 1) * rise + 1

    def to(self, value: float) -> "Swell":
        """Return the same curve towards another number."""
        return Swell(value, self.power, self.clock)


@dataclass(frozen=True)
class Inverse:
    """1 / inner^power, doubled in the first stages: temperatures that multiply (Halton-MaskGIT).

    Args:
        inner: what multiplies the logits.
        power: of it.
        warmup: stages at the start at which only half of it does.
    """

    inner: Annotated[Along, part("along")]
    power: float = 1.0
    warmup: Annotated[int, Field(ge=0)] = 0

    def __call__(self, moment: Moment) -> float:
        """Return the number."""
        factor = 0.5 if moment.stage < self.warmup else 1.0
        return 1 / (factor * self.inner(moment) ** self.power)


__all__ = [
    "Along",
    "Begun",
    "ByGroup",
    "Clock",
    "EndToEnd",
    "Finished",
    "Flat",
    "Inverse",
    "Known",
    "Ramp",
    "Swell",
]
