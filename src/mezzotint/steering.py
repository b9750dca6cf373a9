"""Steering a generator by a critic: classes are matched by name, latents are decoded, sizes fitted.

    steered(load("emoji-dit"), judge_of("emoji-guide"), 4.0).sample(["flag"])

What can be a critic: mezzotint.judges. A weaker generator steers as well: mezzotint.autoguiding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final, Self

from jaxtyping import Float
from pydantic import BeforeValidator, model_validator
from torch import Tensor
from torch.nn.functional import interpolate

from mezzotint import config
from mezzotint.config import Config
from mezzotint.diffusion.critics import Critic, Renamed, Through
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.guidance import Unconditional
from mezzotint.diffusion.routing import path_of
from mezzotint.diffusion.scales import Constant, Scale, scale_of
from mezzotint.diffusion.steering import AtEstimate, AtNoisy, Look, Steered
from mezzotint.digest import digest_of_model
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.judges import Judge
from mezzotint.kinds import kind_of


def _scale(value: Any) -> Any:
    """Read a scale over time; a bare number is a constant."""
    return scale_of(value) if isinstance(value, int | float) else config.load("scale", value)


def _look(value: Any) -> Any:
    """Read what a critic sees, by its name."""
    if not isinstance(value, str):
        return value
    if value not in LOOKS:
        raise ValueError(f"expected {' or '.join(LOOKS)}")
    return LOOKS[value]


LOOKS: Final[Mapping[str, Look]] = {"x_t": AtNoisy(), "x0": AtEstimate()}
"""What a critic can be shown: the noisy image, or the predicted clean one."""


class Steering(Config):
    """Who steers a generator; the `steering` section of a sampling recipe.

    Attributes:
        critic: zoo name, folder or file of a classifier or of experts; None is nobody.
        scale: strength over time, a number or a scale; 0 is none.
        sees: x_t or x0; None is what suits the critic.
        unlabelled: the critic alone knows the class.
        weaker: zoo name, folder or file of a weaker generator to be guided away from.
        apart: strength of that over time; 1 is none.
    """

    critic: str | None = None
    scale: Annotated[Scale, BeforeValidator(_scale)] = Constant(1.0)
    sees: Annotated[Look | None, BeforeValidator(_look)] = None
    unlabelled: bool = False
    weaker: str | None = None
    apart: Annotated[Scale, BeforeValidator(_scale)] = Constant(2.0)

    @model_validator(mode="after")
    def _alone(self) -> Self:
        if self.critic is not None and self.weaker is not None:
            raise ValueError("steering: critic and weaker: one of the two at a time")
        if self.critic is None and (self.sees is not None or self.unlabelled):
            raise ValueError("steering: sees and unlabelled need a critic")
        return self


@dataclass(frozen=True)
class Influenced(Generator):
    """A generator that something beside its own recipe steers, a part of what it is.

    Attributes:
        said: what the manifest tells of that.
    """

    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hex digest of the generator and of what steers it."""
        return digest_of_model({}, {"generator": super().digest, "steering": self.said})


@dataclass(frozen=True)
class SteeredGenerator(Influenced):
    """A generator that a critic steers; made by `steered`.

    Attributes:
        critic: fitted to the generator.
        pull: scale of the steering over time; 0 is none.
        look: what the critic sees.
        unlabelled: null class that the model is always asked about, or None: it sees the class too.
    """

    critic: Critic | None = None
    pull: Scale = Constant(0.0)
    look: Look = AtNoisy()
    unlabelled: int | None = None

    @property
    def guided(self) -> Denoiser:
        """The denoiser under the recipe's guidance, if it sees classes, and the critic's."""
        assert self.critic is not None, "made by `steered`"
        inner = super().guided
        if self.unlabelled is not None:
            inner = Unconditional(self.denoiser, self.unlabelled)
        return Steered(inner, self.critic, self.pull, self.look)


