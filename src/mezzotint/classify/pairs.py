"""Relational pairs: two captions, two images, and which belongs to which (Winoground's form).

    score(c, i) = -L(c, i)
    text:  s(c0, i0) > s(c1, i0)  and  s(c1, i1) > s(c0, i1)
    image: s(c0, i0) > s(c0, i1)  and  s(c1, i1) > s(c1, i0)
    group: both

The image score compares p(x | c) of different images, which does not mean much: one image is harder
to predict than another under any caption (arXiv 2303.16203, section 5.3, and its code). Subtracting
what an image scores under no condition, `reference`, makes them comparable.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from mezzotint.classify.contest import Contest, Draws, Paired
from mezzotint.classify.labelling import Candidates
from mezzotint.classify.measures import Measure, Squared
from mezzotint.classify.schedules import Exhaustive
from mezzotint.classify.times import Even, Times
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.errors import DataError

_SURE: Final = 1.96  # standard errors of a 95 % interval


@dataclass(frozen=True)
class Matches:
    """What was found on pairs.

    Attributes:
        errors: of example, caption, image and evaluation.
        scores: of example, caption and image.
    """

    errors: Float[Tensor, "n 2 2 m"]
    scores: Float[Tensor, "n 2 2"]

    @property
    def text(self) -> Bool[Tensor, "n"]:
        """Whether each image scores higher under its own caption."""
        s = self.scores
        return (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])

    @property
    def image(self) -> Bool[Tensor, "n"]:
        """Whether each caption scores higher on its own image."""
        s = self.scores
        return (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])

    @property
    def group(self) -> Bool[Tensor, "n"]:
        """Whether both."""
        return self.text & self.image

    def summary(self) -> dict[str, tuple[float, float]]:
        """Return each share with half of its 95 % interval, 1.96 sqrt(p (1 - p) / n)."""
        found = {"text": self.text, "image": self.image, "group": self.group}
        shares = {name: float(right.double().mean()) for name, right in found.items()}
        return {
            name: (p, _SURE * math.sqrt(p * (1 - p) / len(self.scores)))
            for name, p in shares.items()
        }


@dataclass(frozen=True)
class Pairs:
    """Matches captions with images.

    Args:
        denoiser: any.
        times: where to look; the release looks at all 1000.
        measure: in what captions compete.
        draws: of noise, shared by the four combinations.
        batch: rows that the denoiser gets at a time.
        reference: a condition that says nothing, such as the null class, whose score is subtracted
            from each image's; None compares as published.
    """

    denoiser: Denoiser
    times: Times = Even(250, spread=False)
    measure: Measure = Squared()
    draws: Draws = Paired()
    batch: int = 256
    reference: Shaped[Tensor, "..."] | None = None

    def __call__(self, x: Float[Tensor, "n 2 ..."], captions: Shaped[Tensor, "n 2 ..."]) -> Matches:
        """Match captions with images.

        Args:
            x: two clean images or latents an example.
            captions: two conditions an example, in the order of the images.

        Raises:
            DataError: no example, or not two of each.
        """
        if len(x) == 0 or x.shape[1] != 2 or captions.shape[:2] != x.shape[:2]:
            raise DataError(
                f"pairs: images {tuple(x.shape[:2])}, captions {tuple(captions.shape[:2])}; "
                "expected two images and two captions an example, at least one example"
            )
        found = [self._example(*each) for each in zip(x, captions, strict=True)]
        errors = torch.stack([each[:2] for each in found])
        weights = self.times.weights(self.denoiser.path)
        scores = -(errors.double() * weights).sum(-1) / weights.sum()
        if self.reference is not None:
            plain = torch.stack([each[2:] for each in found])
            scores = scores + (plain.double() * weights).sum(-1) / weights.sum()
        return Matches(errors, scores)

    def _example(
        self, images: Float[Tensor, "2 ..."], captions: Shaped[Tensor, "2 ..."]
    ) -> Float[Tensor, "c 2 m"]:
        """Return the errors of each condition on both images."""
        more = [] if self.reference is None else [self.reference[None].to(captions)]
        conditions = torch.cat([captions, *more])
        candidates = Candidates(conditions, torch.arange(len(conditions)))
        contest = Contest(
            self.denoiser,
            candidates,
            Exhaustive(self.times),
            self.measure,
            self.draws,
            self.batch,
        )
        return contest(images).errors.transpose(0, 1)


__all__ = ["Matches", "Pairs"]
