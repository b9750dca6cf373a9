"""The public face is pinned: names in Python, options on the command line."""

import typer

import mezzotint
from tests.house.options import FROZEN, options

PUBLIC = ["Generator", "__version__", "load"]


def test_the_public_names_are_these():
    assert sorted(mezzotint.__all__) == PUBLIC


def test_every_public_name_is_there():
    assert all(getattr(mezzotint, name) is not None for name in mezzotint.__all__)


def test_the_options_are_the_frozen_ones():
    """A change of the command line is deliberate: `make freeze`, and a line in CHANGELOG.md."""
    from mezzotint.cli.main import app

    assert options(app) == FROZEN.read_text("utf-8").splitlines()


def test_an_added_option_is_seen():
    app = typer.Typer()

    @app.callback()
    def root():
        """Nest the verbs."""

    @app.command()
    def draw(path: str, wide: bool = typer.Option(False, "--wide/--no-wide", "-w")):
        """Draw."""

    assert [line for line in options(app) if "draw" in line] == [
        "mezzotint draw",
        "mezzotint draw --no-wide/--wide/-w",
        "mezzotint draw PATH",
    ]