def steered(
    generator: Generator,
    judge: Judge,
    scale: Scale | float,
    *,
    look: Look | None = None,
    unlabelled: bool = False,
) -> SteeredGenerator:
    """Return a generator that follows a critic.

    Args:
        generator: with or without classes; one without takes those of the critic.
        judge: see `judge_of`.
        scale: strength; unconditional models want about ten times that of conditional ones.
        look: what the critic is shown; None is what suits it.
        unlabelled: ask the generator about its null class only, so that the critic alone decides.

    Raises:
        ConfigError: the critic lacks a class of the generator, was trained on another noise
            schedule or other latents, or the generator has no null class to be asked about.
    """
    _same_noise(generator, judge)
    blind = _blind(generator, judge, unlabelled=unlabelled)
    critic = _fitted(generator, judge)
    classes = generator.classes or judge.classes
    if classes != judge.classes:
        critic = Renamed(critic, matched(classes, judge.classes))
    pull, shown = scale_of(scale), look or judge.look
    said = {
        "digest": judge.digest,
        "scale": told(pull),
        "sees": "x_t" if isinstance(shown, AtNoisy) else "x0",
        "unlabelled": blind is not None,
    }
    own = fields_of(generator) | {"classes": classes}
    steering: dict[str, Any] = {
        "critic": critic,
        "pull": pull,
        "look": shown,
        "unlabelled": blind,
        "said": said,
    }
    return SteeredGenerator(**own, **steering)


def _blind(generator: Generator, judge: Judge, *, unlabelled: bool) -> int | None:
    """Return the class that the generator is asked about whatever is wanted, or None."""
    if not generator.classes:
        return 0 if generator.null is None else generator.null
    if unlabelled and generator.null is None:
        raise ConfigError(
            "this generator has no null class, so it cannot be left unlabelled; "
            f"let it see the class of {len(judge.classes)} too, or take an unconditional one"
        )
    return generator.null if unlabelled else None


def _same_noise(generator: Generator, judge: Judge) -> None:
    path = path_of(generator.denoiser)
    if judge.path is not None and judge.path != path:
        raise ConfigError(
            f"the critic was trained on the noise of {judge.path}, but the generator's is {path}; "
            "train or adapt one for this generator"
        )


def told(scale: Scale) -> Any:
    """Return what a manifest says of a scale: a number, or its kind and settings."""
    if isinstance(scale, Constant):
        return scale.scale
    return config.dump(scale) if kind_of(type(scale)) else repr(scale)


def fields_of(generator: Generator) -> dict[str, Any]:
    """Return the fields that every generator has, of one that may have more."""
    return {each.name: getattr(generator, each.name) for each in fields(Generator)}


def matched(wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[int, ...]:
    """Return the critic's number of each of the generator's classes, by name.

    Raises:
        ConfigError: the critic does not know one.
    """
    missing = [name for name in wanted if name not in known]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(
            f"the critic has no class called {', '.join(missing[:3])}{more}, which the generator "
            f"draws; it has {', '.join(known[:5])}{', …' if len(known) > 5 else ''}: take a critic "
            "of the generator's classes"
        )
    return tuple(known.index(name) for name in wanted)


def _fitted(generator: Generator, judge: Judge) -> Critic:
    """Return the critic of what the generator's latents show, at the critic's size."""
    tokenizer, critic = generator.tokenizer, judge.critic()
    spec = tokenizer.spec
    if judge.latents:
        if judge.size != spec.shape[1:]:
            raise ConfigError(
                f"the critic reads latents of {judge.size}, but the generator's are "
                f"{spec.shape[1:]}; train one on the generator's tokenizer"
            )
        return critic
    resized = judge.size not in {None, spec.image}
    if judge.size is not None and resized:
        critic = Through(Resized(judge.size), critic)
    return Through(tokenizer.floats, critic)


@dataclass(frozen=True)
class Resized:
    """Images at another size, bilinearly and without antialiasing."""

    size: tuple[int, int]

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Resize images."""
        return interpolate(x, self.size, mode="bilinear", align_corners=False, antialias=False)


__all__ = [
    "LOOKS",
    "Resized",
    "SteeredGenerator",
    "Steering",
    "fields_of",
    "matched",
    "steered",
    "told",
]
