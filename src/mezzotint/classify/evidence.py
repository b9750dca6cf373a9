"""What a contest has found: the errors, who was left when, and what follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mezzotint.classify.schedules import Plan


@dataclass(frozen=True)
class Evidence:
    """Errors of candidates on images.

    Attributes:
        errors: of image, candidate and evaluation; NaN where it was not needed.
        kept: who was left after each round.
        plan: times, weights and rounds.
        owner: the class that a candidate speaks for.
        elements: D, numbers in one x.
    """

    errors: Float[Tensor, "n p m"]
    kept: Bool[Tensor, "n r p"]
    plan: Plan
    owner: Int[Tensor, "p"]
    elements: int = 1

    @classmethod
    def joined(
        cls,
        parts: Sequence[tuple[Tensor, Tensor]],
        plan: Plan,
        owner: Int[Tensor, "p"],
        elements: int,
    ) -> "Evidence":
        """Join what was found on blocks of images."""
        errors, kept = (torch.cat(each) for each in zip(*parts, strict=True))
        return cls(errors, kept, plan, owner, elements)

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def seen(self) -> Int[Tensor, "n p"]:
        """Evaluations of each candidate, which are always the first ones of the plan."""
        return (~self.errors.isnan()).sum(2)

    @property
    def forwards(self) -> Int[Tensor, "n"]:
        """Evaluations of each image."""
        return self.seen.sum(1)

    def means(self) -> Float[Tensor, "n p"]:
        """Return each candidate's own mean error, over what was seen of it."""
        there = ~self.errors.isnan()
        weights = self.plan.weights.expand_as(self.errors) * there
        return (self.errors.nan_to_num().double() * weights).sum(2) / weights.sum(2)

    def winners(self) -> Int[Tensor, "n"]:
        """Return the best candidate: of those that were left, the one with the smallest mean."""
        return self.means().masked_fill(~self.kept[:, -1], torch.inf).argmin(1)

    def ranking(self, image: int, stage: int) -> Int[Tensor, "k"]:
        """Return who was left after a round, best first.

        Args:
            image: row.
            stage: number of the round.
        """
        end = self.plan.ends[stage]
        means = self.plan.means(self.errors[image : image + 1, :, :end].double())[0]
        left = self.kept[image, stage].nonzero()[:, 0]
        return left[means[left].argsort(stable=True)]

    def gaps(self) -> tuple[Float[Tensor, "n p"], Float[Tensor, "n p"]]:
        """Return how far each candidate is behind the winner, and the standard error of that.

        Both are of the paired differences, over the evaluations that candidate and winner share;
        with fewer than two of them the standard error is infinite, and the winner's own is 0.
        """
        rows, winner = torch.arange(len(self)), self.winners()
        gaps = (self.errors - self.errors[rows, winner][:, None]).double()
        there = ~gaps.isnan()
        gaps, count = gaps.nan_to_num(), there.sum(2)
        weights = self.plan.weights.expand_as(gaps) * there
        total = weights.sum(2)
        mean = (gaps * weights).sum(2) / total
        squares = (weights**2 * (gaps - mean[..., None]) ** 2).sum(2) / total**2
        deviation = (squares * count / (count - 1).clamp(min=1)).sqrt()
        deviation = torch.where(count > 1, deviation, torch.inf)
        deviation[rows, winner] = 0
        return mean, deviation

    def scores(self) -> Float[Tensor, "n p"]:
        """Return a mean error for each candidate by which they can be compared.

            L(c) = L(winner) + mean over the shared evaluations of (error(c) - error(winner))

        Where all evaluations were made this is the plain mean. A candidate that left early is known
        less well, and never counts as better than the winner.
        """
        rows, winner = torch.arange(len(self)), self.winners()
        behind = self.gaps()[0].clamp(min=0)
        best = self.means()[rows, winner][:, None]
        # The next number: of equals, who was beaten stays behind the winner.
        found = torch.maximum(
            best + behind, torch.nextafter(best, torch.tensor(torch.inf).double())
        )
        found[rows, winner] = best[:, 0]
        return found

    def by_class(self, scores: Float[Tensor, "n p"], classes: int) -> Float[Tensor, "n k"]:
        """Return the smallest of each class's candidates."""
        found = torch.full((len(scores), classes), torch.inf, dtype=scores.dtype)
        return found.scatter_reduce(1, self.owner.expand_as(scores), scores, "amin")

    def certainty(self) -> Float[Tensor, "n"]:
        """Return the runner-up's distance in standard errors; infinite without another class."""
        mean, deviation = self.gaps()
        ratio = mean / deviation.clamp(min=torch.finfo(torch.float64).tiny)
        own = self.owner[None] == self.owner[self.winners()][:, None]
        return ratio.masked_fill(own, torch.inf).amin(1)


__all__ = ["Evidence"]
