"""What a search has found so far: one file of JSON lines, from which it goes on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mezzotint import config
from mezzotint.drawing import Drawing
from mezzotint.errors import ConfigError
from mezzotint.files import write_text
from mezzotint.tune.space import Params

NAME = "log.jsonl"


@dataclass(frozen=True)
class Look:
    """A point of the space, drawn and measured once.

    Attributes:
        trial: its number; -1 is the model with its own recipe.
        stage: how closely it was looked at, 0 first.
        params: the point; {} is the own recipe.
        drawing: its recipe.
        ratio: time of an image over that of the yardstick.
        distance: Fréchet distance of its samples; None where it could not be drawn.
        count: samples.
        why: what went wrong.
    """

    trial: int
    stage: int
    params: Params
    drawing: Drawing
    ratio: float
    distance: float | None
    count: int
    why: str = ""

    @property
    def value(self) -> float:
        """The distance; infinite where there is none."""
        return float("inf") if self.distance is None else self.distance

    def line(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {name: config.dump(value) for name, value in vars(self).items()}

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """Return what `line` wrote."""
        return cls(**{**line, "drawing": config.build(Drawing, line["drawing"])})


@dataclass
class Log:
    """All looks of a search, on disk after each.

    Args:
        path: the file.
        of: what the figures depend on.
        measured: what was measured once, such as the yardstick's seconds.
        looks: in the order in which they were made.
    """

    path: Path
    of: dict[str, Any]
    measured: dict[str, Any] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)

    def open(self) -> Self:
        """Take up what the file holds.

        Raises:
            ConfigError: it is the log of another search, or is no log.
        """
        self.of = config.dump(self.of)
        if not self.path.exists():
            return self
        try:
            head, *lines = [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]
            looks = [Look.read(line) for line in lines]
            theirs, measured = head["of"], head["measured"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.path}: not a log of a search ({error}); move it") from None
        unlike = sorted(config.differences(theirs, self.of))
        if unlike:
            raise ConfigError(
                f"{self.path.parent} holds a search with another {', '.join(unlike[:4])}; choose "
                "another --out, or --force to move it aside"
            )
        self.measured, self.looks = measured, looks
        return self

    def write(self) -> None:
        """Put everything on disk."""
        lines = [{"of": self.of, "measured": self.measured}, *(each.line() for each in self.looks)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(self.path, text)

    def add(self, look: Look) -> Look:
        """Keep a look."""
        self.looks.append(look)
        self.write()
        return look

    def at(self, stage: int) -> Iterator[Look]:
        """Yield the looks of a stage."""
        return (each for each in self.looks if each.stage == stage)

    def find(self, trial: int, stage: int) -> Look | None:
        """Return a look that was made already."""
        return next((each for each in self.at(stage) if each.trial == trial), None)

    def plain(self, look: Look) -> bool:
        """Return whether the model drew alone, with full passes only."""
        recipe = {**self.of.get("recipe", {}), **look.drawing.sampling}
        return not look.drawing.stitch and not recipe.get("reuse")

    def timed(self, look: Look) -> float:
        """Return seconds an image: the ratio, by the yardstick of the first day."""
        return look.ratio * float(self.measured["seconds"])


__all__ = ["NAME", "Log", "Look"]
