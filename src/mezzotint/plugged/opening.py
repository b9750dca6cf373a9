"""From models on disk to chains: whose codes are walked on, and who asks.

A PPGN model brings its generator, encoder and classifier. Any generator by denoising will do as
well: its latents are the codes, its tokenizer makes images of them, its denoiser is the prior.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from mezzotint import checkpoint, classifier, config
from mezzotint.classifier import Classifier
from mezzotint.diffusion.samplers import Step
from mezzotint.digest import digest_of_model
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.networks.tapped import Tapped
from mezzotint.noise import Noise, SeededNoise
from mezzotint.plugged.model import Plugged
from mezzotint.plugged.walk import Pieces, Walk
from mezzotint.plugged.walker import Asked, Walker
from mezzotint.tokenizers.base import Tokenizer, pixels

KIND: Final = "langevin"
_MODERN: Final = {"kind": KIND, "preset": "denoiser"}


def opened(source: Path | str, device: str | torch.device = "cpu") -> Walker:
    """Open a model as chains in its code space.

    Args:
        source: a zoo name, a model or run folder, or a .safetensors file.
        device: where everything computes.

    Raises:
        CheckpointError: nothing is there.
        ConfigError: it has no code space to walk on.
    """
    found = checkpoint.open_model(source)
    if isinstance(found, Plugged):
        return found.to(device).walker
    if isinstance(found, Generator):
        return of_generator(found.to(device))
    raise ConfigError(
        f"{source}: no code space to walk on; expected a PPGN model or a generator by denoising"
    )


def of_generator(made: Generator) -> Walker:
    """Return chains in a generator's latents, its denoiser being the prior; nothing is asked yet.

    The prior is asked for no class, as far as the generator was trained to be.

    Raises:
        ConfigError: the generator always needs a class, so that its prior cannot be without one.
    """
    if made.null is None and len(made.classes) > 1:
        raise ConfigError(
            "this generator has no null class, so it is no prior without a class; take one that "
            "was trained with train.drop above 0"
        )
    y = 0 if made.null is None else made.null
    decode = made.tokenizer.floats
    pieces = Pieces(
        shape=made.tokenizer.spec.shape,
        view=decode,
        encoder=lambda x: _encoded(made.tokenizer, x),
        denoiser=made.denoiser,
        y=y,
        draw=lambda noise, like: _drawn(made, y, noise, like),
    )
    return Walker(
        generator=decode,
        pieces=pieces,
        image=made.tokenizer.spec.image,
        classes=(),
        asked=(),
        sampling=config.load("walk", _MODERN),
        digest=made.digest,
        tree=made.tree,
        device=made.device,
    )


def _encoded(tokenizer: Tokenizer, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b ..."]:
    codes = tokenizer.encode(pixels(x))
    return tokenizer.latents(codes, SeededNoise(range(len(x))))


@torch.no_grad()
def _drawn(made: Generator, y: int, noise: Noise, like: Float[Tensor, "b ..."]) -> Tensor:
    """Draw latents of no class by the generator's own sampling recipe, without guidance."""
    grid = made.sampling.grid(made.denoiser.path, made.sampling.steps)
    labels = torch.full((len(like),), y, dtype=torch.int64, device=like.device)
    last: Step
    *_, last = made.sampling.sampler(made.denoiser, noise(like), labels, grid, noise)
    return last.x


@dataclass(frozen=True)
class Seeing:
    """What a classifier sees of images in [-1, 1]: they are resized to what it reads.

    Args:
        size: rows and columns that it reads.
    """

    size: int

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c s s"]:
        """Resize, bilinearly and without aliasing, unless the size is right."""
        if x.shape[-1] == self.size and x.shape[-2] == self.size:
            return x
        side = (self.size, self.size)
        return interpolate(x, side, mode="bilinear", antialias=True, align_corners=False)


@dataclass(frozen=True)
class _Logits:
    found: Classifier

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        return self.found.network(Seeing(self.found.size)(x))


@dataclass(frozen=True)
class HiddenUnit:
    """A unit that chains are asked for: LAYER:UNIT, or LAYER:UNIT@ROW,COLUMN in a map.

    Attributes:
        layer: dotted name of a layer of the condition network.
        unit: number of the unit or channel.
        place: row and column of the map; None is its middle.
    """

    layer: str
    unit: int
    place: tuple[int, int] | None = None

    @classmethod
    def read(cls, text: str) -> "HiddenUnit":
        """Read one as the command line has it.

        Raises:
            ConfigError: it is not of that form.
        """
        name, colon, rest = text.rpartition(":")
        unit, at, where = rest.partition("@")
        try:
            numbers = tuple(int(each) for each in where.split(",")) if at else (0, 0)
            row, column = numbers
            if not (colon and name) or int(unit) < 0:
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"{text!r} is not a unit; expected LAYER:UNIT or LAYER:UNIT@ROW,COLUMN, such as "
                "hidden.0:7"
            ) from None
        return cls(name, int(unit), (row, column) if at else None)


def asking(
    walker: Walker, critic: str | None, units: tuple[HiddenUnit, ...] = (), *, classes: bool = True
) -> Walker:
    """Return chains that are asked by another network, or for hidden units.

    Args:
        walker: the chains.
        critic: a classifier: zoo name, folder or file; None keeps the model's own.
        units: hidden units of it.
        classes: whether the classes are asked for too.

    Raises:
        ConfigError: there is no condition network, or no such layer.
    """
    found = classifier.load(critic) if critic else walker.own
    if found is None:
        raise ConfigError(
            "nothing is asked for: this model has no condition network of its own; give one with "
            "--critic, such as --critic digits-guide"
        )
    found = found.to(walker.device)
    seeing = Seeing(found.size)
    asked = [
        Asked(Tapped(found.network, each.layer, seeing), each.unit, place=each.place)
        for each in units
    ]
    if classes:
        asked.insert(0, Asked(_Logits(found)))
    names = found.classes if classes else ()
    digest = digest_of_model({}, {"model": walker.digest, "critic": found.digest})
    made = walker.asking(*asked, classes=names)
    return replace(made, digest=digest)


def recipe(stored: Walk, settings: Sequence[str], section: Mapping[str, Any]) -> Walk:
    """Return a walk with changes laid over it; a preset replaces what was stored.

    Args:
        stored: the model's own.
        settings: such as "weights.prior=0.1" or "preset=dgn-am"; they win over `section`.
        section: fields of a `sampling` section, such as a recipe's.

    Raises:
        ConfigError: a key, value or preset that does not exist.
    """
    given = dict(section)
    named = [given.pop("preset", None), *(_value(each) for each in settings if _names(each))]
    preset = next((name for name in reversed(named) if name), None)
    base = stored if preset is None else config.load("walk", {"kind": KIND, "preset": preset})
    others = [each for each in settings if not _names(each)]
    found: Walk = config.load("walk", config.override({**config.dump(base), **given}, others))
    return found


def _names(setting: str) -> bool:
    return setting.startswith("preset=")


def _value(setting: str) -> str:
    return setting.partition("=")[2]


__all__ = ["HiddenUnit", "Seeing", "asking", "of_generator", "opened", "recipe"]
