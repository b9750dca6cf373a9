"""`mezzotint train`: a recipe or a folder of pictures in, a run out; the same again resumes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared

if TYPE_CHECKING:
    from mezzotint.recipe_base import Recipe
    from mezzotint.run import Run

OWN = "own-folder"
"""The recipe for a folder of pictures."""


def train(
    what: Annotated[
        str, typer.Argument(help="A recipe (name or YAML), or your pictures: folder, zip, table.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/NAME. One with a run resumes it.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Train the recipe on this folder of pictures instead.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width to train your pictures at.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="Setting such as train.lr=3e-4.")
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(help="Start from another model; its classes may differ.")
    ] = None,
    device: shared.Device = "auto",
    devices: Annotated[int, typer.Option(help="Processes; above 1 torchrun is started.")] = 1,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard files.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Move a run that is there aside and start anew.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the complete recipe and stop.")
    ] = False,
    as_json: shared.Json = False,
) -> None:
    """Train a model. Ctrl-C saves and stops; the same command goes on where it stopped."""
    if devices > 1:
        shared.torchrun(devices)
    from mezzotint import config, recipe

    tree = _tree(what, data, size)
    overrides = [*(settings or []), *([f"train.steps={steps}"] if steps else [])]
    resolved = recipe.resolve(config.override(tree, overrides))
    if dry_run:
        import yaml

        typer.echo(yaml.safe_dump(config.dump(resolved), sort_keys=False, allow_unicode=True))
        return
    start = Start(out or Path("runs") / _name(what), init_from, force, tensorboard)
    _run(resolved, start, device, as_json=as_json)


@dataclass(frozen=True)
class Start:
    """How a run starts: where, from what, over what, and who else is told."""

    folder: Path
    init_from: str | None
    force: bool
    tensorboard: bool


def _name(what: str) -> str:
    """Return the name of the run of a recipe or of pictures."""
    path = Path(what)
    return path.resolve().name if path.is_dir() else path.stem


def _tree(what: str, data: Path | None, size: int | None) -> dict[str, Any]:
    """Read the recipe, and put the user's pictures in its data section."""
    from mezzotint import recipe
    from mezzotint.errors import ConfigError

    given = _pictures(what)
    tree = recipe.find(OWN if given else what)
    pictures = data or given
    if pictures is None:
        if size is not None:
            raise ConfigError(f"--size {size}: {what} has data of its own; set -o data.size=…")
        return tree
    section = tree.get("data")
    own = section if isinstance(section, dict) and "path" in section else {"balanced": True}
    tree["data"] = {**own, "kind": "folder", "path": str(pictures)}
    tree["data"]["size"] = size or own.get("size", 32)
    return tree


def _pictures(what: str) -> Path | None:
    """Return `what` as the place of pictures, or None where it is a recipe.

    Raises:
        ConfigError: it is a run or a model.
    """
    from mezzotint.data.layouts import is_table
    from mezzotint.errors import ConfigError

    path = Path(what)
    if any((path / name).exists() for name in ("config.yaml", "resume", "model.safetensors")):
        raise ConfigError(
            f"{what} is a run or a model, not pictures; to go on with a run, give its recipe again "
            f"with --out {what}, and to start from its weights add --init-from {what}"
        )
    found = path.is_dir() or path.suffix.lower() == ".zip" or is_table(path)
    return path if found else None


def _run(resolved: "Recipe", start: Start, device: str, *, as_json: bool) -> None:
    from mezzotint.run import Run, move_aside, stopping
    from mezzotint.training.distributed import ranks
    from mezzotint.training.track import TensorBoard

    with ranks(shared.device_of(device)) as group, stopping() as stop:
        if start.force and group.first and (moved := move_aside(start.folder)):
            shared.say(f"moved {start.folder} to {moved}")
        group.wait()
        run = Run(resolved, start.folder, group, init_from=start.init_from)
        resumed = run.open()
        if start.tensorboard and group.first:
            run.trackers = (*run.trackers, TensorBoard(start.folder / "tensorboard"))
        if group.first:
            _announce(run, resumed=resumed)
        finished = _follow(run, stop)
        if group.first:
            _conclude(run, finished=finished, as_json=as_json)


def _announce(run: "Run", *, resumed: bool) -> None:
    plan = run.recipe.train
    count = sum(p.numel() for p in run.network.parameters())
    shared.say(
        f"{len(run.images):,} images, {len(run.images.classes) or 'no'} classes, "
        f"{len(run.held_out):,} held out; {count / 1e6:.2f} M parameters; "
        f"{plan.steps:,} steps of {plan.batch}"
    )
    if run.inherited:
        for line in run.inherited:
            shared.say(line)
    if resumed:
        shared.say(f"resumed at step {run.state.step:,}")
    shared.say(run.recipe.ADVICE.format(run.folder))


def _follow(run: "Run", stop: Any) -> bool:
    """Train, showing progress; return whether the run reached its end."""
    import time

    if not run.ranks.first:
        for _ in run.fit(stop):
            pass
        return run.done
    plan, started, first = run.recipe.train, time.monotonic(), run.state.step
    with shared.progress("training", plan.steps) as bar:
        for state in run.fit(stop):
            rate = (state.step - first) * plan.batch / (time.monotonic() - started)
            bar.at(state.step, f"loss {state.loss:.4f}, {rate:.0f} images/s")
    return run.done


def _conclude(run: "Run", *, finished: bool, as_json: bool) -> None:
    if not finished:
        again = _again(run.ranks.count)
        shared.say(f"stopped at step {run.state.step:,}, saved; to go on: {again}")
    values = {"run": str(run.folder), "step": run.state.step, "finished": finished}
    shared.result(values, as_json=as_json)
    if finished:
        shared.say(run.recipe.NEXT.format(run.folder))


def _again(ranks: int) -> str:
    """Return the command that takes this run up; --force would start it anew."""
    import shlex
    import sys

    arguments = [each for each in sys.argv[1:] if each != "--force"]
    if ranks > 1 and not any(each.startswith("--devices") for each in arguments):
        launcher = ["torchrun", f"--nproc-per-node={ranks}", "-m"]
        return shlex.join([*launcher, "mezzotint", *arguments])
    return shlex.join(["mezzotint", *arguments])
