"""`mezzotint demo`: pictures of eight classes, and how one of them came out of the noise."""

from pathlib import Path
from typing import Annotated

import typer

from mezzotint.cli import shared

MODEL = "emoji-dit"
CLASSES = "face,animal,food,vehicle,flag,heart,clock,plant"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(help="First of the eight seeds.")] = 0,
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Draw eight classes eight times with a model that ships with the package; works offline."""
    import time

    from mezzotint import generator
    from mezzotint.cli.sample import Job

    started = time.monotonic()
    shared.fresh(out, force=force)
    shared.say(f"drawing 8 images of each of: {CLASSES}")
    made = generator.load(MODEL)
    labels = made.labels(shared.every([CLASSES]) or ()).tolist()
    job = Job(made, MODEL, labels, list(range(seed, seed + 8)))
    files = job.write(out, npz=False, batch=64)
    files |= job.films(out)
    files["total_seconds"] = round(time.monotonic() - started, 2)
    shared.result(files, as_json=as_json)
    shared.say(
        f"look at {files['grid']} and {files['film']}; then your own pictures:\n"
        "  mezzotint data inspect PICTURES/      (a folder for each class)\n"
        "  mezzotint train PICTURES/ --out runs/mine\n"
        "  mezzotint sample runs/mine"
    )
