"""Plans: how many tokens are revealed by each stage, and which stages share a full pass.

    Plan(((1,), (2, 3)))      a full pass for 1 token; a full pass for 2 and a light one for 3

A plan is a value; who makes it decides the numbers. MaskGIT, arXiv 2202.04200, section 3.3; stages
that share a full pass: ReCAP, arXiv 2505.19089.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Protocol, runtime_checkable

import torch
from pydantic import Field

from mezzotint.config import part
from mezzotint.errors import ConfigError


@dataclass(frozen=True)
class Moment:
    """Where in a plan a stage stands; all that curves and orders may know of it.

    Attributes:
        stage, stages: its index, and how many there are.
        group, groups: index of its group, and how many there are.
        offset: tokens that earlier stages of its group have revealed.
        count: tokens that it reveals.
        left: tokens that are masked after it.
        total: tokens that the whole plan reveals.
    """

    stage: int
    stages: int
    group: int
    groups: int
    offset: int
    count: int
    left: int
    total: int


@dataclass(frozen=True)
class Plan:
    """Tokens that each stage reveals, in groups: one full pass a group, then light passes in it.

    A stage may reveal nothing, as the published schedules ask for where tokens are few; no pass
    is then made for it.

    Args:
        groups: counts of the stages of each group.

    Raises:
        ConfigError: no stage at all, an empty group, or a count below 0.
    """

    groups: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.groups or not all(self.groups):
            raise ConfigError(f"plan {self.groups}: expected at least one stage in each group")
        if min(self.counts) < 0:
            raise ConfigError(f"plan {self.groups}: a stage cannot reveal less than 0 tokens")

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens of every stage, in order."""
        return tuple(count for group in self.groups for count in group)

    @property
    def total(self) -> int:
        """Tokens that are revealed."""
        return sum(self.counts)

    @property
    def passes(self) -> tuple[int, int]:
        """Full passes, and light ones; stages that reveal nothing need neither."""
        busy = [[count for count in group if count] for group in self.groups]
        full = sum(bool(group) for group in busy)
        return full, sum(map(len, busy)) - full

    def moments(self) -> tuple[tuple[Moment, ...], ...]:
        """Return the stages of each group, knowing where they stand."""
        result, left, stage = [], self.total, 0
        for index, group in enumerate(self.groups):
            offset, row = 0, []
            for count in group:
                left -= count
                row.append(
                    Moment(
                        stage=stage,
                        stages=len(self.counts),
                        group=index,
                        groups=len(self.groups),
                        offset=offset,
                        count=count,
                        left=left,
                        total=self.total,
                    )
                )
                stage, offset = stage + 1, offset + count
            result.append(tuple(row))
        return tuple(result)

    def regrouped(self, reuse: int, after: int = 0) -> "Plan":
        """Return the same stages, with light passes in place of some full ones.

        Args:
            reuse: light passes that follow each full pass; 0 makes every pass a full one.
            after: stages at the start that keep a full pass each.

        Raises:
            ConfigError: either is negative.
        """
        if reuse < 0 or after < 0:
            raise ConfigError(f"reuse {reuse}, after {after}: expected numbers of at least 0")
        counts = self.counts
        alone = tuple((count,) for count in counts[:after])
        size = 1 + reuse
        tied = tuple(
            counts[i : i + size] for i in range(min(after, len(counts)), len(counts), size)
        )
        return Plan(alone + tied)


def single(counts: Sequence[int]) -> Plan:
    """Return the plan that makes a full pass for every stage."""
    return Plan(tuple((count,) for count in counts))


@runtime_checkable
class Curve(Protocol):
    """The share of tokens that is masked, from 1 at ratio 0 to 0 at ratio 1."""

    def __call__(self, ratio: float, total: int) -> float:
        """Return the share after `ratio` of the steps, of `total` tokens."""
        ...


@dataclass(frozen=True)
class Cosine:
    """cos(pi r / 2): MaskGIT's own, and MAGE's and MAR's.

    Args:
        single: in float32, as MaskGIT's release computes; a floor of it may come out one less.
    """

    single: bool = False

    def __call__(self, ratio: float, total: int) -> float:  # noqa: ARG002
        """Return the share."""
        if self.single:
            angle = torch.tensor(math.pi / 2) * torch.tensor(ratio)
            return float(torch.cos(angle).clamp(1e-6, 1.0))
        return math.cos(math.pi / 2 * ratio)


