"""Stitched models: a team of denoisers that share one trajectory, as one model (T-Stitch).

    model = mezzotint.load("emoji-dit").stitch_with(mezzotint.load("emoji-dit-tiny"), 0.4)

The team knows fractions and a rule; which step is whose follows when the grid is known.
Pan et al., arXiv 2402.14167.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Protocol, Self, TypeVar

import torch
from jaxtyping import Float
from pydantic import InstanceOf, model_validator
from torch import Tensor, nn

from mezzotint.card import cost
from mezzotint.config import Config, few, part
from mezzotint.diffusion.allocation import COUNT, Rule, checked
from mezzotint.diffusion.denoiser import Denoiser, NetworkDenoiser
from mezzotint.diffusion.team import Team, members
from mezzotint.errors import ConfigError
from mezzotint.tokenizers.base import Tokenizer

_PREFIX: Final = "denoisers.{}.network."


def cost_of(denoiser: Denoiser, x: Float[Tensor, "1 c h w"]) -> dict[str, int]:
    """Return all parameters, and the multiply-adds of one evaluation, as the mean over the steps.

    Args:
        denoiser: a single one, or a team.
        x: one image's latents, on the device of the networks.
    """
    inputs = (x, x.new_zeros(1), x.new_zeros(1, dtype=torch.int64))
    each = [cost(member.network, *inputs) for member in members(denoiser)]  # type: ignore[arg-type]
    weights = denoiser.fractions if isinstance(denoiser, Team) else (1.0,)
    mean = sum(w * one["multiply_adds"] for w, one in zip(weights, each, strict=True))
    return {"parameters": sum(one["parameters"] for one in each), "multiply_adds": round(mean)}


class StitchedConfig(Config):
    """Several models on one trajectory, as a file keeps them.

    Attributes:
        models: the smallest first.
        fractions: of the steps, one a model; they sum to 1.
        rule: how the fractions are dealt out.
    """

    models: tuple[Annotated[Any, part("model")], ...]
    fractions: tuple[float, ...]
    rule: Annotated[InstanceOf[Rule], part("allocation")] = COUNT

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.models) < 2 or len(self.models) != len(self.fractions):
            raise ValueError(
                f"{len(self.models)} models and {len(self.fractions)} fractions; expected two or "
                "more models and a fraction of each"
            )
        if any(isinstance(model, StitchedConfig) for model in self.models):
            raise ValueError("models: one is stitched itself; list its models here instead")
        checked(self.fractions)
        return self

    @property
    def null(self) -> int | None:
        """The null class, or None where one of the models has none."""
        return _null([model.null for model in self.models])

    def build(self) -> Team:
        """Make the team, with fresh networks."""
        return Team([model.build() for model in self.models], self.fractions, self.rule)

    def held(self, denoiser: Any) -> nn.Module:
        """Return the module whose tensors a file keeps."""
        assert isinstance(denoiser, Team), "a stitched model holds a team"
        return denoiser

    def open(self, tree: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object) -> Any:
        """Return the generator that a stored tree describes, filled with tensors."""
        opened = []
        for place, model in enumerate(self.models):
            start = _PREFIX.format(place)
            own = {n.removeprefix(start): x for n, x in tensors.items() if n.startswith(start)}
            opened.append(model.open({**tree, "model": model}, own, f"{source}, model {place}"))
        *small, large = opened
        made = stitch(large, list(zip(small, self.fractions, strict=False)), self.rule)
        return replace(made, tree=tree)


class Stitchable(Protocol):
    """What of a generator is looked at before it is stitched."""

    @property
    def denoiser(self) -> Denoiser:
        """What is sampled from."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Between latents and images."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        ...

    @property
    def null(self) -> int | None:
        """Label of the null class."""
        ...

    @property
    def tree(self) -> Mapping[str, Any]:
        """The config tree."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...


G = TypeVar("G", bound=Stitchable)


def paired(model: type[G], listed: Sequence[G | float]) -> list[tuple[G, float]]:
    """Return models and fractions that were listed in turn as pairs.

    Raises:
        ConfigError: they do not alternate.
    """
    pairs = [
        (one, float(fraction))
        for one, fraction in zip(listed[::2], listed[1::2], strict=False)
        if isinstance(one, model) and isinstance(fraction, int | float)
    ]
    if 2 * len(pairs) != len(listed):
        raise ConfigError("stitch_with: expected model, fraction, model, fraction, ...")
    return pairs


def stitch(large: G, small: Sequence[tuple[G, float]], rule: Rule = COUNT) -> G:
    """Return a generator whose noisy steps are those of smaller ones.

    Args:
        large: takes the last steps; its sampling recipe and its provenance are the result's.
        small: generators with the fraction of the steps that each takes, the first one next to
            noise. Where they leave nothing, the large one never runs.
        rule: how the fractions are dealt out.

    Raises:
        ConfigError: another path, tokenizer or classes; a model that is stitched already; fractions
            outside [0, 1] or above 1 together. It says which.
    """
    if not small:
        raise ConfigError("no smaller model to stitch with; expected one or more")
    for place, (other, _) in enumerate(small):
        said = next(_unlike(large, other), None)
        if said is not None:
            raise ConfigError(f"model {place} cannot be stitched with the large one: {said}")
    taken = [fraction for _, fraction in small]
    fractions = checked((*taken, _rest(taken)))
    models = [*(other for other, _ in small), large]
    tree = {
        **large.tree,
        "model": {
            "kind": "stitched",
            "models": [each.tree.get("model") for each in models],
            "fractions": fractions,
            "rule": rule,
        },
        "provenance": {
            **large.tree.get("provenance", {}),
            "stitched_with": [
                {"fraction": fraction, "provenance": other.tree.get("provenance", {})}
                for other, fraction in small
            ],
        },
    }
    team = Team([each.denoiser for each in models], fractions, rule)  # type: ignore[misc]
    null = _null([each.null for each in models])
    return replace(large, denoiser=team.eval(), null=null, tree=tree)  # type: ignore[type-var]


def _rest(taken: Sequence[float]) -> float:
    """Return what smaller models leave; rounding of their sum does not make it negative."""
    rest = 1 - sum(taken)
    if rest < -1e-9 and min(taken) >= 0:
        raise ConfigError(f"fractions {taken}: sum to {sum(taken):g}, expected at most 1")
    return max(rest, 0.0)


def _unlike(large: Stitchable, other: Stitchable) -> Iterator[str]:
    """Yield in what a model differs from the large one, most telling first."""
    for each in (other, large):
        if isinstance(each.denoiser, Team):
            yield "one of them is stitched already; give all models at once"
        elif not isinstance(each.denoiser, NetworkDenoiser):
            yield "one of them walks no trajectory of noise; expected two diffusion models"
    if other.denoiser.path != large.denoiser.path:
        yield (
            f"its path is {other.denoiser.path}, not {large.denoiser.path}; both must have been "
            "trained on one noise schedule"
        )
    ours, theirs = large.tokenizer.spec, other.tokenizer.spec
    if theirs.shape != ours.shape or theirs.image != ours.image:
        yield (
            f"its latents are {theirs.shape} of images of {theirs.image}, not {ours.shape} of "
            f"{ours.image}"
        )
    if theirs.fingerprint != ours.fingerprint:
        yield "its tokenizer is another one, so its latents mean something else"
    if other.classes != large.classes:
        yield f"its classes are {few(other.classes)}, not {few(large.classes)}"
    if other.device != large.device:
        yield f"it is on {other.device} and the large one on {large.device}; move one of them"


def _null(nulls: Sequence[int | None]) -> int | None:
    return None if None in nulls else nulls[-1]


__all__ = ["StitchedConfig", "cost_of", "paired", "stitch"]
