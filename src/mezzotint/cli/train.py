"""`mezzotint train`: a recipe or a folder of pictures in, a run out; the same again resumes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared

if TYPE_CHECKING:
    from mezzotint.run import Run

OWN = "own-folder"
"""The recipe for a folder of pictures."""


def train(
    what: Annotated[
        str, typer.Argument(help="A recipe (name or YAML file), or a folder of your pictures.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/NAME. One with a run resumes it.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Train the recipe on this folder of pictures instead.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Height and width of --data's images.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="Setting such as train.lr=3e-4.")
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(help="Start from another model; its classes may differ.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a generator. Ctrl-C saves and stops; the same command goes on where it stopped."""
    if devices > 1:
        _torchrun(devices)
    from mezzotint import config, recipe

    tree = _tree(what, data, size)
    overrides = [*(settings or []), *([f"train.steps={steps}"] if steps else [])]
    resolved = recipe.resolve(config.override(tree, overrides))
    if dry_run:
        import yaml

        typer.echo(yaml.safe_dump(config.dump(resolved), sort_keys=False, allow_unicode=True))
        return
    folder = out or Path("runs") / Path(what).stem
    if force:
        _aside(folder)
    _run(resolved, folder, device, init_from, tensorboard=tensorboard, as_json=as_json)


def _tree(what: str, data: Path | None, size: int | None) -> dict[str, Any]:
    """Read the recipe, and put the user's pictures in its data section."""
    from mezzotint import recipe

    pictures = Path(what) if Path(what).is_dir() or what.endswith(".zip") else data
    tree = recipe.find(OWN if pictures is not None and data is None else what)
    if pictures is not None:
        wanted = size or tree.get("data", {}).get("size", 32)
        tree["data"] = {"kind": "folder", "path": str(pictures), "size": wanted}
        tree["data"] |= {"balanced": True}
    return tree


def _aside(folder: Path) -> None:
    from mezzotint.run import move_aside
    from mezzotint.training.distributed import local_rank

    if local_rank() == 0 and (moved := move_aside(folder)):
        shared.say(f"moved {folder} to {moved}")


def _torchrun(devices: int) -> None:
    """Become this very command under torchrun, so that a signal reaches torchrun itself."""
    import os
    import sys

    if "LOCAL_RANK" in os.environ:
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={devices}", "-m", "mezzotint", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 (the command is our own)


def _run(
    resolved: Any,
    folder: Path,
    device: str,
    init_from: str | None,
    *,
    tensorboard: bool,
    as_json: bool,
) -> None:
    from mezzotint.run import Run, stopping
    from mezzotint.training.distributed import ranks
    from mezzotint.training.track import TensorBoard

    with ranks(shared.device_of(device)) as group, stopping() as stop:
        trackers = [TensorBoard(folder / "tensorboard")] if tensorboard and group.first else []
        run = Run(resolved, folder, group, trackers, init_from=init_from)
        resumed = run.open()
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
    shared.say(
        f"progress: {run.folder}/metrics.jsonl and {run.folder}/samples; the loss falls fast, then "
        "slowly for long: look at the pictures"
    )


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
    import shlex
    import sys

    if not finished:
        again = shlex.join(["mezzotint", *sys.argv[1:]])
        shared.say(f"stopped at step {run.state.step:,}, saved; to go on: {again}")
    values = {"run": str(run.folder), "step": run.state.step, "finished": finished}
    shared.result(values, as_json=as_json)
    if finished:
        shared.say(f"mezzotint sample {run.folder}")
