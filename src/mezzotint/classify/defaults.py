"""How a model of ours is looked at unless a call says otherwise: as it was trained.

Deviating from the times and the weighting of training hurts (arXiv 2303.16203, section 3.2): the
errors at nearly clean times are the largest and tell the least about the class.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, Unpack

from jaxtyping import Int
from torch import Tensor

from mezzotint import config
from mezzotint.classify.estimator import DiffusionClassifier
from mezzotint.classify.labelling import ByName
from mezzotint.classify.measures import Squared, noise, on_chain, velocity
from mezzotint.classify.parameters import Settings
from mezzotint.classify.schedules import Race
from mezzotint.classify.times import Even, Quantiles, Times
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.paths import Path
from mezzotint.errors import ConfigError, DataError
from mezzotint.tokenizers.base import Tokenizer

COUNT: Final = 250
"""Evaluations of a class, at most; the release's for DiT."""


def as_trained(path: Path, tree: Mapping[str, Any], count: int = COUNT) -> dict[str, Any]:
    """Return the settings of a classifier that match a model's training.

    Args:
        path: of the model.
        tree: its config tree; what its provenance does not tell is taken as published.
        count: evaluations of a class, at most.
    """
    measure = Squared(noise if on_chain(path) else velocity)
    return {"schedule": Race(times_of(tree, count)), "measure": measure}


def times_of(tree: Mapping[str, Any], count: int = COUNT) -> Times:
    """Return the times at which a model was trained, or evenly spaced ones.

    Args:
        tree: its config tree.
        count: how many.
    """
    plan = config.dump(dict(tree)).get("provenance", {}).get("recipe", {}).get("train", {})
    drawn = plan.get("times")
    return Even(count) if drawn is None else Quantiles(config.load("times", drawn), count)


class Model(Protocol):
    """What a generator has."""

    @property
    def denoiser(self) -> Denoiser:
        """What predicts."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Between images and latents."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the labels."""

    def labels(self, classes: Iterable[str | int] | str | int) -> Int[Tensor, "k"]:
        """Return the labels of class names or numbers."""

    @property
    def tree(self) -> Mapping[str, Any]:
        """The config tree."""


class Classifies:
    """What makes a classifier of a generator."""

    def as_classifier(
        self: Model, classes: Iterable[str | int] | None = None, **settings: Unpack[Settings]
    ) -> DiffusionClassifier:
        """Return the Diffusion Classifier of this model: uint8 images in, class names out.

        It looks at the times of training, in the space of training: the error of the noise on a
        chain, of the velocity in continuous time. Guidance is left out: it only does harm here.

        Args:
            classes: those that may be predicted, two or more; all by default.
            settings: what is to be otherwise; see `DiffusionClassifier`.

        Raises:
            ConfigError: a masked model.
            DataError: the model has no classes, or fewer than two, or unknown ones are asked for.
        """
        if not self.classes:
            raise DataError("this model was trained without classes, so it cannot tell them apart")
        if not hasattr(self.denoiser, "path"):
            raise ConfigError(
                "a masked model predicts no noise, by whose errors classes could be told apart; "
                "take a diffusion model"
            )
        chosen = self.labels(self.classes if classes is None else classes)
        given = as_trained(self.denoiser.path, self.tree) | dict(settings)
        given |= {"tokenizer": self.tokenizer, "labelling": ByName(self.classes)}
        names = [self.classes[label] for label in chosen.tolist()]
        return DiffusionClassifier(self.denoiser, **given).fit(None, names)


__all__ = ["COUNT", "Classifies", "Model", "as_trained", "times_of"]
