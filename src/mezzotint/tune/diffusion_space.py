"""What is varied of a model that walks from noise: steps, sampler, grid, guidance, stitching."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from mezzotint import config
from mezzotint.drawing import Drawing, Turn
from mezzotint.generator import Generator
from mezzotint.tune.space import OWN, Axis, Computing, Params, Range, parts, scales, usable, varied

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
_PROBED: Final = {"steps": 3}  # with which a sampler and a grid are tried
_MOST: Final = 250
_PART: Final = 0.05  # of the steps


@dataclass(frozen=True)
class DiffusionSpace:
    """The settings of a model and its smaller ones.

    Args:
        source: of the model.
        small: sources of smaller ones, the smallest first.
        samplers, grids: by name; "own" is the model's.
        own: the model's own point.
        guided: whether guidance is varied.
        computing: how the networks may compute.
    """

    shown: ClassVar[tuple[str, ...]] = ("steps", "sampler", "grid", "guidance")

    source: str
    small: tuple[str, ...]
    samplers: Mapping[str, Any]
    grids: Mapping[str, Any]
    own: Params
    guided: bool
    computing: Computing = Computing()

    @classmethod
    def of(
        cls,
        source: str,
        models: Mapping[str, Generator],
        small: Sequence[str],
        computing: Computing,
    ) -> "DiffusionSpace":
        """Return the space of a loaded model: samplers and grids that do not work are left out.

        Args:
            source: the model's name in `models`.
            models: loaded, by source.
            small: names of smaller ones, the smallest first.
            computing: how the networks may compute.
        """
        made = models[source]
        recipe = config.dump(made.sampling)
        samplers = parts("sampler", {OWN: recipe["sampler"], **SAMPLERS})
        grids = parts("grid", {OWN: recipe["grid"], **GRIDS})
        guidance = made.sampling.guidance
        own = {
            "steps": made.sampling.steps,
            "sampler": OWN,
            "grid": OWN,
            "shift": 3.0,
            "scale": float(getattr(guidance, "scale", 1.0)),
            "low": float(getattr(guidance, "low", 0.0)),
            "high": float(getattr(guidance, "high", 1.0)),
            **computing.own,
        }
        every = [models[each] for each in (source, *small)]
        guided = bool(made.classes) and all(each.null is not None for each in every)
        return cls(
            source,
            tuple(small),
            usable(made, "sampler", samplers, _PROBED),
            usable(made, "grid", grids, _PROBED),
            own,
            guided,
            computing,
        )

    @property
    def choices(self) -> Mapping[str, Any]:
        """What the names on the axes stand for."""
        return {"samplers": self.samplers, "grids": self.grids}

    @property
    def plain(self) -> Params:
        """What points of the model alone have in common."""
        return {f"part{k}": 0.0 for k in range(len(self.small))}

    @property
    def _least(self) -> int:
        """Steps with which nothing is tried any more that has fewer."""
        return min(3, int(self.own["steps"]))

    def axes(self) -> dict[str, Axis]:
        """Return what varies; an axis with one choice is none."""
        own = self.own["steps"]
        most = max(own, min(_MOST, max(2 * own, 20)))
        found: dict[str, Axis] = {
            "steps": Range(self._least, most, whole=True),
            "sampler": tuple(self.samplers),
            "grid": tuple(self.grids),
            **self.computing.axes(),
        }
        if "shifted" in self.grids:
            found["shift"] = Range(1.5, 5.0)
        if self.guided:
            scale, low, high = (self.own[name] for name in ("scale", "low", "high"))
            found["scale"] = scales(scale)
            found["low"], found["high"] = Range(0.0, max(0.4, low)), Range(min(0.5, high), 1.0)
        found |= {f"part{k}": Range(0.0, 1.0, step=_PART) for k in range(len(self.small))}
        return varied(found)

    def first(self) -> Iterator[Params]:
        """Yield the points that are looked at before anything is known.

        The own recipe with fewer steps, with smaller models, with both, and computed otherwise.
        """
        steps = self.own["steps"]
        fewer = dict.fromkeys(max(self._least, round(steps * part)) for part in (1, 0.7, 0.5, 0.3))
        yield from (self._point(count, 0.0) for count in fewer)
        if self.small:
            yield from (self._point(steps, part) for part in (0.3, 0.4, 0.5, 0.7))
            yield from (self._point(max(self._least, steps // 2), part) for part in (0.3, 0.5))
        yield from ({**self._point(steps, 0.0), **each} for each in self.computing.others())

    def _point(self, steps: int, part: float) -> Params:
        shares = {"part0": part} if part else {}
        return {**self.own, "steps": steps, **self.plain, **shares}

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
            sampling=sampling,
            **self.computing.fields(point),
        )

    def _turns(self, point: Params) -> Iterator[Turn]:
        """Yield the smaller models' parts: each takes a share of what those before it left."""
        left = 1.0
        for k, source in enumerate(self.small):
            fraction = round(point.get(f"part{k}", 0.0) * left, 4)
            left -= fraction
            if fraction > 0:
                yield Turn(source=source, fraction=fraction)


__all__ = ["DiffusionSpace"]
