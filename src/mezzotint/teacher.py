"""The teacher of a run: opened, compared with its student, and counted among the costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from mezzotint import config, generator
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.errors import ConfigError
from mezzotint.generator import DiffusionConfig, Generator
from mezzotint.tokenizers.base import TokenizerConfig
from mezzotint.training.distilled import Distilled, Teacher
from mezzotint.training.objectives import Denoising
from mezzotint.training.plan import DenoisingPlan

_OWN: Final = {"weighting", "simple", "bound", "bound_mean"}
"""Of a prediction: what its loss weighs, which is no matter of what outputs mean."""


def pinned(
    plan: DenoisingPlan,
    model: DiffusionConfig,
    tokenizer: TokenizerConfig,
    classes: Sequence[str],
) -> DenoisingPlan:
    """Return a plan with its teacher's digest and cost filled in, once that is seen to fit.

    Args:
        plan: of the student; without a teacher it is returned as it is.
        model, tokenizer: the student's.
        classes: the student's class names.

    Raises:
        CheckpointError: the source is no generator.
        ConfigError: the teacher has another path, prediction space, latents or classes, lacks the
            null class that training needs, or is not the one that was pinned.
    """
    teacher = plan.teacher
    if teacher is None:
        return plan
    made = opened(teacher)
    said = next(_unlike(made, model, tokenizer, classes), None)
    if said is None and plan.drop and made.null is None:
        said = f"it has no null class, but train.drop is {plan.drop:g}; set train.drop to 0"
    if said is not None:
        raise ConfigError(f"train.teacher: {teacher.source} cannot teach here: {said}")
    seen = made.tree.get("provenance", {}).get("seen")
    told = teacher.model_copy(update={"digest": made.digest, "seen": seen, **made.cost()})
    return plan.model_copy(update={"teacher": told})


def taught(own: Denoising, teacher: Teacher | None, device: torch.device) -> Denoising:
    """Return a student's loss with the terms of its teacher, if there is one.

    Args:
        own: the student's loss without a teacher.
        teacher: pinned, or None.
        device: where the student is.
    """
    if teacher is None:
        return own
    guide = opened(teacher).to(device, autocast=own.denoiser.autocast).denoiser
    assert isinstance(guide, NetworkDenoiser), "a teacher is opened as a single network"
    return Distilled(**vars(own), teacher=guide, noise=teacher.noise, variance=teacher.variance)


def opened(teacher: Teacher) -> Generator:
    """Load a teacher, frozen.

    Raises:
        CheckpointError: the source is no generator.
        ConfigError: the model there is not the one that was pinned, or not a single network.
    """
    made = generator.load(teacher.source)
    if not isinstance(made.denoiser, NetworkDenoiser):
        raise ConfigError(
            f"train.teacher: {teacher.source} is not a single network; expected a generator of one"
        )
    if teacher.digest not in {None, made.digest}:
        raise ConfigError(
            f"train.teacher: {teacher.source} is another model than the run's teacher "
            f"({made.digest[:12]}, not {str(teacher.digest)[:12]}); put the old one back"
        )
    return made


def beside(made: Generator, teacher: Teacher | None) -> Generator:
    """Return a generator that tells what it and its teacher cost and how many images each saw.

    Args:
        made: the student's generator.
        teacher: pinned; without one the generator is returned as it is.
    """
    if teacher is None:
        return made
    provenance: Mapping[str, Any] = made.tree["provenance"]
    names = ("parameters", "multiply_adds", "seen")
    told = {
        "student": {**made.cost(), "seen": provenance.get("seen")},
        "teacher": {name: getattr(teacher, name) for name in names},
    }
    return replace(made, tree={**made.tree, "provenance": {**provenance, "cost": told}})


def _unlike(
    made: Generator, model: DiffusionConfig, tokenizer: TokenizerConfig, classes: Sequence[str]
) -> Iterator[str]:
    """Yield in what a teacher differs from its student, most telling first."""
    tree = made.tree
    theirs: DiffusionConfig = config.load("model", tree["model"])
    if theirs.path != model.path:
        yield f"its path is {config.dump(theirs.path)}, the student's {config.dump(model.path)}"
    spaces = [_space(config.dump(each.prediction)) for each in (theirs, model)]
    if spaces[0] != spaces[1]:
        yield f"its prediction is {spaces[0]}, the student's {spaces[1]}"
    latents = [(n.channels, *n.size) for n in (theirs.network, model.network)]
    if latents[0] != latents[1]:
        yield f"its latents are {latents[0]}, the student's {latents[1]}"
    if _unplaced(config.load("tokenizer", tree["tokenizer"])) != _unplaced(tokenizer):
        yield "its tokenizer is another one"
    if tuple(made.classes) != tuple(classes):
        yield f"its classes are {config.few(made.classes)}, the student's {config.few(classes)}"


def _space(prediction: Any) -> Any:
    if not isinstance(prediction, dict):
        return prediction
    return {name: _space(value) for name, value in prediction.items() if name not in _OWN}


def _unplaced(tokenizer: TokenizerConfig) -> dict[str, Any]:
    return {name: value for name, value in config.dump(tokenizer).items() if name != "source"}


__all__ = ["beside", "opened", "pinned", "taught"]
