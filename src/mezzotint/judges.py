"""Judges: what can be a critic, before it is fitted to a generator.

A classifier that never saw noise (its gradient then passes through the predicted clean image), one
that did, or experts, one a range of noise (mezzotint.experts).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final, Protocol

import torch

from mezzotint import checkpoint
from mezzotint.classifier import Classifier
from mezzotint.diffusion.critics import ClassifierCritic, Critic
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.steering import AtEstimate, AtNoisy, Look
from mezzotint.errors import ConfigError
from mezzotint.noisy import NoisyClassifier
from mezzotint.off_the_shelf import PREFIX, open_classifier
from mezzotint.recogniser import Recogniser

EXPERTS: Final = "experts.json"
"""The file by which a folder of experts is known."""


class Judge(Protocol):
    """What a critic is made of, before it is fitted to a generator.

    Attributes:
        classes: its class names.
        digest: of what it is.
        size: rows and columns of what it reads; None where any will do.
        path: whose noise it knows, or None where it knows of none.
        look: what it is best shown.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Its class names."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of what it is."""
        ...

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of what it reads, or None where any will do."""
        ...

    @property
    def path(self) -> Path | None:
        """Whose noise it knows, or None where it knows of none."""
        ...

    @property
    def look(self) -> Look:
        """What it is best shown."""
        ...

    @property
    def latents(self) -> bool:
        """Whether it reads the generator's latents, and not images."""
        ...

    def critic(self) -> Critic:
        """Return log p(y | what it reads)."""
        ...

    def to(self, device: str | torch.device) -> Any:
        """Move it to a device."""
        ...


@dataclass(frozen=True)
class OfClassifier:
    """What judges that ask a classifier have in common."""

    model: Recogniser

    @property
    def classes(self) -> tuple[str, ...]:
        """Its class names."""
        return self.model.classes

    @property
    def digest(self) -> str:
        """Hex digest of what it is."""
        return self.model.digest


@dataclass(frozen=True)
class CleanJudge(OfClassifier):
    """A classifier of clean images as a critic."""

    model: Classifier
    path: None = None
    look: Look = AtEstimate()
    latents: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the images that it reads."""
        return self.model.tokenizer.spec.image

    def critic(self) -> Critic:
        """Return log p(y | image)."""
        return ClassifierCritic(self.model.network)

    def to(self, device: str | torch.device) -> "CleanJudge":
        """Move the network to a device, in place."""
        self.model.to(device)
        return self


@dataclass(frozen=True)
class NoisyJudge(OfClassifier):
    """A noise-aware classifier as a critic; it reads what it was trained on, latents included."""

    model: NoisyClassifier
    look: Look = AtNoisy()
    latents: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the latents that it reads."""
        return self.model.tokenizer.spec.shape[1:]

    @property
    def path(self) -> Path:
        """Whose noise it knows."""
        return self.model.model.path

    def critic(self) -> Critic:
        """Return log p(y | x_t)."""
        return self.model.critic()

    def to(self, device: str | torch.device) -> "NoisyJudge":
        """Move the network to a device, in place."""
        self.model.to(device)
        return self


def judge_of(source: FilePath | str, experts: Callable[[FilePath], Judge] | None = None) -> Judge:
    """Open whatever can be a critic.

    Args:
        source: a zoo name, a folder, a file, or timm:NAME.
        experts: what opens a folder of experts; see `mezzotint.experts`.

    Raises:
        CheckpointError: nothing is there.
        ConfigError: it is a model of another kind.
    """
    if experts is not None and (FilePath(source) / EXPERTS).is_file():
        return experts(FilePath(source))
    if str(source).startswith(PREFIX):
        return CleanJudge(open_classifier(source))
    found = checkpoint.open_model(source)
    if isinstance(found, Classifier):
        return CleanJudge(found)
    if isinstance(found, NoisyClassifier):
        return NoisyJudge(found)
    raise ConfigError(
        f"--critic {source}: a {type(found).__name__.lower()} judges nothing; expected a "
        "classifier, a noise-aware one, or a folder of experts (mezzotint adapt)"
    )


__all__ = ["EXPERTS", "CleanJudge", "Judge", "NoisyJudge", "judge_of"]
