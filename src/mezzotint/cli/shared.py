"""What the verbs share: talking on stderr, results on stdout, folders that are not overwritten."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import steered
from mezzotint.errors import ConfigError, DataError, MezzotintError, OutputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mezzotint.drawing import Drawing
    from mezzotint.generator import Generator


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Force = Annotated[bool, typer.Option("--force", help="Move results that are there aside.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Recipe = Annotated[
    Path | None,
    typer.Option("-c", help="YAML file with a `sampling` section, or what `tune` chose."),
]
Stitch = Annotated[
    list[str] | None,
    typer.Option(help="SMALL:0.4 gives that model the first 40 % of the steps; repeat for more."),
]
StitchRule = Annotated[
    str | None,
    typer.Option(help="How fractions become steps: count, official or another allocation."),
]
"""Options that several verbs have."""


def say(line: str) -> None:
    """Tell a person something, on stderr."""
    typer.echo(line, err=True)


def result(values: dict[str, Any], *, as_json: bool) -> None:
    """Print results on stdout: one JSON object, or a line a value."""
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False))
        return
    for name, value in values.items():
        typer.echo(f"{name}: {value}")


def command() -> str:
    """Return the command line of this process, to be typed again."""
    return shlex.join(["mezzotint", *sys.argv[1:]])


def fresh(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds anything; with `force`, move it aside so that nothing is lost.

    Raises:
        OutputError: it holds something, is a file, or cannot be made.
    """
    from mezzotint.files import cannot_write

    try:
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            _aside(folder, force=force)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None


def fresh_file(path: Path, *, force: bool) -> None:
    """Refuse a file that is there, or with `force` move it aside; make its folder.

    Raises:
        OutputError: it is there, or its folder cannot be made.
    """
    from mezzotint.files import cannot_write

    try:
        if path.exists():
            _aside(path, force=force)
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None


def _aside(folder: Path, *, force: bool) -> None:
    from mezzotint.run import move_aside

    if not force:
        raise OutputError(
            f"{folder}: already holds results; choose another --out, or --force to move them aside"
        )
    place, here = folder.resolve(), Path.cwd()
    if place in (here, *here.parents):
        raise OutputError(
            f"{folder}: is the current directory or holds it, and cannot be moved aside; "
            "choose another folder"
        )
    say(f"moved {folder} to {move_aside(place if folder.name == '..' else folder)}")


def drawing_of(
    model: str | None, recipe: Path | None, stitch: Sequence[str] | None, rule: str | None
) -> "Drawing":
    """Return what is to draw: a recipe, with the model and the stitching of the command line.

    Args:
        model: a zoo name, a folder or a file; the recipe's by default.
        recipe: a file.
        stitch: the options --stitch, each MODEL:FRACTION or several with commas.
        rule: the option --stitch-rule, which goes with --stitch; count by default.

    Raises:
        ConfigError: the recipe or an option is not understood.
    """
    from mezzotint import config, drawing

    if recipe is not None:
        found = drawing.read(recipe, model)
    else:
        found = drawing.Drawing(source=model or "")
    if stitch is None:
        if rule is not None:
            raise ConfigError(f"--stitch-rule {rule}: only with --stitch; leave it out")
        return found
    try:
        small = tuple(drawing.Turn.read(each) for each in every(stitch) or [""])
        chosen = config.load("allocation", rule or "count")
    except ConfigError as error:
        raise ConfigError(f"--stitch: {error}") from None
    return found.model_copy(update={"stitch": small, "rule": chosen})


def drawing_if(
    model: str | None, recipe: Path | None, stitch: Sequence[str] | None, rule: str | None
) -> "tuple[Drawing | None, str | None]":
    """Return what `drawing_of` does and its model, or None where neither it nor -c is given."""
    if model is None and recipe is None:
        return None, None
    found = drawing_of(model, recipe, stitch, rule)
    return found, found.source


def generator_of(
    drawing: "Drawing",
    device: str,
    settings: Sequence[str] | None,
    steps: int | None,
    guidance: float | None,
    pull: "steered.Pull | None" = None,
) -> "Generator":
    """Load a generator, with changes to its sampling recipe laid over it, steered if that is asked.

    Args:
        drawing: what draws; see `drawing_of`.
        device: where it computes.
        settings, steps, guidance: the options -o, --steps and --guidance; the later ones win.
        pull: the options --critic and --critic-scale, where a verb has them.
    """
    own, wish = steered.wished(settings or (), drawing.steering, pull or steered.Pull(None, None))
    chosen = drawing.open(device_of(device), own)
    return wish.over(chosen.with_sampling(steps=steps, guidance=guidance))


def seeds(text: str) -> list[int]:
    """Read seeds: "7", "0,3,9", or "0:8" for 0 to 7.

    Raises:
        DataError: it is none of these.
    """
    try:
        if ":" in text:
            first, last = (int(part) for part in text.split(":"))
            found = list(range(first, last))
        else:
            found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found:
        raise DataError(f"--seeds {text!r}: expected a number, a list 0,3,9 or a range 0:8")
    return found


def device_of(name: str) -> str:
    """Return the device to use: the name itself, or the best one there is for "auto"."""
    import torch

    best = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = best if name == "auto" else name
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MezzotintError(
            f"--device {name}: not available here ({reason}); expected auto, cpu, cuda or mps"
        ) from None
    return chosen


def torchrun(devices: int) -> None:
    """Become this very command under torchrun, so that a signal reaches torchrun itself."""
    import os
    import sys

    if "LOCAL_RANK" in os.environ:
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={devices}", "-m", "mezzotint", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 (the command is our own)


@contextmanager
def progress(what: str, total: int) -> Iterator["Bar"]:
    """Show progress on stderr: a live bar on a terminal, a line now and then elsewhere."""
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TextColumn("{task.completed}/{task.total}"),
        rich.TextColumn("{task.fields[note]}"),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    live = rich.Progress(*columns, console=console, disable=not console.is_terminal)
    with live:
        yield Bar(live, live.add_task(what, total=total, note=""), what, total)


class Bar:
    """One bar; where there is no terminal it prints about twenty lines instead."""

    def __init__(self, live: "Progress", task: "TaskID", what: str, total: int) -> None:
        self._live, self._task, self._what, self._total = live, task, what, total
        self._said = 0

    def at(self, done: int, note: str = "") -> None:
        """Say that `done` of the total are done."""
        self._live.update(self._task, completed=done, note=note)
        share = done * 20 // max(self._total, 1)
        if self._live.disable and share > self._said:
            self._said = share
            sys.stderr.write(f"{self._what}: {done}/{self._total} {note}\n")


class Watching:
    """A bar for each set that is read, one after the other; silent on every rank but the first."""

    def __init__(self, *, talks: bool) -> None:
        self._talks, self._bars = talks, ExitStack()

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def __call__(self, what: str) -> "Callable[[int, int], None] | None":
        """Return what is told how many images of a set have been read, and of how many."""
        if not self._talks:
            return None
        self._bars.close()
        bars: list[Bar] = []

        def told(done: int, total: int) -> None:
            if not bars:  # the size is known when the first block has been read
                bars.append(self._bars.enter_context(progress(what, total)))
            bars[0].at(done)

        return told


def every(items: Sequence[str] | None) -> list[str] | None:
    """Return the items of a repeated option, each of which may be a comma-separated list."""
    if not items:
        return None
    return [part.strip() for item in items for part in item.split(",") if part.strip()]
