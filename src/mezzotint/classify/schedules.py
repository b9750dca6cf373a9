"""Who is looked at how often: every candidate at every time, or fewer and fewer candidates.

A schedule fixes the order of the evaluations, which all candidates of an image share, cuts it into
rounds, and says after each round which candidates go on.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mezzotint.classify.student import quantile
from mezzotint.classify.times import STEPS, Even, Times, at, spread_order
from mezzotint.classify.times import even as even_index
from mezzotint.diffusion.paths import Path
from mezzotint.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """The evaluations of one candidate, in order.

    Attributes:
        t: their times, float64 on the CPU; evaluation i uses draw i of the noise.
        weights: how much each error counts.
        ends: evaluations that are done at the end of each round, rising.
    """

    t: Float[Tensor, "n"]
    weights: Float[Tensor, "n"]
    ends: tuple[int, ...]

    @property
    def rounds(self) -> list[tuple[int, int]]:
        """First and last-but-one evaluation of each round."""
        return list(pairwise((0, *self.ends)))

    def means(self, errors: Float[Tensor, "b p n"]) -> Float[Tensor, "b p"]:
        """Return the weighted mean of the first evaluations."""
        weights = self.weights[: errors.shape[2]].to(errors)
        return (errors * weights).sum(2) / weights.sum()


@runtime_checkable
class Schedule(Protocol):
    """An order of evaluations, and who goes on after each round."""

    def plan(self, path: Path) -> Plan:
        """Return the evaluations of a candidate that is never dropped."""
        ...

    def check(self, candidates: int) -> None:
        """Refuse a number of candidates that this cannot rank."""
        ...

    def survivors(
        self, errors: Float[Tensor, "b p n"], alive: Bool[Tensor, "b p"], plan: Plan
    ) -> Bool[Tensor, "b p"]:
        """Return who goes on.

        Args:
            errors: of the evaluations so far; those of candidates that are out mean nothing.
            alive: who took part in the round.
            plan: what `plan` returned.
        """
        ...


def repeated(values: Float[Tensor, "n"], trials: int) -> Float[Tensor, "m"]:
    """Return every value `trials` times in a row."""
    if trials < 1:
        raise ConfigError(f"trials: {trials}; expected 1 or more draws of noise at each time")
    return values.repeat_interleave(trials)


@dataclass(frozen=True)
class Exhaustive:
    """Every candidate at every time, as the release does for DiT.

    Args:
        times: where to look.
        trials: draws of noise at each time.
    """

    times: Times = Even()
    trials: int = 1

    def plan(self, path: Path) -> Plan:
        """Return the times in rounds that double, after each of which one may have to stop."""
        t = repeated(self.times(path), self.trials)
        ends, end = [], 1
        while end < len(t):
            ends.append(end)
            end *= 2
        return Plan(t, repeated(self.times.weights(path), self.trials), (*ends, len(t)))

    def check(self, candidates: int) -> None:
        """Accept any number."""

    def survivors(
        self,
        errors: Float[Tensor, "b p n"],  # noqa: ARG002 (nobody is dropped, whatever was found)
        alive: Bool[Tensor, "b p"],
        plan: Plan,  # noqa: ARG002 (likewise)
    ) -> Bool[Tensor, "b p"]:
        """Return all."""
        return alive


@dataclass(frozen=True)
class Stages:
    """What schedules of fixed stages share: after each, the best few by the mean of all so far.

    Args:
        samples: times that a stage asks for, rising.
        keep: candidates that go on after it; the last is 1.
        trials: draws of noise at each time.
        steps: length T of the chain on which the times lie.

    Raises:
        ConfigError: the lists do not fit each other or the chain.
    """

    samples: tuple[int, ...] = (25, 250)
    keep: tuple[int, ...] = (5, 1)
    trials: int = 1
    steps: int = STEPS

    def __post_init__(self) -> None:
        if len(self.samples) != len(self.keep) or not self.samples:
            raise ConfigError(
                f"stages: {len(self.samples)} numbers of samples and {len(self.keep)} of "
                "candidates to keep; expected as many of each"
            )
        rising = all(low < high for low, high in pairwise((0, *self.samples)))
        if not rising or self.samples[-1] > self.steps:
            raise ConfigError(
                f"stages: samples {self.samples}; expected rising numbers from 1 to {self.steps}"
            )
        falling = all(high >= low for high, low in pairwise(self.keep))
        if not falling or self.keep[-1] != 1:
            raise ConfigError(f"stages: keep {self.keep}; expected falling numbers that end in 1")

    def check(self, candidates: int) -> None:
        """Refuse to keep more than there are.

        Raises:
            ConfigError: the first stage keeps more candidates than there are.
        """
        if self.keep[0] > candidates:
            raise ConfigError(
                f"stages: keep {self.keep[0]} of {candidates} candidates; expected at most "
                f"{candidates}"
            )

    def survivors(
        self, errors: Float[Tensor, "b p n"], alive: Bool[Tensor, "b p"], plan: Plan
    ) -> Bool[Tensor, "b p"]:
        """Return the candidates with the smallest means; of equals, the first."""
        kept = self.keep[plan.ends.index(errors.shape[2])]
        means = plan.means(errors).masked_fill(~alive, torch.inf)
        best = means.argsort(dim=1, stable=True)[:, :kept]
        return torch.zeros_like(alive).scatter_(1, best, True) & alive  # noqa: FBT003

    def staged(self, path: Path, stages: list[list[int]]) -> Plan:
        """Return the plan of stages that list the chain's indices they add."""
        ends = [self.trials * sum(map(len, stages[: k + 1])) for k in range(len(stages))]
        t = at(path, torch.tensor([index for stage in stages for index in stage]), self.steps)
        t = repeated(t, self.trials)
        return Plan(t, torch.ones_like(t), tuple(ends))


