"""`mezzotint data`: look at your pictures, and build the embedded sets at other sizes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mezzotint.cli import shared

app = typer.Typer(
    help="Look at your own pictures, or build the embedded sets at other sizes.",
    no_args_is_help=True,
)


@app.command(epilog="Example: mezzotint data inspect pictures/")
def inspect(
    path: Annotated[Path, typer.Argument(help="A folder, a zip, or a .csv / .jsonl table.")],
    label_column: Annotated[str | None, typer.Option(help="Label column of the table.")] = None,
    size: Annotated[int, typer.Option(help="Height and width you mean to train at.")] = 64,
    background: Annotated[str, typer.Option(help="Colour behind transparent pixels.")] = "white",
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole manifest.")] = False,
) -> None:
    """Say in words how a folder of pictures is understood, and which files are broken."""
    from mezzotint import config
    from mezzotint.data.folder import Folder

    tree = {"path": path, "size": size, "label_column": label_column, "background": background}
    wanted: Folder = config.load("data", {"kind": "folder", **tree})
    with shared.progress("looking", 100) as bar:
        manifest = wanted.manifest(progress=lambda i, n: bar.at(i * 100 // n))
    if as_json:
        typer.echo(
            json.dumps(
                manifest.to_json() | {"words": wanted.words(manifest)}, indent=2, ensure_ascii=False
            )
        )
        return
    for line in wanted.words(manifest):
        typer.echo(line)
    for broken in manifest.broken:
        typer.echo(f"  {broken.name}: {broken.reason}")


@app.command(epilog="Example: mezzotint data export prints pictures/ --count 40")
def export(
    name: Annotated[str, typer.Argument(help="An embedded set: emoji, digits or prints.")],
    folder: Annotated[Path, typer.Argument(help="Where the folders of the classes go.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each class, at most.")] = 100,
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width, if there is a choice.")
    ] = None,
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Write an embedded set as a folder for each class: something to practise on."""
    from mezzotint import config
    from mezzotint.data.write import write_classes

    images = config.load("data", {"kind": name} | ({} if size is None else {"size": size})).train()
    shared.fresh(folder, force=force)
    written = write_classes(images, folder, count=count)
    shared.result({"folder": str(folder), "pictures": written}, as_json=as_json)


@app.command(epilog="Example: mezzotint data frames videos/ frames/ --rate 8")
def frames(
    videos: Annotated[Path, typer.Argument(help="A folder of CLASS/NAME.mp4, or other formats.")],
    folder: Annotated[Path, typer.Argument(help="Where the folders of frames go.")],
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Frames a second to keep; all by default.")
    ] = None,
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Write videos as folders of frames, for tokenizers of clips (needs mezzotint[video])."""
    from mezzotint.data.videos import unpack

    shared.fresh(folder, force=force)
    counts = unpack(videos, folder, rate=rate)
    found = {"folder": str(folder), "videos": len(counts), "frames": sum(counts.values())}
    shared.result(found, as_json=as_json)


@app.command(epilog="Example: mezzotint data build emoji --size 64")
def build(
    name: Annotated[str, typer.Argument(help="Which set; there is one: emoji.")],
    size: Annotated[int, typer.Option(help="Height and width: 32, 64 or 128.")] = 64,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: the cache.")] = None,
    force: Annotated[bool, typer.Option(help="Replace a set that is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a report for machines.")] = False,
) -> None:
    """Draw an embedded set from its sources (needs npm and mezzotint[data]; a few minutes)."""
    from mezzotint.data.embedded import cache_folder
    from mezzotint.data.emoji_build import build as build_emoji

    if name != "emoji":
        raise typer.BadParameter(f"{name!r} cannot be built; expected: emoji")
    if size not in (32, 64, 128):
        raise typer.BadParameter(f"--size {size}; expected 32, 64 or 128")
    folder = out or cache_folder() / f"{name}-{size}"
    with shared.progress("drawing", 100) as bar:
        report = build_emoji(
            size,
            folder,
            cache_folder() / "npm",
            force=force,
            progress=lambda i, n: bar.at(i * 100 // n),
        )
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        return
    for line in report.words():
        typer.echo(line)
