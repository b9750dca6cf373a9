"""What else the errors say: how typical an image is of its label, wrong labels, strange images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mezzotint.classify.estimator import DiffusionClassifier
from mezzotint.classify.evidence import Evidence
from mezzotint.classify.labelling import Labels
from mezzotint.errors import DataError


@dataclass(frozen=True)
class Labelled:
    """What the model thinks of labels that images came with.

    Attributes:
        log_p: log p(label | x), in nats: how typical the image is of its label.
        behind: how far the label's log-probability lies below that of the best class; 0 or more.
        certainty: the same gap in standard errors of the paired differences.
        suggested: the best class.
    """

    log_p: Float[Tensor, "n"]
    behind: Float[Tensor, "n"]
    certainty: Float[Tensor, "n"]
    suggested: Labels

    @classmethod
    def of(cls, classifier: DiffusionClassifier, X: Any, y: Any) -> "Labelled":
        """Compare labels with what a classifier finds.

        Args:
            classifier: fitted.
            X: images, or their evidence.
            y: the labels that they came with.

        Raises:
            DataError: unknown labels, or not one an image.
        """
        evidence = classifier.evidence(X)
        place = classifier.places(y, len(evidence))
        rows = torch.arange(len(place))
        log_p = torch.from_numpy(classifier.predict_log_proba(evidence))
        gaps, deviations = evidence.gaps()
        # Of several candidates of a class the nearest one speaks for the label.
        own = evidence.owner[None] == place[:, None]
        nearest = gaps.masked_fill(~own, torch.inf).argmin(1)
        tiny = torch.finfo(torch.float64).tiny
        certainty = gaps[rows, nearest] / deviations[rows, nearest].clamp(min=tiny)
        return cls(
            log_p=log_p[rows, place],
            behind=log_p.amax(1) - log_p[rows, place],
            certainty=certainty.clamp(min=0),
            suggested=classifier.classes_[log_p.argmax(1).numpy()],
        )

    def ranking(self) -> Int[Tensor, "n"]:
        """Return the images, the most typical of its label first."""
        return self.log_p.argsort(descending=True, stable=True)

    def doubted(self, certainty: float = 3.0) -> Bool[Tensor, "n"]:
        """Return which images another class explains better, by so many standard errors."""
        return (self.behind > 0) & (self.certainty >= certainty)

    def suspects(self, certainty: float = 3.0) -> Int[Tensor, "m"]:
        """Return the images whose label is doubted, the most doubtful first."""
        found = self.doubted(certainty).nonzero()[:, 0]
        return found[self.behind[found].argsort(descending=True, stable=True)]


def common(*parts: Evidence) -> int:
    """Return how many first evaluations the winners of all images have in common."""
    return min(int(part.seen[torch.arange(len(part)), part.winners()].min()) for part in parts)


def best_errors(evidence: Evidence, first: int) -> Float[Tensor, "n"]:
    """Return the winners' mean error over the first evaluations, the same ones for every image."""
    rows = torch.arange(len(evidence))
    errors = evidence.errors[rows, evidence.winners(), :first]
    return evidence.plan.means(errors[:, None].double())[:, 0]


def strangeness(evidence: Evidence, reference: Evidence) -> Float[Tensor, "n"]:
    """Return for each image the share of reference images that the model explains better.

    An image out of the distribution is predicted badly under every class, so its share is near 1; a
    share above 1 - a flags about a share a of ordinary images. As with every likelihood, a plain
    image is easy to predict wherever it comes from: a low share is no proof of belonging.

    Args:
        evidence: of the images in question.
        reference: of held-out images of the training distribution, by the same classifier.

    Raises:
        DataError: the two were not made by the same evaluations.
    """
    same = evidence.plan.t.equal(reference.plan.t) and evidence.elements == reference.elements
    if not same:
        raise DataError("strangeness: the reference was looked at at other times; use one schedule")
    first = common(evidence, reference)
    ordered = best_errors(reference, first).sort().values
    found = np.searchsorted(ordered.numpy(), best_errors(evidence, first).numpy())
    return torch.from_numpy(found) / len(ordered)


__all__ = ["Labelled", "best_errors", "common", "strangeness"]
