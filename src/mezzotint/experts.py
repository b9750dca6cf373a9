"""Experts of an off-the-shelf classifier, opened from their folder as one critic.

    log p(y | x_t) = log softmax(expert_n(x_t))[y],    n the range that t lies in

A folder holds experts.json and a folder an expert with its adapter in peft's format, some hundred
kilobytes each. The classifier itself stays where it is, and is known again by its digest.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import Annotated, Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from mezzotint import adapter_files, config
from mezzotint.classifier import Classifier
from mezzotint.config import Config, part
from mezzotint.diffusion.critics import ClassifierCritic, Experts
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.routing import Partition
from mezzotint.diffusion.steering import AtNoisy, Look
from mezzotint.digest import digest_of_model
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.judges import EXPERTS, judge_of
from mezzotint.networks.adapters import AdapterConfig, adapt, belonging
from mezzotint.off_the_shelf import open_classifier
from mezzotint.training.experts import ExpertPlan


class Source(Config):
    """A model that is referred to.

    Attributes:
        source: a zoo name, or an absolute path.
        digest: of what it must be.
    """

    source: str
    digest: str


class ExpertSetConfig(Config):
    """What experts.json holds.

    Attributes:
        classifier: whose experts they are.
        generator: for whose noise, on whose images.
        path: the noise.
        adapter: where adapters stand.
        plan: how they were trained.
        share: numbers that are trained an expert, and those of the classifier.
        done: how many experts are finished.
    """

    classifier: Source
    generator: Source
    path: Annotated[Path, part("path")]
    adapter: AdapterConfig
    plan: ExpertPlan
    share: tuple[int, int]
    done: int = 0


@dataclass(frozen=True)
class Expert:
    """An adapted network with the tensors of one expert in place.

    Args:
        network: adapted; shared by all experts.
        tensors: what belongs to this one.
    """

    network: nn.Module
    tensors: Mapping[str, Tensor]

    def __call__(self, x: Float[Tensor, "b ..."]) -> Tensor:
        """Return what the expert makes of x."""
        return functional_call(self.network, dict(self.tensors), (x,))


@dataclass(frozen=True)
class ExpertSet:
    """Experts of a classifier as a critic of noisy images.

    Attributes:
        base: the classifier that they are of.
        network: it, adapted.
        states: what belongs to each expert, from the clean end on.
        said: what experts.json says.
    """

    base: Classifier
    network: nn.Module
    states: tuple[Mapping[str, Tensor], ...]
    said: ExpertSetConfig
    look: Look = AtNoisy()
    latents: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classifier's classes."""
        return self.base.classes

    @cached_property
    def digest(self) -> str:
        """Hex digest of classifier and experts."""
        tensors = {f"{k}.{name}": t for k, s in enumerate(self.states) for name, t in s.items()}
        return digest_of_model(tensors, {"classifier": self.base.digest, "path": self.path})

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the images that they read."""
        return self.base.tokenizer.spec.image

    @property
    def path(self) -> Path:
        """Whose noise they know."""
        return self.said.path

    @property
    def partition(self) -> Partition:
        """The ranges of noise."""
        count = len(self.states)
        return Partition(tuple(k / count for k in range(1, count)))

    def expert(self, number: int) -> Expert:
        """Return one expert, from images to logits."""
        return Expert(self.network, self.states[number])

    def critic(self) -> Experts:
        """Return log p(y | x_t), by the expert of t."""
        pieces = [ClassifierCritic(self.expert(k)) for k in range(len(self.states))]
        return Experts(pieces, self.partition)

    def to(self, device: str | torch.device) -> Self:
        """Return the same on a device; the network moves in place."""
        self.network.to(device)
        moved = tuple({name: t.to(device) for name, t in state.items()} for state in self.states)
        return replace(self, states=moved)


def load(folder: FilePath | str) -> ExpertSet:
    """Load the experts of a folder.

    Raises:
        CheckpointError: they are not finished, damaged, or their classifier is another one now.
    """
    folder = FilePath(folder)
    said = about(folder)
    if said.done < said.plan.experts:
        raise CheckpointError(
            f"{folder}: {said.done} of {said.plan.experts} experts are finished; "
            "run the same `mezzotint adapt` again to go on"
        )
    base = _known(said.classifier, open_classifier, "classifier", folder)
    network = copy.deepcopy(base.network)
    adapt(network, said.adapter)
    network.eval().requires_grad_(requires_grad=False)
    wanted = belongings(base.network, said.adapter)
    states = tuple(
        adapter_files.read(folder / str(number), wanted) for number in range(said.plan.experts)
    )
    return ExpertSet(base, network, states, said)


def judge(source: FilePath | str) -> Any:
    """Open whatever can be a critic, experts included; see `mezzotint.judges.judge_of`."""
    return judge_of(source, load)


def belongings(network: nn.Module, adapter: AdapterConfig) -> dict[str, Tensor]:
    """Return what belongs to an expert of a network, as it is before any training."""
    fresh = copy.deepcopy(network)
    adapt(fresh, adapter)
    return belonging(fresh)


def about(folder: FilePath) -> ExpertSetConfig:
    """Return what a folder says of its experts.

    Raises:
        CheckpointError: it holds none, or says it in a way that is not understood.
    """
    path = folder / EXPERTS
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {EXPERTS} here; expected a folder of experts")
    try:
        return config.build(ExpertSetConfig, config.read(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: not understood: {error}") from None


def _known(source: Source, opens: Callable[[str], Any], what: str, folder: FilePath) -> Any:
    found = opens(source.source)
    if found.digest != source.digest:
        raise CheckpointError(
            f"{folder}: its {what} {source.source} is another one now ({found.digest[:12]}, not "
            f"{source.digest[:12]}); put the old one back, or adapt anew"
        )
    return found


__all__ = [
    "Expert",
    "ExpertSet",
    "ExpertSetConfig",
    "Source",
    "about",
    "belongings",
    "judge",
    "load",
]
