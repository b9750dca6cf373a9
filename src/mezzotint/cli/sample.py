"""`mezzotint sample`: pictures of the classes asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared, steered, walking

if TYPE_CHECKING:
    import torch

    from mezzotint.generator import Generator

ROWS, COLUMNS = 20, 16
"""The largest grid: classes, and seeds of each."""


def sample(
    model: Annotated[
        str | None,
        typer.Argument(help="A zoo name, a model or run folder, or a file; or what -c names."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class name or number; repeat it or use commas; default all."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Images a class, with seeds from --seed on.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="First seed; image k has seed + k.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Exact seeds instead: 7, or 0,3,9, or 0:8.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.")] = None,
    recipe: shared.Recipe = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="Setting such as sampler=ddim or grid.rho=5.")
    ] = None,
    stitch: shared.Stitch = None,
    stitch_rule: shared.StitchRule = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("samples"),
    npz: Annotated[
        bool, typer.Option("--npz", help="One streaming samples.npz instead of PNGs.")
    ] = False,
    film: Annotated[
        bool,
        typer.Option("--film", help="Also film.png: the denoising, first seed, a row a class."),
    ] = False,
    ppgn: Annotated[
        bool, typer.Option("--ppgn", help="Walk in code space instead, pulled by --critic.")
    ] = False,
    critic: Annotated[
        str | None, typer.Option(help="Classifier or experts that steer: zoo name, folder, file.")
    ] = None,
    critic_scale: Annotated[
        float | None, typer.Option(help="Strength of the steering; 0 is none, default 1.")
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(help="Hidden unit of the critic, LAYER:UNIT or LAYER:UNIT@ROW,COLUMN (PPGN)."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Picture to start from (masked models, PPGN).")
    ] = None,
    hole: Annotated[
        str | None, typer.Option(help="What of it to fill: X,Y,WIDTH,HEIGHT, or a mask.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Images at a time; the same images up to rounding.")
    ] = 64,
    device: shared.Device = "auto",
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Draw images: every class with every seed. An image depends on its class and seed alone."""
    if model is None and recipe is None:
        raise typer.BadParameter("missing; name a model, or a recipe by -c", param_hint="MODEL")
    drawing = shared.drawing_of(model, recipe, stitch, stitch_rule)
    asked, pull = shared.every(classes), steered.Pull(critic, critic_scale)
    ppgn = ppgn or walking.walks(drawing.source)
    wish = walking.Wish(critic if ppgn else None, unit or [], image, hole, asked is not None)
    chosen: Any
    if ppgn:
        walking.check(drawing, guidance)
        pull.refuse()
        chosen = walking.walker(drawing, device, wish, settings, steps)
    else:
        chosen = shared.generator_of(drawing, device, settings, steps, guidance, pull)
        chosen = wish.over(chosen)
    labels = chosen.labels((chosen.classes or [0]) if asked is None else asked).tolist()
    row = shared.seeds(seeds) if seeds else list(range(seed, seed + count))
    shared.fresh(out, force=force)
    job = Job(chosen, drawing.name, labels, row, wish.said)
    files = job.write(out, npz=npz, batch=batch)
    if film:
        files |= job.films(out)
    shared.result(files, as_json=as_json)


class Job:
    """Every class with every seed, into a folder.

    Args:
        generator: what draws.
        name: of the model, for the manifest.
        labels: one a class.
        seeds: one an image of each class.
        more: what else the manifest tells.
    """

    def __init__(
        self,
        generator: "Generator",
        name: str,
        labels: list[int],
        seeds: list[int],
        more: dict[str, str] | None = None,
    ) -> None:
        self.generator, self.name = generator, name
        self.labels, self.seeds, self.more = labels, seeds, more or {}

    def write(self, out: Path, *, npz: bool, batch: int) -> dict[str, Any]:
        """Draw and write; return what was made and how long it took."""
        import time

        from mezzotint import config
        from mezzotint.data.shards import MANIFEST
        from mezzotint.data.write import npz_stream, png_folder

        made = self.generator
        labels = [label for label in self.labels for _ in self.seeds]
        seeds = [seed for _ in self.labels for seed in self.seeds]
        settings = {
            "model": self.name,
            "weights_digest": made.digest,
            "sampling": config.dump(made.sampling),
            **steered.said(made),
            **self.more,
        }
        path = out / "samples.npz" if npz else out
        sink = (
            npz_stream(path, len(labels), made.tokenizer.spec.image)
            if npz
            else png_folder(path, made.classes, settings)
        )
        wanted = self._shown()
        shown: dict[int, torch.Tensor] = {}
        started, done = time.monotonic(), 0
        with sink as write, shared.progress("sampling", len(labels)) as bar:
            for images in made.stream(labels, seeds, batch=batch):
                rows = slice(done, done + len(images))
                write(images, labels[rows], seeds[rows])
                shown |= {k: images[k - done] for k in range(done, rows.stop) if k in wanted}
                done = rows.stop
                bar.at(done, f"{done / (time.monotonic() - started):.1f} images/s")
        seconds = time.monotonic() - started
        self._sheet(out / "grid.png", [shown[k] for k in sorted(wanted)], self.labels[:ROWS])
        manifest = settings | {
            "classes": list(made.classes),
            "labels": self.labels,
            "seeds": self.seeds,
            "provenance": made.tree.get("provenance", {}),
        }
        config.write_json(out / MANIFEST, manifest)
        return {
            "images": str(path),
            "grid": str(out / "grid.png"),
            "count": done,
            "seconds": round(seconds, 2),
            "images_per_second": round(done / seconds, 2),
        }

    def _shown(self) -> set[int]:
        """Return which images the grid shows: the first seeds of the first classes."""
        each = len(self.seeds)
        rows = range(min(len(self.labels), ROWS))
        return {row * each + column for row in rows for column in range(min(each, COLUMNS))}

    def films(self, out: Path, frames: int = 8) -> dict[str, str]:
        """Draw how the first image of each class comes out of the noise."""
        made, labels = self.generator, self.labels[:64]
        steps = list(made.steps(labels, [self.seeds[0]] * len(labels)))
        chosen = sorted({round(k * (len(steps) - 1) / (frames - 1)) for k in range(frames)})
        reels = [made.tokenizer.decode(steps[k].x).cpu() for k in chosen]
        images = [reel[row] for row in range(len(labels)) for reel in reels]
        self._sheet(out / "film.png", images, labels)
        return {"film": str(out / "film.png")}

    def _sheet(self, path: Path, images: "list[torch.Tensor]", labels: list[int]) -> None:
        """Write images as a sheet with a row a class."""
        import torch

        from mezzotint.data.draw import grid
        from mezzotint.data.write import save_png

        names = [self.generator.classes[k] for k in labels] if self.generator.classes else []
        columns, magnify = len(images) // len(labels), max(1, 64 // images[0].shape[-1])
        save_png(path, grid(torch.stack(images), columns=columns, names=names, magnify=magnify))
