"""The command line: verbs and how errors are told. Nothing heavy is imported before a verb runs."""

import sys
from typing import NoReturn

import typer

from mezzotint import __version__
from mezzotint.cli import (
    adapt,
    bench,
    classify,
    convert,
    data,
    demo,
    encode,
    evaluate,
    sample,
    show,
    train,
    tune,
)
from mezzotint.errors import MezzotintError
from mezzotint.files import REASONS, cannot_write

app = typer.Typer(
    name="mezzotint",
    help="Images of a class: train on your own labelled images, sample, measure.",
    epilog="Start with: mezzotint demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog="Example: mezzotint demo")(demo.demo)
app.add_typer(data.app, name="data")
app.command(epilog="Example: mezzotint train pictures/ --out runs/mine")(train.train)
app.command(epilog="Example: mezzotint encode sd-vae pictures/ --size 256 --out latents")(
    encode.encode
)
app.command(epilog="Example: mezzotint sample emoji-dit --class flag --count 8")(sample.sample)
app.command(epilog="Example: mezzotint evaluate --model emoji-dit-tiny --out report")(
    evaluate.evaluate
)
app.command(epilog="Example: mezzotint tune emoji-dit emoji-dit-tiny --budget 0.2s")(tune.tune)
app.command(epilog="Example: mezzotint classify emoji-dit pictures/ --score")(classify.classify)
app.command(epilog="Example: mezzotint adapt emoji-guide --model emoji-dit --out experts")(
    adapt.adapt
)
app.command(epilog="Example: mezzotint convert runs/mine --to bf16 --out mine")(convert.convert)
app.command(epilog="Example: mezzotint show emoji-dit")(show.show)
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mezzotint {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Images of a class: train on your own labelled images, sample, measure."""


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 1."""
    try:
        app()
    except MezzotintError as error:
        _end(error)
    except OSError as error:  # a place that does not turn it into an OutputError itself
        if error.errno not in REASONS:
            raise
        _end(cannot_write(error.filename or "the result", error))


def _end(error: MezzotintError) -> NoReturn:
    sys.stderr.write(f"mezzotint: {error}\n")
    sys.exit(1)
