"""A scikit-learn classifier around any denoiser.

    classifier = DiffusionClassifier(denoiser).fit(None, range(10))
    classifier.predict(latents)

Nothing is trained: the denoiser was. `fit` learns which labels there are, and from labelled images,
where they are given, the temperature of the probabilities. scikit-learn itself is not needed.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.classify import inputs
from mezzotint.classify.contest import Contest, Draws, Paired
from mezzotint.classify.evidence import Evidence
from mezzotint.classify.labelling import ByNumber, Labelling, Labels
from mezzotint.classify.measures import Measure, Squared
from mezzotint.classify.parameters import Parameters
from mezzotint.classify.posterior import Fitted, log_priors
from mezzotint.classify.schedules import Race, Schedule
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.errors import DataError
from mezzotint.tokenizers.base import Tokenizer


class DiffusionClassifier(Parameters):
    """Diffusion Classifier: the class under which the denoiser errs least.

        argmin_c mean_i |eps_i - eps_theta(x_{t_i}, t_i, c)|^2

    Args:
        denoiser: a model that knows classes.
        tokenizer: from uint8 images to what the denoiser sees; None takes X as that.
        labelling: which condition of the denoiser a label means.
        schedule: how often each class is looked at: `Race`, `Exhaustive`, `Official`, `Nested`.
        measure: in what the classes compete.
        draws: of noise; `Paired(seed)`. Decisions depend on the image and this seed.
        batch: rows that the denoiser gets at a time; results are the same up to rounding.
        seconds: time for an image, on average; then the best so far wins, and results depend on the
            machine. None means no limit.

    Attributes:
        classes_: the labels, sorted; set by `fit`.
        temperature_: of the probabilities; 1 until it is fitted.
        calibration_: what the fit of the temperature is worth, or None.

    Source: Li et al., arXiv 2303.16203.
    """

    _estimator_type = "classifier"

    classes_: Labels
    temperature_: float
    calibration_: Fitted | None

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        tokenizer: Tokenizer | None = None,
        labelling: Labelling = ByNumber(),  # noqa: B008 (frozen)
        schedule: Schedule = Race(),  # noqa: B008
        measure: Measure = Squared(),  # noqa: B008
        draws: Draws = Paired(),  # noqa: B008
        batch: int = 256,
        seconds: float | None = None,
    ) -> None:
        self.denoiser = denoiser
        self.tokenizer = tokenizer
        self.labelling = labelling
        self.schedule = schedule
        self.measure = measure
        self.draws = draws
        self.batch = batch
        self.seconds = seconds

    def fit(self, X: Any, y: Any, *, priors: Sequence[float] | None = None) -> Self:
        """Learn the labels, and from images, if there are any, the temperature.

        Args:
            X: held-out images of these labels, or None.
            y: labels; without images, each one that may be predicted.
            priors: how frequent each class is, in the order of the sorted labels; equal by default.

        Raises:
            DataError: fewer than two classes, unknown labels, or images that do not fit.
        """
        found = inputs.labels(y)
        x = None if X is None else self._read(X)
        if x is not None and len(x) != len(found):
            raise DataError(
                f"Found input variables with inconsistent numbers of samples: {len(x)} images and "
                f"{len(found)} labels; give one label an image"
            )
        classes = np.unique(found)
        if len(classes) < 2:
            raise DataError(
                f"only one class was given, {classes.tolist()[0]!r}; a classifier needs at least "
                "two classes"
            )
        candidates = self.labelling(classes)
        shares = log_priors(None if priors is None else tuple(priors), len(classes))
        self.classes_, self._candidates, self._log_priors = classes, candidates, shares
        self.temperature_, self.calibration_ = 1.0, None
        if x is not None:
            self._shape = tuple(x.shape[1:])
            self.n_features_in_ = int(np.prod(self._shape))
            self.calibrate(self._contest()(x), found)
        return self

    def calibrate(self, X: Any, y: Any) -> Fitted:
        """Fit the temperature of the probabilities on held-out images.

        Args:
            X: images that the denoiser has not been trained on, or `evidence` of them.
            y: their labels.

        Returns:
            The temperature, and what the probabilities are worth before and after.
        """
        evidence = self.evidence(X)
        place = self.places(y, len(evidence))
        logits = self._logits(evidence, 1.0, torch.zeros_like(self._log_priors))
        self.calibration_ = Fitted.of(logits, place)
        self.temperature_ = self.calibration_.temperature
        return self.calibration_

    def places(self, y: Any, images: int) -> Int[Tensor, "n"]:
        """Return labels as places among the classes.

        Args:
            y: one label an image.
            images: how many there are.

        Raises:
            DataError: a label that was not fitted, or another number of them.
        """
        self._fitted()
        found = inputs.labels(y)
        if len(found) != images:
            raise DataError(f"{images} images and {len(found)} labels; give one label an image")
        place = np.searchsorted(self.classes_, found).clip(max=len(self.classes_) - 1)
        known = self.classes_[place] == found
        if not known.all():
            first = found[~known].tolist()[0]
            raise DataError(
                f"label {first!r} is not among the classes that were fitted; expected "
                f"one of: {', '.join(map(str, self.classes_[:20]))}"
            )
        return torch.from_numpy(place)

    def evidence(self, X: Any) -> Evidence:
        """Return the errors behind the decisions; every other method takes these in place of X."""
        self._fitted()
        if isinstance(X, Evidence):
            return X
        x = self._read(X)
        expected = getattr(self, "_shape", tuple(x.shape[1:]))
        if tuple(x.shape[1:]) != expected:
            raise DataError(
                f"X has {x[0].numel()} features, but {type(self).__name__} is expecting "
                f"{int(np.prod(expected))} features as input; its images have shape {expected}"
            )
        return self._contest()(x)

    def predict(self, X: Any) -> Labels:
        """Return the label of each image."""
        logits = self._posterior(self.evidence(X))
        found: Labels = self.classes_[logits.argmax(1).numpy()]
        return found

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return log p(c | x) up to a constant of each image, -D L(c) / T + log p(c).

        For two classes, as scikit-learn wants it, that of the second less that of the first.
        """
        logits = self._posterior(self.evidence(X))
        found: NDArray[Any] = logits.numpy()
        return found[:, 1] - found[:, 0] if found.shape[1] == 2 else found

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return p(c | x); of classes that left the race early, approximately."""
        found: NDArray[Any] = self._posterior(self.evidence(X)).softmax(1).numpy()
        return found

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return log p(c | x)."""
        found: NDArray[Any] = self._posterior(self.evidence(X)).log_softmax(1).numpy()
        return found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of images that are named right, weighted if weights are given."""
        named, found = self.predict(X), inputs.labels(y)
        if len(named) != len(found):
            raise DataError(f"{len(named)} images and {len(found)} labels; give one label an image")
        return float(np.average(named == found, weights=sample_weight))

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` has been called."""
        return hasattr(self, "classes_")

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what this is."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=True, three_d_array=True),
        )

    def _read(self, X: Any) -> Float[Tensor, "n ..."]:
        return inputs.latents(X, self.tokenizer, inputs.device_of(self.denoiser))

    def _contest(self) -> Contest:
        return Contest(
            denoiser=self.denoiser,
            candidates=self._candidates,
            schedule=self.schedule,
            measure=self.measure,
            draws=self.draws,
            batch=self.batch,
            seconds=self.seconds,
        )

    def _posterior(self, evidence: Evidence) -> Float[Tensor, "n k"]:
        return self._logits(evidence, self.temperature_, self._log_priors)

    def _logits(
        self, evidence: Evidence, temperature: float, priors: Float[Tensor, "k"]
    ) -> Float[Tensor, "n k"]:
        scores = evidence.by_class(evidence.scores(), len(self.classes_))
        return -evidence.elements * scores / temperature + priors

    def _fitted(self) -> None:
        """Refuse to answer before `fit`.

        Raises:
            NotFittedError: scikit-learn's own where it is installed, else a DataError.
        """
        if self.__sklearn_is_fitted__():
            return
        what = f"This {type(self).__name__} instance is not fitted yet; call fit(None, labels)"
        try:
            from sklearn.exceptions import NotFittedError
        except ImportError:
            raise DataError(what) from None
        raise NotFittedError(what)


__all__ = ["DiffusionClassifier"]
