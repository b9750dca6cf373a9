"""The contest: candidates are compared on the same noisy copies of an image.

    error(c, i) = measure(denoiser(alpha(t_i) x0 + sigma(t_i) eps_i, t_i, c), truth)

Draw eps_i is the same for all candidates, which is what makes their differences small and sure: the
noisy copies are made once and shared. Rows of all images and candidates fill the same batches.
"""

import time
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mezzotint.classify.evidence import Evidence
from mezzotint.classify.labelling import Candidates
from mezzotint.classify.measures import Measure
from mezzotint.classify.schedules import Plan, Schedule
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.predictions import Truth
from mezzotint.noise import SeededNoise, mix

ERRORS: Final = 1 << 24
"""Errors that are held while images are compared; more images are taken in turns."""


@runtime_checkable
class Draws(Protocol):
    """Numbered draws of noise, the same for every image."""

    def number(self, evaluation: Int[Tensor, "b"], candidate: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Return which draw a candidate gets at an evaluation."""
        ...

    def __call__(
        self, numbers: Int[Tensor, "m"], like: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "m ..."]:
        """Return draws by number, each shaped like a row of `like`."""
        ...


def _seeded(seed: int, numbers: Int[Tensor, "m"], like: Float[Tensor, "b ..."]) -> Tensor:
    draws = SeededNoise(mix(seed, number) for number in numbers.tolist())
    return draws(like[:1].expand(len(numbers), *like.shape[1:]))


@dataclass(frozen=True)
class Paired:
    """Evaluation i uses draw i for every candidate and every image: the published way.

    So a decision depends on the image and the seed alone.

    Args:
        seed: of the draws.
    """

    seed: int = 0

    def number(self, evaluation: Int[Tensor, "b"], candidate: Int[Tensor, "b"]) -> Int[Tensor, "b"]:  # noqa: ARG002 (all candidates alike)
        """Return the evaluation."""
        return evaluation

    def __call__(
        self, numbers: Int[Tensor, "m"], like: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "m ..."]:
        """Return seeded draws."""
        return _seeded(self.seed, numbers, like)


@dataclass(frozen=True)
class Independent:
    """Draws of its own for every candidate: what pairing is measured against, and nothing else."""

    seed: int = 0

    def number(self, evaluation: Int[Tensor, "b"], candidate: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Return a number that only this candidate has."""
        return (candidate + 1 << 32) + evaluation

    def __call__(
        self, numbers: Int[Tensor, "m"], like: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "m ..."]:
        """Return seeded draws."""
        return _seeded(self.seed, numbers, like)


@dataclass(frozen=True)
class Recorded:
    """Draws that are given, such as a noise file of the release; all candidates share them.

    Args:
        rows: draw i for evaluation i.
    """

    rows: Float[Tensor, "n ..."]

    def number(self, evaluation: Int[Tensor, "b"], candidate: Int[Tensor, "b"]) -> Int[Tensor, "b"]:  # noqa: ARG002 (all candidates alike)
        """Return the evaluation."""
        return evaluation

    def __call__(
        self, numbers: Int[Tensor, "m"], like: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "m ..."]:
        """Return rows of the record."""
        return self.rows[numbers].to(like)


@dataclass(frozen=True)
class Contest:
    """Compares candidates on images.

    Args:
        denoiser: any; guided, stitched or converted ones too.
        candidates: who competes.
        schedule: how often each is looked at.
        measure: in what they compete.
        draws: of noise.
        batch: rows (image, evaluation, candidate) that the denoiser gets at a time.
        seconds: time for an image, on average; the first round is always finished, later ones are
            begun only in time. None means no limit.

    Raises:
        ConfigError: a measure that the path does not allow, or a schedule for more candidates.
    """

    denoiser: Denoiser
    candidates: Candidates
    schedule: Schedule
    measure: Measure
    draws: Draws
    batch: int = 256
    seconds: float | None = None

    def __post_init__(self) -> None:
        self.measure.check(self.denoiser.path)
        self.schedule.check(len(self.candidates))

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "n ..."]) -> Evidence:
        """Return what was found.

        Args:
            x: clean images or latents, where the denoiser computes.
        """
        plan = self.schedule.plan(self.denoiser.path)
        together = max(1, ERRORS // (len(plan.t) * len(self.candidates)))
        parts = [self._together(block, plan) for block in x.split(together)]
        return Evidence.joined(parts, plan, self.candidates.owner, x[0].numel())

    def _together(self, x: Float[Tensor, "n ..."], plan: Plan) -> tuple[Tensor, Tensor]:
        """Return the errors of a block of images, and who was left after each round."""
        shape = len(x), len(self.candidates), len(plan.t)
        errors = torch.full(shape, torch.nan)
        alive = torch.ones(shape[:2], dtype=torch.bool)
        kept = []
        stop = None if self.seconds is None else time.monotonic() + self.seconds * len(x)
        for first, end in plan.rounds:
            late = stop is not None and first > 0 and time.monotonic() > stop
            running = alive & (alive.sum(1, keepdim=True) > 1 if first else alive)
            if not late and bool(running.any()):
                self._round(x, plan, (first, end), running, errors)
                busy = running.any(1).nonzero()[:, 0]
                found = errors[busy, :, :end].double()
                alive[busy] = self.schedule.survivors(found, alive[busy], plan)
            kept.append(alive.clone())
        return errors, torch.stack(kept, 1)

    def _round(
        self,
        x: Float[Tensor, "n ..."],
        plan: Plan,
        span: tuple[int, int],
        running: Bool[Tensor, "n p"],
        errors: Float[Tensor, "n p m"],
    ) -> None:
        """Fill in the errors of all who run, for the evaluations of one round."""
        first, end = span
        places = running[:, None].expand(-1, end - first, -1).nonzero()
        image, evaluation, candidate = places[:, 0], places[:, 1] + first, places[:, 2]
        numbers = self.draws.number(evaluation, candidate)
        needed, which = numbers.unique(return_inverse=True)
        drawn = self.draws(needed, x)
        for rows in torch.arange(len(places)).split(self.batch):
            found = self._errors(
                x,
                drawn,
                plan.t[evaluation[rows]],
                torch.stack([image[rows], which[rows]], 1),
                candidate[rows],
            )
            errors[image[rows], candidate[rows], evaluation[rows]] = found.float().cpu()

    def _errors(
        self,
        x: Float[Tensor, "n ..."],
        drawn: Float[Tensor, "m ..."],
        t: Float[Tensor, "b"],
        copies: Int[Tensor, "b 2"],
        candidate: Int[Tensor, "b"],
    ) -> Float[Tensor, "b"]:
        """Return the errors of a batch; `copies` are image and draw of each row."""
        path = self.denoiser.path
        x0, eps = x[copies[:, 0].to(x.device)], drawn[copies[:, 1].to(x.device)]
        scales = path.at(t, x0)
        step = path.step(t)
        truth = Truth(
            x0=x0,
            eps=eps,
            x=scales.alpha * x0 + scales.sigma * eps,
            scales=scales,
            step=None if step is None else step.like(x0),
        )
        y = self.candidates.conditions[candidate].to(x.device)
        return self.measure(self.denoiser(truth.x, t, y), truth)


__all__ = ["Contest", "Draws", "Independent", "Paired", "Recorded"]
