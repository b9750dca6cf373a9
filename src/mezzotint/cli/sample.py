"""`mezzotint sample`: pictures of the classes asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared

if TYPE_CHECKING:
    from mezzotint.generator import Generator


def sample(
    model: Annotated[str, typer.Argument(help="A zoo name, a model or run folder, or a file.")],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class name or number; repeat it or use commas; default all."),
    ] = None,
    count: Annotated[int, typer.Option(help="Images a class, with seeds from --seed on.")] = 8,
    seed: Annotated[int, typer.Option(help="First seed; image k has seed + k.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Exact seeds instead: 7, or 0,3,9, or 0:8.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.")] = None,
    recipe: Annotated[
        Path | None, typer.Option("-c", help="YAML file with a `sampling` section.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="Setting such as sampler=ddim or grid.rho=5.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("samples"),
    npz: Annotated[
        bool, typer.Option("--npz", help="One streaming samples.npz instead of PNGs.")
    ] = False,
    film: Annotated[
        bool, typer.Option("--film", help="Also strips of the denoising, one an image of seed 1.")
    ] = False,
    batch: Annotated[int, typer.Option(help="Images at a time; moves no pixel.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Move results that are there aside.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw images: every class with every seed. An image depends on its class and seed alone."""
    from mezzotint import config, generator

    loaded = generator.load(model).to(shared.device_of(device))
    tree = config.dump(loaded.sampling)
    if recipe is not None:
        given = config.read(recipe)
        tree |= given.get("sampling", given)
    tree = config.override(tree, settings or [])
    chosen = loaded.with_recipe(config.build(generator.Sampling, tree))
    chosen = chosen.with_sampling(steps=steps, guidance=guidance)
    labels = chosen.labels(shared.every(classes) or chosen.classes or [0]).tolist()
    row = shared.seeds(seeds) if seeds else list(range(seed, seed + count))
    shared.fresh(out, force=force)
    job = Job(chosen, model, labels, row)
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
    """

    def __init__(
        self, generator: "Generator", name: str, labels: list[int], seeds: list[int]
    ) -> None:
        self.generator, self.name = generator, name
        self.labels, self.seeds = labels, seeds

    def write(self, out: Path, *, npz: bool, batch: int) -> dict[str, Any]:
        """Draw and write; return what was made and how long it took."""
        import time

        import torch

        from mezzotint import config
        from mezzotint.data.draw import grid
        from mezzotint.data.write import NpzStream, PngFolder

        made = self.generator
        pairs = [(label, seed) for label in self.labels for seed in self.seeds]
        settings = {"model": self.name, "sampling": config.dump(made.sampling)}
        size = made.tokenizer.spec.image
        path = out / "samples.npz" if npz else out
        sink = NpzStream(path, len(pairs), size) if npz else PngFolder(path, made.classes, settings)
        first: list[torch.Tensor] = []
        started, done = time.monotonic(), 0
        shown = min(len(self.seeds), 16)
        with sink, shared.progress("sampling", len(pairs)) as bar:
            labels, seeds = [a for a, _ in pairs], [b for _, b in pairs]
            for images in made.stream(labels, seeds, batch=batch):
                rows = slice(done, done + len(images))
                sink.write(images, labels[rows], seeds[rows])
                keep = [k for k in range(done, rows.stop) if k % len(self.seeds) < shown]
                first.extend(images[k - done] for k in keep if len(first) < 20 * shown)
                done = rows.stop
                bar.at(done, f"{done / (time.monotonic() - started):.1f} images/s")
        seconds = time.monotonic() - started
        names = [made.classes[label] for label in self.labels[:20]] if made.classes else []
        magnify = max(1, 64 // size[0])
        sheet = grid(torch.stack(first), columns=shown, names=names, magnify=magnify)
        sheet.save(out / "grid.png")
        manifest = settings | {
            "classes": list(made.classes),
            "labels": self.labels,
            "seeds": self.seeds,
            "provenance": made.tree.get("provenance", {}),
        }
        config.write_json(out / "manifest.json", manifest)
        return {
            "images": str(path),
            "grid": str(out / "grid.png"),
            "count": done,
            "seconds": round(seconds, 2),
            "images_per_second": round(done / seconds, 2),
        }

    def films(self, out: Path, frames: int = 8) -> dict[str, str]:
        """Draw how the first image of each class comes out of the noise."""
        from mezzotint.data.draw import grid

        made = self.generator
        rows, names = [], []
        for label in self.labels:
            steps = list(made.steps([label], [self.seeds[0]]))
            chosen = {round(k * (len(steps) - 1) / (frames - 1)) for k in range(frames)}
            rows += [made.tokenizer.decode(steps[k].x)[0].cpu() for k in sorted(chosen)]
            names.append(made.classes[label] if made.classes else "image")
        import torch

        magnify = max(1, 64 // rows[0].shape[-1])
        columns = len(rows) // len(self.labels)
        path = out / "film.png"
        grid(torch.stack(rows), columns=columns, names=names, magnify=magnify).save(path)
        return {"film": str(path)}
