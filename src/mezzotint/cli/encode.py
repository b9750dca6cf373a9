"""`mezzotint encode`: images to a cache of latents, which a recipe trains on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared

if TYPE_CHECKING:
    from mezzotint.data.cache import Manifest
    from mezzotint.data.encode import Job
    from mezzotint.training.distributed import Ranks


def encode(
    tokenizer: Annotated[str, typer.Argument(help="A zoo name, model folder or file; or pixels.")],
    data: Annotated[
        str, typer.Argument(help="Pictures: folder, zip or table; or emoji, digits, prints.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the cache; a killed job goes on there.")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width of the images in pixels.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="Data setting such as crop=centre.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Encode mirror images too.")] = False,
    precision: Annotated[str, typer.Option(help="Of real numbers: fp16 or fp32.")] = "fp16",
    shard: Annotated[int, typer.Option(min=1, help="Images in a file.")] = 4096,
    device: shared.Device = "auto",
    devices: Annotated[int, typer.Option(help="Processes; above 1 torchrun is started.")] = 1,
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Encode images once, for training on their latents. The same command again goes on."""
    from mezzotint import config
    from mezzotint.data.encode import PRECISIONS, Job, start
    from mezzotint.data.images import Data
    from mezzotint.errors import ConfigError
    from mezzotint.run import move_aside
    from mezzotint.training.distributed import ranks

    if precision not in PRECISIONS:
        raise ConfigError(f"--precision {precision}: {config.nearest(precision, PRECISIONS)}")
    if devices > 1:
        shared.torchrun(devices)
    section: Data = config.load_at("data", "data", _section(data, size, settings or []))
    chosen = shared.device_of(device)
    with ranks(chosen) as group:
        if group.first and force:
            move_aside(out)
        group.wait()
        made: dict[Path, Manifest | None] = {}
        for part, folder in ((section.train(), out), (section.held_out(), out / "held_out")):
            if not len(part):
                if folder == out:
                    raise ConfigError("no picture is left to train on; make held_out_share smaller")
                continue
            config_of = _tokenizer(tokenizer, part.size)
            made_by, written = config.dump(config_of), config.dump(section)
            job = Job(
                part, config_of.build(), made_by, written, precision, flip, shard, str(group.device)
            )
            start(job, folder)
            group.wait()
            manifest = _encoded(job, folder, group)
            made |= {folder: manifest}
        if group.first:
            _tell(out, made, as_json=as_json)


def _section(data: str, size: int | None, settings: list[str]) -> dict[str, Any]:
    """Return the data section that an argument stands for."""
    from mezzotint import config, kinds

    embedded = data in kinds.names("data") and not Path(data).exists()
    tree: dict[str, Any] = {"kind": data} if embedded else {"kind": "folder", "path": data}
    return config.override(tree | ({} if size is None else {"size": size}), settings)


def _tokenizer(name: str, size: int) -> Any:
    """Return the config of a tokenizer for images of a size."""
    from mezzotint import config

    tree = {"kind": "pixels"} if name == "pixels" else {"kind": "stored", "source": name}
    return config.load_at("tokenizer", "tokenizer", tree | {"size": size}).pinned()


def _encoded(job: "Job", folder: Path, group: "Ranks") -> "Manifest | None":
    """Fill a folder together; the first process writes the manifest."""
    from dataclasses import replace

    from mezzotint.data.encode import fill, finish, missing

    lost = missing(job, folder)
    group.wait()  # nobody may write while others look at what is missing
    if group.first and len(lost) < job.shards:
        shared.say(f"{folder}: {job.shards - len(lost)} of {job.shards} files are there and whole")
    mine = lost[group.rank :: group.count]
    if group.first:
        there = len(job.images)
        with shared.progress(f"encoding {folder}", there) as bar:
            told = replace(job, told=lambda done, total: bar.at(there * done // total))
            fill(told, folder, mine)
    else:
        fill(job, folder, mine)
    group.wait()
    return finish(job, folder) if group.first else None


def _tell(out: Path, made: "dict[Path, Manifest | None]", *, as_json: bool) -> None:
    manifest = made[out]
    assert manifest is not None, "the first process has written it"
    size = sum(shard.bytes for each in made.values() if each for shard in each.shards)
    values: dict[str, Any] = {
        "cache": str(out),
        "images": sum(shard.rows for shard in manifest.shards),
        "held_out": sum(s.rows for f, m in made.items() if m and f != out for s in m.shards),
        "item": " x ".join(map(str, manifest.shape)) + f" {manifest.dtype}",
        "bytes": size,
        "tokenizer": manifest.fingerprint,
    }
    values |= manifest.statistics
    shared.result(values, as_json=as_json)
    shared.say(f"train on it: mezzotint train RECIPE -o 'data={{kind: latents, path: {out}}}'")
