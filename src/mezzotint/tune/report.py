"""What a search found, written down: the front as JSON, plot and page, and the chosen recipe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import yaml

from mezzotint import config
from mezzotint.evaluation.page import document
from mezzotint.evaluation.page_parts import Column, figure, preformatted, section, table
from mezzotint.evaluation.plots import Level, Series, lines
from mezzotint.evaluation.wording import count, number
from mezzotint.files import write_text
from mezzotint.tune.front import Goal, front
from mezzotint.tune.log import Log, Look

CHOSEN: Final = "chosen.yaml"
FRONT: Final = "front.json"
PLOT: Final = "front.svg"
PAGE: Final = "tune.html"


@dataclass(frozen=True)
class Found:
    """The last looks of a search, and what they are worth.

    Attributes:
        looks: of the last stage.
        own: the model with its own recipe, in that stage.
        log: of the search.
        goal: what was wanted.
        distance: name of the Fréchet distance.
        real: name of the real images.
        shown: the settings of a sampling recipe that are shown.
        machine: where it was measured.
        command: what makes it again.
    """

    looks: Sequence[Look]
    own: Look
    log: Log
    goal: Goal
    distance: str
    real: str
    shown: Sequence[str]
    machine: str
    command: str = ""

    @property
    def chosen(self) -> Look | None:
        """The best look, or None if none will do."""
        return self._best(self.looks)

    @property
    def plain(self) -> Look | None:
        """The best look at the model alone, with full passes only."""
        return self._best(self._plain)

    @property
    def _plain(self) -> list[Look]:
        return [each for each in self.looks if self.log.plain(each)]

    def _best(self, looks: Sequence[Look]) -> Look | None:
        return self.goal.best([(each, self.log.timed(each)) for each in looks], self.own)

    def row(self, look: Look | None) -> dict[str, Any] | None:
        """Return a look as plain data, with its seconds and its speed-up."""
        if look is None:
            return None
        return {
            "trial": look.trial,
            "seconds": round(self.log.timed(look), 6),
            "speed_up": round(self.own.ratio / look.ratio, 3) if look.ratio else None,
            self.distance: look.distance,
            "count": look.count,
            "drawing": config.dump(look.drawing),
        }

    def tree(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "goal": str(self.goal),
            "machine": self.machine,
            "reference": self.real,
            "own": self.row(self.own),
            "chosen": self.row(self.chosen),
            "best_plain": self.row(self.plain),
            "front": [self.row(each) for each in front(self.looks)],
            "looks": [self.row(each) for each in self.looks],
            "trials": sum(1 for _ in self.log.at(0)),
        }

    def write(self, folder: Path) -> dict[str, str]:
        """Write all files; return their paths by what they are."""
        config.write_json(folder / FRONT, self.tree())
        write_text(folder / PLOT, self.plot())
        write_text(folder / PAGE, self.page())
        files = {"front": folder / FRONT, "plot": folder / PLOT, "page": folder / PAGE}
        chosen = self.chosen
        if chosen is not None:
            text = yaml.safe_dump(config.dump(chosen.drawing), sort_keys=False, allow_unicode=True)
            head = f"# {self.goal}: {self.said(chosen)}\n"
            write_text(folder / CHOSEN, head + text)
            files["recipe"] = folder / CHOSEN
        return {name: str(path) for name, path in files.items()}

    def said(self, look: Look) -> str:
        """Say a look in one line."""
        seconds = number(self.log.timed(look), digits=3)
        return f"{seconds} s an image, {self.distance} {number(look.distance)}"

    def plot(self) -> str:
        """Return the fronts as SVG."""
        plain = self._plain
        sets = {"all": self.looks, "plain": plain}
        if len(plain) == len(self.looks):
            sets = {"front": self.looks}
        series = [
            Series(
                name,
                tuple(self.log.timed(each) for each in front(looks)),
                tuple(each.value for each in front(looks)),
            )
            for name, looks in sets.items()
        ]
        own = [Level("own recipe", self.own.value)]
        return lines(series, "seconds an image", self.distance, "Time and distance", levels=own)

    def page(self) -> str:
        """Return the page."""
        chosen = self.chosen
        verdict = "No setting reaches the goal; the front shows what there is."
        if chosen is not None:
            verdict = f"{self.said(chosen)}; the model's own recipe: {self.said(self.own)}."
        columns = [Column("setting"), Column("s an image", "n")]
        columns.append(Column(self.distance, "n"))
        columns += [Column(name) for name in (*self.shown, "precision")]
        rows = [self._cells(each) for each in front(self.looks)]
        caption = (
            f"Not beaten in both by another, on {count(self.own.count)} samples of seeds that "
            "chose nothing."
        )
        told = [
            f"Wanted: {self.goal}. Real images: {self.real}. Looks: {len(self.log.looks)}.",
            f"Machine: {self.machine}.",
        ]
        recipe = ""
        if chosen is not None:
            recipe = preformatted(yaml.safe_dump(config.dump(chosen.drawing), sort_keys=False))
        return document(
            f"Settings for {self.own.drawing.source}",
            verdict,
            [
                section("Front", figure(self.plot()), table(escape(caption), columns, rows)),
                section("Chosen", recipe),
                section("How", *(f"<p>{escape(line)}</p>" for line in told)),
                section("Make it again", preformatted(self.command)),
            ],
        )

    def _cells(self, look: Look) -> list[str]:
        drawing = look.drawing
        how = {**self._recipe, **drawing.sampling}
        name = drawing.name if look.drawing.stitch else "the model alone"
        marked = f"<strong>{escape(name)}</strong>" if look is self.chosen else escape(name)
        return [
            marked,
            number(self.log.timed(look), digits=3),
            number(look.distance),
            *(escape(_in_words(how.get(part))) for part in self.shown),
            f"{drawing.precision}, compiled" if drawing.compiled else drawing.precision,
        ]

    @property
    def _recipe(self) -> dict[str, Any]:
        return dict(self.log.of.get("recipe", {}))


def _in_words(tree: Any) -> str:
    """Say a part: its kind and the numbers that it holds."""
    if not isinstance(tree, dict):
        return "own" if tree is None else str(tree)
    return " ".join(_words(tree))


def _words(tree: dict[str, Any]) -> Iterator[str]:
    yield str(tree.get("kind", ""))
    for value in tree.values():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{value:g}"


__all__ = ["CHOSEN", "FRONT", "PAGE", "PLOT", "Found"]
