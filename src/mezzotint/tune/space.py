"""What `mezzotint tune` varies: steps, sampler, grid, guidance, stitch fractions, precision.

A point of the space is a table of plain numbers and names, which the log keeps; here it becomes a
drawing recipe.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from mezzotint import config
from mezzotint.drawing import PRECISIONS, Drawing, Turn
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.sampling import Sampling

Params = dict[str, Any]

OWN: Final = "own"
SAMPLERS: Final[Mapping[str, Any]] = {
    "ddim": {"kind": "ddim"},
    "heun": {"kind": "heun"},
    "dpm-solver-multistep": {"kind": "dpm-solver-multistep"},
}
GRIDS: Final[Mapping[str, Any]] = {
    "even": {"kind": "even"},
    "respaced": {"kind": "respaced"},
    "shifted": {"kind": "shifted"},
    "karras": {"kind": "karras"},
}
_PROBED: Final = 3  # steps with which a sampler and a grid are tried
_MOST: Final = 250
_PART: Final = 0.05  # of the steps


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`.

    Attributes:
        low, high: the ends, both inside.
        whole: whole numbers, on a logarithmic scale.
        step: distance of neighbours; 0 means any number.
    """

    low: float
    high: float
    whole: bool = False
    step: float = 0.0


Axis = Range | tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """The settings of a model and its smaller ones.

    Args:
        source: of the model.
        small: sources of smaller ones, the smallest first.
        samplers, grids: by name; "own" is the model's.
        own: the model's own point.
        guided: whether guidance is varied.
        precisions: names of `PRECISIONS`.
    """

    source: str
    small: tuple[str, ...]
    samplers: Mapping[str, Any]
    grids: Mapping[str, Any]
    own: Params
    guided: bool
    precisions: tuple[str, ...]

    @classmethod
    def of(
        cls,
        source: str,
        models: Mapping[str, Generator],
        small: Sequence[str],
        precisions: Sequence[str],
    ) -> "Space":
        """Return the space of a loaded model: samplers and grids that do not work are left out.

        Args:
            source: the model's name in `models`.
            models: loaded, by source.
            small: names of smaller ones, the smallest first.
            precisions: to choose from.

        Raises:
            ConfigError: the model walks no trajectory of noise, such as a masked one.
        """
        made = models[source]
        if not isinstance(made.sampling, Sampling):
            raise ConfigError(f"{source}: has no sampler to vary; expected a diffusion model")
        recipe = config.dump(made.sampling)
        samplers = _usable(made, "sampler", {OWN: recipe["sampler"], **SAMPLERS})
        grids = _usable(made, "grid", {OWN: recipe["grid"], **GRIDS})
        guidance = made.sampling.guidance
        own = {
            "steps": made.sampling.steps,
            "sampler": OWN,
            "grid": OWN,
            "shift": 3.0,
            "scale": float(getattr(guidance, "scale", 1.0)),
            "low": float(getattr(guidance, "low", 0.0)),
            "high": float(getattr(guidance, "high", 1.0)),
            "precision": precisions[0],
        }
        every = [models[each] for each in (source, *small)]
        guided = bool(made.classes) and all(each.null is not None for each in every)
        return cls(source, tuple(small), samplers, grids, own, guided, tuple(precisions))

    def axes(self) -> dict[str, Axis]:
        """Return what varies; an axis with one choice is none."""
        most = min(_MOST, max(2 * self.own["steps"], 20))
        found: dict[str, Axis] = {
            "steps": Range(min(3, most), most, whole=True),
            "sampler": tuple(self.samplers),
            "grid": tuple(self.grids),
            "precision": self.precisions,
        }
        if "shifted" in self.grids:
            found["shift"] = Range(1.5, 5.0)
        if self.guided:
            scale, low, high = (self.own[name] for name in ("scale", "low", "high"))
            found["scale"] = Range(min(1.0, scale), max(4.0, 1.6 * scale))
            found["low"], found["high"] = Range(0.0, max(0.4, low)), Range(min(0.5, high), 1.0)
        found |= {f"part{k}": Range(0.0, 1.0, step=_PART) for k in range(len(self.small))}
        return {name: axis for name, axis in found.items() if _long(axis)}

    def first(self) -> Iterator[Params]:
        """Yield the points that are looked at before anything is known.

        The own recipe with fewer steps, with smaller models, and with both.
        """
        steps = self.own["steps"]
        fewer = dict.fromkeys(max(3, round(steps * part)) for part in (1, 0.7, 0.5, 0.3))
        yield from (self._point(count, 0.0) for count in fewer)
        if self.small:
            yield from (self._point(steps, part) for part in (0.3, 0.4, 0.5, 0.7))
            yield from (self._point(max(3, steps // 2), part) for part in (0.3, 0.5))

    def _point(self, steps: int, part: float) -> Params:
        parts = {f"part{k}": part * (k == 0) for k in range(len(self.small))}
        return {**self.own, "steps": steps, **parts}

    def drawing(self, params: Params) -> Drawing:
        """Return the recipe of a point."""
        point = {**self.own, **params}
        grid = self.grids[point["grid"]]
        if point["grid"] == "shifted":
            grid = {**grid, "shift": round(point["shift"], 2)}
        sampling = {"steps": point["steps"], "sampler": self.samplers[point["sampler"]]}
        sampling |= {"grid": grid}
        if self.guided:
            ends = {name: round(point[name], 3) for name in ("scale", "low", "high")}
            sampling["guidance"] = {"kind": "interval", **ends}
        return Drawing(
            source=self.source,
            stitch=tuple(self._turns(point)),
            precision=point["precision"],
            sampling=sampling,
        )

    def _turns(self, point: Params) -> Iterator[Turn]:
        """Yield the smaller models' parts: each takes a share of what those before it left."""
        left = 1.0
        for k, source in enumerate(self.small):
            fraction = round(point.get(f"part{k}", 0.0) * left, 4)
            left -= fraction
            if fraction > 0:
                yield Turn(source=source, fraction=fraction)


def _long(axis: Axis) -> bool:
    return isinstance(axis, Range) or len(axis) > 1


def _usable(made: Generator, name: str, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices that differ and that draw something finite on this model's path."""
    found: dict[str, Any] = {}
    for label, tree in choices.items():
        part = config.load(name, tree)
        if any(config.load(name, other) == part for other in found.values()):
            continue
        try:
            recipe = {**dict(made.sampling), "steps": _PROBED, name: part}
            tried = made.with_recipe(config.build(type(made.sampling), recipe))
            *_, last = tried.steps([0], [0])
        except ConfigError:
            continue
        if bool(torch.isfinite(last.x).all()):
            found[label] = config.dump(part)
    return found


def known_precisions(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of precisions.

    Raises:
        ConfigError: one is unknown.
    """
    for each in names:
        if each not in PRECISIONS:
            raise ConfigError(f"--precision {each}: {config.nearest(each, PRECISIONS)}")
    return tuple(names)


__all__ = ["Axis", "Params", "Range", "Space", "known_precisions"]
