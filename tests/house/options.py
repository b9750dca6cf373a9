"""The frozen list of command-line options. `make freeze` accepts the present ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

FROZEN: Final = Path(__file__).with_name("options.txt")


def options(app: typer.Typer) -> list[str]:
    """Return one line a parameter: "mezzotint sample --steps/-n"; arguments in capitals."""
    command = typer.main.get_command(app)
    return sorted(_lines(command, "mezzotint"))


def _lines(command: Any, path: str) -> Iterator[str]:
    yield path
    for parameter in command.params:
        names = sorted([*parameter.opts, *parameter.secondary_opts], key=len, reverse=True)
        is_option = parameter.param_type_name == "option"
        yield f"{path} {'/'.join(names) if is_option else parameter.name.upper()}"
    for name in sorted(getattr(command, "commands", {})):
        yield from _lines(command.commands[name], f"{path} {name}")


if __name__ == "__main__":
    from mezzotint.cli.main import app

    FROZEN.write_text("\n".join(options(app)) + "\n", "utf-8")
