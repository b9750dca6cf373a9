"""How samples are drawn: sampler, grid, steps and guidance, as a recipe and a checkpoint say it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypedDict

from pydantic import Field

from mezzotint.config import Config, part
from mezzotint.diffusion.directions import Direction, Plain
from mezzotint.diffusion.grids import Even, Grid
from mezzotint.diffusion.guidance import Constant, Scale
from mezzotint.diffusion.samplers import DDIM, Sampler
from mezzotint.errors import ConfigError


class Sampling(Config):
    """How samples are drawn; part of a checkpoint, because published figures depend on it.

    Attributes:
        sampler: how to walk.
        grid: where to stop on the way.
        steps: number of intervals of the grid.
        guidance: classifier-free guidance scale over time; 1 is the conditional model.
        channels: guide only the first channels (3 in DiT's release), or all.
        direction: how the conditional and the unconditional estimate become one.
    """

    sampler: Annotated[Sampler, part("sampler")] = DDIM()
    grid: Annotated[Grid, part("grid")] = Even()
    steps: int = Field(default=50, ge=1)
    guidance: Annotated[Scale, part("scale")] = Constant()
    channels: int | None = None
    direction: Annotated[Direction, part("direction")] = Plain()

    def scaled(self, scale: float) -> Scale:
        """Return the guidance with another scale and the same shape over time."""
        if not hasattr(self.guidance, "scale"):
            raise ConfigError(f"guidance {self.guidance!r} has no scale to set")
        return replace(self.guidance, scale=scale)  # type: ignore[type-var]


class Settings(TypedDict, total=False):
    """Changes to a sampling recipe.

    Attributes:
        steps: intervals of the grid.
        guidance: a scale, or a function of time.
        sampler: a sampler, its kind, or its config.
        grid: a grid, its kind, or its config.
        reuse, after: of a masked model: light passes that follow each full one, and stages at the
            start that keep a full one each.
    """

    steps: int | None
    guidance: float | Scale | None
    sampler: Sampler | str | Mapping[str, Any] | None
    grid: Grid | str | Mapping[str, Any] | None
    reuse: int | None
    after: int | None


__all__ = ["Sampling", "Settings"]