@dataclass(frozen=True)
class Official(Stages):
    """The release's stages, to the sample: those of the middle are not nested.

        stride = T // N,  grid = stride // 2 + j stride,  stage n = every (N // n)-th of the grid

    A stage adds those of its times that were not used before, so that what has been looked at after
    it is as many as it says only where all ratios are odd; the last stage takes everything. N = 300
    never visits the noisiest tenth. `eval_prob_adaptive.py`, arXiv 2303.16203, algorithm 2.
    """

    def plan(self, path: Path) -> Plan:
        """Return the times, stage by stage.

        Raises:
            ConfigError: a stage adds none.
        """
        count = self.samples[-1]
        stride = self.steps // count
        grid = [stride // 2 + j * stride for j in range(count)]
        used: set[int] = set()
        stages = []
        for samples in self.samples:
            step = count // samples
            wanted = grid[step // 2 :: step][:samples]
            stages.append([index for index in wanted if index not in used])
            if not stages[-1]:
                raise ConfigError(
                    f"stages: of {self.samples} samples, the stage of {samples} adds no time to "
                    "those before; expected divisors of the last number"
                )
            used |= set(stages[-1])
        return self.staged(path, stages)


@dataclass(frozen=True)
class Nested(Stages):
    """Stages that are what they say: each holds the one before, and covers the whole range."""

    def plan(self, path: Path) -> Plan:
        """Return the times, stage by stage."""
        count = self.samples[-1]
        grid = even_index(count, self.steps)[spread_order(count)].tolist()
        return self.staged(path, [grid[low:high] for low, high in pairwise((0, *self.samples))])


@dataclass(frozen=True)
class Race:
    """Drop a candidate as soon as the whole evaluation would hardly put it first; stop at one.

    After n of N evaluations, d are the paired differences to the leader, with mean m and standard
    deviation s. The mean of all N differences is then about normal around m with variance
    s^2 (1/n - 1/N), so a candidate leaves when

        m / (s sqrt(1/n - 1/N)) > t_{n-1}(error / (rivals rounds))

    and `error` bounds, as far as the differences behave like independent draws, the probability
    that the winner is another one than that of all N evaluations (a union over rivals and rounds).

    Args:
        times: all N of them, in an order whose beginnings cover the range.
        error: that probability, in (0, 1).
        start: evaluations before the first decision, 3 or more.
        growth: ratio of the evaluations after successive rounds, above 1.
        trials: draws of noise at each time.

    Raises:
        ConfigError: a number outside its range.
    """

    times: Times = Even(250)
    error: float = 0.05
    start: int = 8
    growth: float = 1.25
    trials: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.error < 1:
            raise ConfigError(f"race: error {self.error}; expected a probability in (0, 1)")
        if self.start < 3 or self.growth <= 1:
            raise ConfigError(
                f"race: start {self.start}, growth {self.growth}; expected at least 3, and above 1"
            )

    def plan(self, path: Path) -> Plan:
        """Return the times, in rounds that grow."""
        t = repeated(self.times(path), self.trials)
        ends, end = [], self.start
        while end < len(t):
            ends.append(end)
            end = max(end + 1, int(end * self.growth))
        return Plan(t, repeated(self.times.weights(path), self.trials), (*ends, len(t)))

    def check(self, candidates: int) -> None:
        """Accept any number."""

    def survivors(
        self, errors: Float[Tensor, "b p n"], alive: Bool[Tensor, "b p"], plan: Plan
    ) -> Bool[Tensor, "b p"]:
        """Return the leader and those that may still come first."""
        n, whole = errors.shape[2], len(plan.t)
        means = plan.means(errors).masked_fill(~alive, torch.inf)
        leader = means.argmin(1)
        rows = torch.arange(len(errors))
        ahead = torch.zeros_like(alive).index_put((rows, leader), torch.tensor(True))  # noqa: FBT003
        if n == whole:
            return ahead
        # Weighted differences, scaled so that their plain mean is the difference of the means.
        weights = plan.weights[:n] / plan.weights[:n].mean()
        gaps = (errors - errors[rows, leader][:, None]) * weights.to(errors)
        spread = gaps.std(2) * (1 / n - 1 / whole) ** 0.5
        rivals = max(alive.shape[1] - 1, 1)
        bound = quantile(min(self.error / rivals / len(plan.ends), 0.5), n - 1)
        return alive & ((gaps.mean(2) <= bound * spread) | ahead)


__all__ = ["Exhaustive", "Nested", "Official", "Plan", "Race", "Schedule", "Stages"]
