"""`mezzotint bench`: how fast models sample and recipes train on this machine."""

from typing import Annotated

import typer

from mezzotint.cli import shared

app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)

Dtypes = Annotated[
    str | None, typer.Option(help="fp32,bf16; default: fp32, and bf16 where it is native.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Interleaved rounds; the median is reported.")]


@app.command(epilog="Example: mezzotint bench sample emoji-dit emoji-dit-tiny")
def sample(
    models: Annotated[list[str], typer.Argument(help="Models to measure side by side.")],
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    rounds: Rounds = 3,
    dtypes: Dtypes = None,
    device: shared.Device = "auto",
    as_json: shared.Json = False,
) -> None:
    """Measure images a second, milliseconds a step and peak memory."""
    from mezzotint import bench

    where = shared.device_of(device)
    chosen = bench.dtypes_of(dtypes, where)
    rows = bench.sampling(models, dtypes=chosen, batch=batch, rounds=rounds, device=where)
    _table(rows, as_json=as_json)


@app.command(epilog="Example: mezzotint bench train emoji-dit")
def train(
    recipes: Annotated[list[str], typer.Argument(help="Recipes to measure side by side.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps a round.")] = 4,
    rounds: Rounds = 3,
    dtypes: Dtypes = None,
    device: shared.Device = "auto",
    as_json: shared.Json = False,
) -> None:
    """Measure training images a second."""
    from mezzotint import bench

    where = shared.device_of(device)
    chosen = bench.dtypes_of(dtypes, where)
    rows = bench.training(recipes, dtypes=chosen, steps=steps, rounds=rounds, device=where)
    _table(rows, as_json=as_json)


def _table(rows: list[dict[str, object]], *, as_json: bool) -> None:
    """Print rows as JSON, or as a Markdown table that can be pasted into the docs."""
    from mezzotint import bench

    if as_json:
        shared.result({"machine": bench.machine(), "rows": rows}, as_json=True)
        return
    typer.echo(bench.machine() + "\n")
    columns = list(rows[0])
    typer.echo(f"| {' | '.join(columns)} |")
    typer.echo(f"|{' --- |' * len(columns)}")
    for row in rows:
        typer.echo(f"| {' | '.join(str(row[name]) for name in columns)} |")
