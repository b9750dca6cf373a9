"""What is measured where nobody says otherwise: extractor, judge, metrics, training images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from mezzotint import checkpoint, config
from mezzotint.data.embedded import cache_folder
from mezzotint.data.images import Data, Images
from mezzotint.errors import ConfigError, DataError, MezzotintError
from mezzotint.evaluation.evaluator import Evaluator, Watch, quiet
from mezzotint.evaluation.extract import Alone, Group
from mezzotint.evaluation.features import Features
from mezzotint.evaluation.inception import Inception
from mezzotint.evaluation.judge import SUFFIX, Judge
from mezzotint.evaluation.metrics import (
    DensityCoverage,
    Frechet,
    InceptionScore,
    Kernel,
    Metric,
    PrecisionRecall,
)
from mezzotint.evaluation.scores import Shuffled
from mezzotint.evaluation.sources import Source, source_of
from mezzotint.evaluation.timm_features import EffLite0, TimmFeatures

FEW: Final = 10_000
"""Under so many samples the Fréchet distance alone is too noisy: the kernel distance is shown."""
PART: Final = 5_000
"""Images over which an Inception Score is taken, as ADM does."""
AUTO: Final = "auto"
TIMM: Final = "timm:"
_INCEPTION: Final = "FID"

Weights = str | Path | None


def _lite(weights: Weights, device: str) -> Features:
    return EffLite0(weights, device=device) if weights else EffLite0(device=device)


_NAMED: Final[dict[str, Callable[[Weights, str], Features]]] = {
    "inception": lambda weights, device: Inception(weights, device=device),
    "efflite0": _lite,
}


def extractor(name: str, reference: Source, *, weights: Weights = None, device: str) -> Features:
    """Return the extractor of a name.

    Args:
        name: inception, efflite0, timm:NETWORK, a classifier (zoo name, folder or file), or auto:
            the judge of an embedded set, else efflite0.
        reference: what it will look at.
        weights: where the weights are, see `mezzotint.evaluation.weights`.
        device: where it runs.

    Raises:
        ConfigError: there is no such extractor.
        CheckpointError: its weights are missing, or are not what they should be.
        MissingExtraError: it needs a package that is not installed.
    """
    name = automatic(reference) if name == AUTO else name
    if name.startswith(TIMM):
        return TimmFeatures(name.removeprefix(TIMM), weights, device=device)
    if name in _NAMED:
        return _NAMED[name](weights, device)
    judges = checkpoint.zoo("classifier")
    if name not in judges and not Path(name).exists():
        known = [*_NAMED, *judges, f"{TIMM}NETWORK"]
        raise ConfigError(f"no extractor {name!r}; {config.nearest(name, known)}")
    return Judge.load(name, device=device)


def automatic(reference: Source) -> str:
    """Return the judge of an embedded set at the size it reads, else EfficientNet-Lite0."""
    return judge_of(reference) or "efflite0"


def judge_of(reference: Source) -> str | None:
    """Return the name of the zoo's judge of an embedded set, where the picture sizes agree."""
    name = f"{reference.kind}{SUFFIX}"
    if name not in checkpoint.zoo("classifier"):
        return None
    if reference.images is None:
        return None
    size = config.read(checkpoint.zoo("classifier")[name] / checkpoint.CONFIG)["tokenizer"]["size"]
    return name if size == reference.pictures.size else None