@dataclass(frozen=True)
class Arccos:
    """arccos(r) / (pi / 2): of Halton-MaskGIT and TiTok."""

    def __call__(self, ratio: float, total: int) -> float:  # noqa: ARG002
        """Return the share."""
        return math.acos(ratio) / (math.pi / 2)


@dataclass(frozen=True)
class Power:
    """1 - r^p; linear with 1, square root with 0.5, NAT's with 2.5."""

    power: Annotated[float, Field(gt=0)] = 1.0

    def __call__(self, ratio: float, total: int) -> float:  # noqa: ARG002
        """Return the share."""
        return 1 - ratio**self.power


@dataclass(frozen=True)
class Logarithmic:
    """-log2(r) / log2(total), at most 1."""

    def __call__(self, ratio: float, total: int) -> float:
        """Return the share."""
        if ratio <= 0 or total < 2:
            return float(ratio < 1)
        return min(1.0, -math.log2(ratio) / math.log2(total))


@dataclass(frozen=True)
class Exponential:
    """1 - 2^(-log2(total) (1 - r))."""

    def __call__(self, ratio: float, total: int) -> float:
        """Return the share."""
        return 1 - 2 ** (-math.log2(max(total, 1)) * (1 - ratio))


@runtime_checkable
class Reveal(Protocol):
    """How many tokens each of some steps reveals."""

    def __call__(self, total: int, steps: int) -> tuple[int, ...]:
        """Return the counts, as many as steps, which sum to `total`."""
        ...


@dataclass(frozen=True)
class Masked:
    """Count what stays masked: k = max(1, min(masked - 1, floor(total curve((s + 1) / T)))).

    The rounding of MaskGIT, MAGE, TiTok and MAR; the last step reveals the rest.

    Args:
        curve: share that is masked.
    """

    curve: Annotated[Curve, part("curve")] = Cosine()

    def __call__(self, total: int, steps: int) -> tuple[int, ...]:
        """Return the counts."""
        left, after = [total], total
        for step in range(1, steps):
            wanted = math.floor(total * self.curve(step / steps, total))
            after = max(1, min(after - 1, wanted))
            left.append(min(after, total))
        return tuple(before - after for before, after in pairwise([*left, 0]))


@dataclass(frozen=True)
class Revealed:
    """Count what is known: max(s + 1, floor(total (1 - curve(r)))), as Halton-MaskGIT does.

    Args:
        curve: share that is masked.
        early: r is s / (T - 1) in float32, as the release's confidence sampler has it, which
            starts with one token; else (s + 1) / T.
    """

    curve: Annotated[Curve, part("curve")] = Arccos()
    early: bool = False

    def known(self, total: int, steps: int) -> list[int]:
        """Return how many tokens are to be known after each step, however few that may be."""
        ratios = [(step + 1) / steps for step in range(steps)]
        if self.early:
            ratios = torch.linspace(0.0, 1.0, steps).tolist()
        return [int(total * (1 - self.curve(ratio, total))) for ratio in ratios[:-1]] + [total]

    def __call__(self, total: int, steps: int) -> tuple[int, ...]:
        """Return the counts."""
        known = [0]
        for step, wanted in enumerate(self.known(total, steps)):
            known.append(min(total, max(step + 1, wanted, known[-1])))
        return tuple(after - before for before, after in pairwise(known))


@dataclass(frozen=True)
class AtLeastOne:
    """Differences of floor(total curve(i / T)), zeros raised to 1 at the last one's cost (NAT).

    Args:
        curve: share that is masked.
    """

    curve: Annotated[Curve, part("curve")] = Power(2.5)

    def __call__(self, total: int, steps: int) -> tuple[int, ...]:
        """Return the counts.

        Raises:
            ConfigError: there are more steps than the tokens can be dealt out to.
        """
        left = [math.floor(self.curve(step / steps, total) * total) for step in range(steps)]
        counts = [max(1, before - after) for before, after in pairwise(left)]
        last = total - sum(counts)
        if last < 0:
            raise ConfigError(f"{steps} steps of at least one token: there are only {total} tokens")
        return (*counts, last)


__all__ = [
    "Arccos",
    "AtLeastOne",
    "Cosine",
    "Curve",
    "Exponential",
    "Logarithmic",
    "Masked",
    "Moment",
    "Plan",
    "Power",
    "Reveal",
    "Revealed",
    "single",
]
