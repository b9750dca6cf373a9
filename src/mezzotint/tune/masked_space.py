"""What is varied of a model that reveals tokens: steps, order, schedule, guidance, light passes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Final

from mezzotint import config
from mezzotint.drawing import Drawing
from mezzotint.token_generator import TokenGenerator
from mezzotint.tune.space import OWN, Axis, Computing, Params, Range, parts, scales, usable, varied

ORDERS: Final[Mapping[str, Any]] = {
    "confidence": {"kind": "confidence"},
    "random": {"kind": "random"},
}
REVEALS: Final[Mapping[str, Any]] = {
    "cosine": {"kind": "masked", "curve": {"kind": "cosine"}},
    "arccos": {"kind": "revealed", "curve": {"kind": "arccos"}},
}
_LIGHT: Final = {"0": 0, "1": 1, "2": 2}  # light passes that follow a full one
_FEWER: Final = (1, 0.7, 0.5, 0.3)  # parts of the own steps
_PROBED: Final = {"steps": 2, "after": 0}  # with which a choice is tried
_FULL: Final = Range(0.0, 1.0)  # share of the stages, at the start, without light passes


@dataclass(frozen=True)
class MaskedSpace:
    """The settings of a masked model.

    Args:
        source: of the model.
        made: the model.
        orders, reveals: by name; "own" is the model's.
        light: how many light passes may follow a full one, by name.
        own: the model's own point.
        guided: whether guidance is varied.
        computing: how the network may compute.
    """

    shown: ClassVar[tuple[str, ...]] = ("steps", "order", "reveal", "reuse", "after", "guidance")

    source: str
    made: TokenGenerator
    orders: Mapping[str, Any]
    reveals: Mapping[str, Any]
    light: Mapping[str, int]
    own: Params
    guided: bool
    computing: Computing = Computing()

    @classmethod
    def of(cls, source: str, made: TokenGenerator, computing: Computing) -> "MaskedSpace":
        """Return the space of a loaded model: what it cannot be drawn by is left out.

        Args:
            source: its name.
            made: the model.
            computing: how its network may compute.
        """
        sampling = made.sampling
        recipe = config.dump(sampling)
        guidance = sampling.guidance
        own = {
            "steps": sampling.steps,
            "order": OWN,
            "reveal": OWN,
            "light": str(sampling.reuse),
            "full": min(1.0, sampling.after / sampling.steps),
            "scale": float(getattr(guidance, "end", getattr(guidance, "value", 1.0))),
            **computing.own,
        }
        halton = {"kind": "halton", "size": made.denoiser.network.config.grid}
        orders = {OWN: recipe["order"], **ORDERS, "halton": halton}
        light = {str(sampling.reuse): sampling.reuse, **_LIGHT}
        return cls(
            source,
            made,
            usable(made, "order", parts("order", orders), _PROBED),
            usable(made, "reveal", parts("reveal", {OWN: recipe["reveal"], **REVEALS}), _PROBED),
            usable(made, "reuse", light, _PROBED),
            own,
            bool(made.classes) and made.null is not None and hasattr(guidance, "to"),
            computing,
        )

    @property
    def choices(self) -> Mapping[str, Any]:
        """What the names on the axes stand for."""
        return {"orders": self.orders, "reveals": self.reveals, "light": self.light}

    @property
    def plain(self) -> Params:
        """What points with full passes only have in common."""
        full = next((name for name, reuse in self.light.items() if not reuse), None)
        return {"light": full} if full is not None and len(self.light) > 1 else {}

    def axes(self) -> dict[str, Axis]:
        """Return what varies; an axis with one choice is none."""
        own = self.own["steps"]
        most = max(own, min(max(2 * own, 4), self.made.denoiser.length))
        found: dict[str, Axis] = {
            "steps": Range(min(2, own), most, whole=True),
            "order": tuple(self.orders),
            "reveal": tuple(self.reveals),
            "light": tuple(self.light),
            **self.computing.axes(),
        }
        if len(self.light) > 1:
            found["full"] = _FULL
        if self.guided:
            found["scale"] = scales(self.own["scale"])
        return varied(found)

    def first(self) -> Iterator[Params]:
        """Yield the points that are looked at before anything is known.

        The own recipe with fewer steps, with light passes, with both, and computed otherwise.
        """
        steps = self.own["steps"]
        fewer = list(dict.fromkeys(max(min(2, steps), round(steps * p)) for p in _FEWER))
        yield from ({**self.own, "steps": count} for count in fewer)
        others = [name for name in self.light if name != self.own["light"]]
        for light, count in product(others, fewer[::2]):
            yield {**self.own, "steps": count, "light": light, "full": 0.4}
        yield from ({**self.own, **each} for each in self.computing.others())

    def drawing(self, params: Params) -> Drawing:
        """Return the recipe of a point."""
        point = {**self.own, **params}
        steps, light = point["steps"], self.light[point["light"]]
        sampling = {"steps": steps, "reuse": light}
        sampling |= {"order": self.orders[point["order"]]}
        sampling |= {"reveal": self.reveals[point["reveal"]]}
        sampling |= {"after": round(point["full"] * steps) if light else 0}
        if self.guided:
            scaled = self.made.sampling.scaled(round(point["scale"], 3))
            sampling["guidance"] = config.dump(scaled)
        return Drawing(source=self.source, sampling=sampling, **self.computing.fields(point))


__all__ = ["MaskedSpace"]