def metrics_for(
    chosen: Features, reference: Source, *, count: int, kernel: bool | None = None
) -> list[Metric]:
    """Return every metric that an extractor and a reference allow.

    Args:
        chosen: the extractor; only Inception's metrics bear the bare names FID, KID and IS.
        reference: the real images, or statistics alone, which allow the Fréchet distances.
        count: number of samples.
        kernel: whether the kernel distance is wanted; by default under 10,000 samples.
    """
    rest = chosen.distance.removeprefix("FD-")
    ending = "" if chosen.distance == _INCEPTION else f"-{rest}"
    spatial = getattr(chosen, "spatial_distance", None)
    found: list[Metric] = [Frechet(chosen.distance)]
    if spatial is not None and (reference.images is not None or "mu_s" in reference.statistics):
        found.append(Frechet(spatial, space="spatial"))
    if reference.images is None:
        return found
    if count < FEW if kernel is None else kernel:
        found.append(Kernel(f"KID{ending}"))
    if count > PrecisionRecall().k:
        found += [PrecisionRecall(), DensityCoverage()]
    if chosen.classes or spatial is not None:
        # Sets are often sorted by class, so parts are shuffled; ADM takes the order of the file.
        found.append(InceptionScore(f"IS{ending}", Shuffled(max(1, count // PART))))
    return found


def trained_on(made: Mapping[str, Any]) -> tuple[Source | None, Source | None, str]:
    """Return the training and held-out images that a manifest's provenance leads to.

    Returns:
        Both, or None where they are not to be had, and a line that says why not.
    """
    provenance = made.get("provenance", {})
    tree = provenance.get("pictures") or provenance.get("recipe", {}).get("data")
    if tree is None:
        return None, None, "it is not recorded what the model was trained on"
    try:
        data, digest = config.load("data", tree).pictures()
        assert isinstance(data, Data), "a recipe's data"
        training, held_out = (source_of(data, held_out=part) for part in (False, True))
    except (MezzotintError, OSError) as error:
        return None, None, f"the training images cannot be opened: {error}"
    known = provenance.get("pictures_digest") or digest or provenance.get("data_digest")
    if known not in (None, training.pictures.digest):
        return None, None, "the training images have changed since the model was trained"
    return training, held_out if len(held_out.pictures) else None, ""


def class_shares(reference: Source, classes: Sequence[str]) -> tuple[int, ...]:
    """Return how many real images each class of a model has; () where that is not known.

    Args:
        reference: the real images.
        classes: names of the model's classes.
    """
    images = reference.images
    if images is None or not classes or not set(classes) <= set(images.classes):
        return ()
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    return tuple(counts[images.classes.index(name)] for name in classes)


def counterparts(reference: Source) -> tuple[Source | None, Source | None]:
    """Return the training and the held-out part of an embedded set, whichever was given."""
    if not reference.kind:
        return None, None
    data = config.load("data", reference.kind)
    return source_of(data, held_out=False), source_of(data, held_out=True)


@dataclass(frozen=True)
class Choices:
    """How to measure; each choice has a default that depends on the images.

    Attributes:
        features, weights: see `extractor`.
        judge: a classifier for the class accuracy: a zoo name, folder or file; auto is that of an
            embedded set, and None is no judge.
        kernel: see `metrics_for`.
        device: where the networks run.
        cache: folder for feature rows; that of the user by default.
    """

    features: str = AUTO
    weights: Weights = None
    judge: str | None = AUTO
    kernel: bool | None = None
    device: str = "cpu"
    cache: Path = field(default_factory=lambda: cache_folder() / "features")

    def evaluator(
        self,
        samples: Source,
        reference: Source,
        count: int | None = None,
        training: Source | None = None,
        held_out: Source | None = None,
        group: Group | None = None,
        watch: Watch = quiet,
    ) -> Evaluator:
        """Put an evaluator together.

        Args:
            samples, reference: what is measured, and against what.
            count: how many samples; all by default.
            training, held_out: for memorisation; by default what the samples' manifest or the
                embedded set tells.
            group, watch: see `Evaluator`.
        """
        chosen = extractor(self.features, reference, weights=self.weights, device=self.device)
        remarks: list[str] = []
        if training is None:
            training, found, why = _known(samples, reference)
            held_out = held_out or found
            remarks += [f"Nothing was looked for among training images: {why}."] if why else []
        for other in (training, held_out):
            _same_size(samples, other)
        wanted = count or len(samples.pictures)
        return Evaluator(
            extractor=chosen,
            metrics=metrics_for(chosen, reference, count=wanted, kernel=self.kernel),
            reference=reference,
            cache=self.cache,
            judge=self._judge(samples, reference, chosen, remarks),
            training=training,
            held_out=held_out,
            group=group or Alone(),
            watch=watch,
            remarks=tuple(remarks),
        )

    def check(self, reference: Source) -> None:
        """Refuse what cannot be had, such as weights that are missing, before any work is done.

        Raises:
            ConfigError, CheckpointError, MissingExtraError: see `extractor` and `Judge.load`.
        """
        extractor(self.features, reference, weights=self.weights, device=self.device)
        if self.judge not in {None, AUTO}:
            Judge.load(str(self.judge), device=self.device)

    def _judge(
        self, samples: Source, reference: Source, chosen: Features, remarks: list[str]
    ) -> Judge | None:
        name = self.judge
        if name == AUTO:
            name = judge_of(reference) if samples.pictures.classes else None
        if name is None:
            return None
        found = Judge.load(name, device=self.device)
        if self.judge == AUTO and not _shown(samples.pictures) <= set(found.classes):
            remarks.append(f"No class accuracy: {name} does not know the samples' classes.")
            return None
        # One network is read once, and its rows serve both.
        same = isinstance(chosen, Judge) and chosen.digest == found.digest
        return chosen if same and isinstance(chosen, Judge) else found


def _shown(images: Images) -> set[str]:
    return {images.classes[label] for label in images.labels.unique().tolist()}


def _same_size(samples: Source, other: Source | None) -> None:
    if other is not None and other.pictures.size != samples.pictures.size:
        raise DataError(
            f"{samples.name} is {samples.pictures.size} px and {other.name} "
            f"{other.pictures.size} px; training and held-out images must have the samples' size"
        )


def _known(samples: Source, reference: Source) -> tuple[Source | None, Source | None, str]:
    """Return training and held-out images, or why there are none; "" where nobody asked."""
    training, held_out, why = trained_on(samples.made)
    if training is None:
        training, held_out = counterparts(reference)
    if training is None:
        return None, None, why if samples.made else ""
    if training.pictures.size != samples.pictures.size:
        return None, None, f"{training.name} has pictures of another size"
    return training, held_out, ""


__all__ = [
    "AUTO",
    "Choices",
    "automatic",
    "class_shares",
    "counterparts",
    "extractor",
    "judge_of",
    "metrics_for",
    "trained_on",
]
