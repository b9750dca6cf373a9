"""`mezzotint convert`: a model in another form, with its card, and samples or measurements."""

from pathlib import Path
from typing import Annotated

import typer

from mezzotint.cli import shared


def convert(
    models: Annotated[
        list[str],
        typer.Argument(help="A zoo name, folder or file; several classifiers make a committee."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    to: Annotated[str, typer.Option(help="fp32, or bf16: half the size.")] = "bf16",
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Write a model that can be shared: weights, config, card, and samples or measurements."""
    from mezzotint import averaged, checkpoint, classifier, config
    from mezzotint.errors import ConfigError

    if to not in averaged.DTYPES:
        raise ConfigError(f"--to {to}: {config.nearest(to, averaged.DTYPES)}")
    if len(models) == 1:
        made = checkpoint.open_model(models[0])
    else:
        made = classifier.committee([classifier.load(each) for each in models])
    shared.fresh(out, force=force)
    averaged.publish(made, out, averaged.DTYPES[to])
    result = {"model": str(out), "bytes": (out / "model.safetensors").stat().st_size}
    shared.result(result, as_json=as_json)
