"""What `mezzotint tune` varies: a table of plain numbers and names, and the recipe of each point.

A point of the space is what the log keeps; here it becomes a drawing recipe. Models that walk from
noise and models that reveal tokens have spaces of their own; how they compute is the same for both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Final, Protocol

import torch

from mezzotint import config
from mezzotint.drawing import PRECISIONS, Drawing
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator

Params = dict[str, Any]

OWN: Final = "own"
_COMPILED: Final = {"no": False, "yes": True}


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


class Space(Protocol):
    """The settings of a model and its helpers.

    Attributes:
        shown: the settings of a sampling recipe that a report shows.
        source: of the model.
    """

    shown: ClassVar[tuple[str, ...]]

    @property
    def source(self) -> str:
        """The model's name among those that are loaded."""
        ...

    @property
    def choices(self) -> Mapping[str, Any]:
        """What the names on the axes stand for, which figures depend on."""
        ...

    @property
    def plain(self) -> Params:
        """What points of the model alone, with full passes only, have in common; {} if all have."""
        ...

    def axes(self) -> dict[str, Axis]:
        """Return what varies; an axis with one choice is none."""
        ...

    def first(self) -> Iterator[Params]:
        """Yield the points that are looked at before anything is known."""
        ...

    def drawing(self, params: Params) -> Drawing:
        """Return the recipe of a point; what it does not say is as in the model's own."""
        ...


@dataclass(frozen=True)
class Computing:
    """How networks may compute, which any space varies.

    Attributes:
        precisions: names of `PRECISIONS`.
        compiled: whether compiled networks are among the choices.
    """

    precisions: tuple[str, ...] = ("fp32",)
    compiled: bool = False

    @property
    def own(self) -> Params:
        """The part of a model's own point."""
        return {"precision": self.precisions[0], "compiled": "no"}

    def axes(self) -> dict[str, tuple[str, ...]]:
        """Return what varies."""
        return {"precision": self.precisions, "compiled": tuple(_COMPILED)[: 1 + self.compiled]}

    def others(self) -> Iterator[Params]:
        """Yield what else there is than the own part."""
        for precision, compiled in product(*self.axes().values()):
            point = {"precision": precision, "compiled": compiled}
            if point != self.own:
                yield point

    def fields(self, point: Params) -> dict[str, Any]:
        """Return what a drawing recipe says of a point."""
        return {"precision": point["precision"], "compiled": _COMPILED[point["compiled"]]}


def varied(axes: Mapping[str, Axis]) -> dict[str, Axis]:
    """Return the axes that have more than one choice."""
    return {n: axis for n, axis in axes.items() if isinstance(axis, Range) or len(axis) > 1}


def scales(own: float) -> Range:
    """Return the guidance scales around a model's own."""
    return Range(min(1.0, own), max(4.0, 1.6 * own))


def parts(name: str, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices of a part with everything said, so that equal ones are equal."""
    return {label: config.dump(config.load(name, tree)) for label, tree in choices.items()}


def usable(
    made: Generator, name: str, choices: Mapping[str, Any], probed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the choices that differ and that draw something finite with this model.

    Args:
        made: the model.
        name: the setting of its sampling recipe.
        choices: by label; of equal ones the first is kept.
        probed: the other settings with which they are tried.
    """
    found: dict[str, Any] = {}
    for label, tree in choices.items():
        if tree in found.values():
            continue
        recipe = {**dict(made.sampling), **probed, name: tree}
        try:
            tried = made.with_recipe(config.build(type(made.sampling), recipe))
            *_, last = tried.steps([0], [0])
        except ConfigError:
            continue
        if bool(torch.isfinite(last.x).all()):
            found[label] = tree
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


__all__ = [
    "OWN",
    "Axis",
    "Computing",
    "Params",
    "Range",
    "Space",
    "known_precisions",
    "parts",
    "scales",
    "usable",
    "varied",
]
