"""`mezzotint adapt`: a classifier that never saw noise learns to steer, without a label."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mezzotint.cli import shared

if TYPE_CHECKING:
    from mezzotint.adapting import Adapting


def adapt(
    classifier: Annotated[
        str, typer.Argument(help="A classifier: zoo name, folder, file or timm:NAME.")
    ],
    model: Annotated[str, typer.Option(help="The generator that it will steer.")],
    experts: Annotated[
        int | None, typer.Option(min=1, help="Ranges of noise, an expert each; default 5.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Pictures that the generator draws for it.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps an expert.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="Setting such as lr=3e-4 or flip=true.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the experts; default runs/CLASSIFIER-experts.")
    ] = None,
    device: shared.Device = "auto",
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Make experts of a classifier, one a range of noise, on images that the generator draws.

    No label is asked for. The same command again goes on after the last expert that is finished.
    """
    from mezzotint import config
    from mezzotint.adapting import Adapting
    from mezzotint.run import move_aside
    from mezzotint.training.experts import ExpertPlan

    tree = config.override(config.dump(ExpertPlan()), settings or [])
    given = {"experts": experts, "images": images, "steps": steps}
    plan = config.build(ExpertPlan, tree | {k: v for k, v in given.items() if v is not None})
    folder = out or Path("runs") / f"{Path(classifier).name}-experts"
    _experts_only(folder, force=force)
    if force and (moved := move_aside(folder)):
        shared.say(f"moved {folder} to {moved}")
    job = Adapting.of(classifier, model, plan, folder, shared.device_of(device))
    _follow(job)
    _conclude(job, as_json=as_json)


def _experts_only(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds anything else, of which nothing may be replaced."""
    from mezzotint.adapting import POOL
    from mezzotint.errors import OutputError
    from mezzotint.judges import EXPERTS

    held = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    known = any((folder / name).exists() for name in (EXPERTS, POOL))
    if held and not known and not force:
        raise OutputError(
            f"{folder}: holds something that is not experts; choose another --out, or --force to "
            "move it aside"
        )


def _follow(job: "Adapting") -> None:
    """Run, with a bar for the images and one for each expert."""
    from contextlib import ExitStack

    with ExitStack() as bars:
        bar, shown = None, ""
        for at in job.run():
            if at.what != shown:
                bars.close()
                bar, shown = bars.enter_context(shared.progress(at.what, at.total)), at.what
            assert bar is not None, "the first of each kind opens it"
            bar.at(at.done, "" if at.loss is None else f"distance {at.loss:.5f}")


def _conclude(job: "Adapting", *, as_json: bool) -> None:
    from mezzotint.experts import about

    said = about(job.folder)
    trained, whole = said.share
    values = {
        "experts": str(job.folder),
        "count": said.plan.experts,
        "trained_each": trained,
        "share_of_classifier": round(trained / whole, 4),
    }
    shared.result(values, as_json=as_json)
    model = job.sources[1].source
    shared.say(f"mezzotint sample {model} --critic {job.folder} --critic-scale 4")
