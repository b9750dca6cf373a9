"""Autoguidance of generators: away from a weaker one, of the same classes, latents and noise.

    autoguided(load("emoji-dit"), load("emoji-dit-tiny"), 2.0).sample(["flag"])

Karras et al., "Guiding a Diffusion Model with a Bad Version of Itself", arXiv 2406.02507.
"""

from dataclasses import dataclass
from typing import Any

import torch

from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.directions import Plain
from mezzotint.diffusion.guidance import Added, Autoguided, Unconditional
from mezzotint.diffusion.routing import check_alike
from mezzotint.diffusion.scales import Constant, Scale, scale_of
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.steering import Influenced, fields_of, told


@dataclass(frozen=True)
class AutoguidedGenerator(Influenced):
    """A generator that is guided away from a weaker one; made by `autoguided`.

    Attributes:
        weaker: the other denoiser.
        apart: scale over time; 1 is none.
    """

    weaker: Denoiser | None = None
    apart: Scale = Constant(1.0)

    @property
    def guided(self) -> Denoiser:
        """The denoiser under both guidances; the differences are added where there are two."""
        assert self.weaker is not None, "made by `autoguided`"
        if never(self.sampling.guidance) or not self.classes:
            return Autoguided(self.denoiser, self.weaker, self.apart, None, self.sampling.direction)
        if self.null is None or self.sampling.channels or self.sampling.direction != Plain():
            raise ConfigError(
                "classifier-free guidance beside a weaker model is of all channels and plain, and "
                "needs a null class; set guidance to 1, or channels to null and direction to plain"
            )
        free = Unconditional(self.denoiser, self.null)
        pairs = ((free, self.sampling.guidance), (self.weaker, self.apart))
        return Added(self.denoiser, pairs)


def autoguided(
    generator: Generator, weaker: Generator, scale: Scale | float
) -> AutoguidedGenerator:
    """Return a generator that is guided away from a weaker one.

    Args:
        generator: what is guided; classifier-free guidance of its recipe is added.
        weaker: smaller, less trained or more blurred, of the same classes, latents and path.
        scale: 1 is none.

    Raises:
        ConfigError: the two do not fit together.
    """
    check_alike([generator.denoiser, weaker.denoiser])
    if generator.classes != weaker.classes:
        raise ConfigError(
            f"the weaker model draws {len(weaker.classes)} classes, this one "
            f"{len(generator.classes)}, or in another order; expected a model of the same classes"
        )
    apart = scale_of(scale)
    said = {"weaker": weaker.digest, "scale": told(apart)}
    other: dict[str, Any] = {"weaker": weaker.denoiser, "apart": apart, "said": said}
    return AutoguidedGenerator(**fields_of(generator), **other)


def never(scale: Scale) -> bool:
    """Return whether a guidance scale is 1 at all times."""
    times = torch.linspace(0, 1, 1001, dtype=torch.float64)
    return bool((scale(times) == 1).all())


__all__ = ["AutoguidedGenerator", "autoguided", "never"]
