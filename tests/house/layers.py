"""Who may import whom (DESIGN 4.3), read from the imports."""

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from typing import Final

from tests.house.source import ROOT, Import, Module

# From the ground up. A room imports from the floors below its own, and from itself.
FLOORS: Final = (
    ("errors",),
    ("kinds", "files"),
    ("config", "noise"),
    ("nn",),
    ("networks", "tokenizers", "diffusion", "masked"),
    ("digest",),
    ("checkpoint", "data", "card"),
    ("recogniser",),
    ("classifier", "stored"),
    ("noisy", "adapter_files", "off_the_shelf"),
    ("judges",),
    ("training", "evaluation", "classify", "convert", "official"),
    ("zoo",),
    ("sampling", "stitching", "token_sampling"),
    ("generator",),
    ("token_generator",),
    ("teacher", "steering", "perceptual", "recipe_base", "drawing", "repaint"),
    ("experts", "autoguiding", "token_recipe"),
    ("adapting",),
    ("recipe",),
    ("classifier_recipe", "noisy_recipe", "plugged", "tokenizer_recipe"),
    ("releases",),
    ("averaged",),
    ("run",),
    ("bench", "draws", "classified"),
    ("tune", "classified_page"),
    ("cli", "studio"),
    ("mezzotint", "__main__"),
)
SIDEWAYS: Final = {("masked", "diffusion")}
DATA_ONLY: Final = "zoo"

_FLOOR: Final = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
_IMPORT_NAMES: Final = {"scikit_learn": "sklearn"}


def extras() -> set[str]:
    """Return the import names of the optional packages, from pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        groups: dict[str, list[str]] = tomllib.load(file)["project"]["optional-dependencies"]
    wanted = [r for name, group in groups.items() if name not in {"all", "dev"} for r in group]
    names = {re.split(r"[^\w-]", r, maxsplit=1)[0].replace("-", "_") for r in wanted}
    return {_IMPORT_NAMES.get(name, name) for name in names} | {"trackio", "wandb"}


EXTRAS: Final = extras()


def _optional(entry: Import) -> bool:
    return entry.top in EXTRAS or entry.target.startswith("torch.utils.tensorboard")


def layer_order(modules: Sequence[Module]) -> Iterator[str]:
    """A room imports only from lower floors; siblings meet as callables."""
    for module in modules:
        if module.room not in _FLOOR:
            yield f"{module.path}:1: room {module.room!r} is on no floor of tests/house/layers.py"
            continue
        for entry in module.imports:
            room = entry.room
            if room is None or room == module.room or (module.room, room) in SIDEWAYS:
                continue
            if room not in _FLOOR or _FLOOR[room] >= _FLOOR[module.room]:
                yield f"{module.path}:{entry.line}: {module.room} must not import {room}"


def narrow_rooms(modules: Sequence[Module]) -> Iterator[str]:
    """The bricks know torch alone; evaluation knows no network but its own; zoo holds data only."""
    for module in modules:
        for entry in module.imports:
            foreign = entry.top not in {"mezzotint", "torch", "jaxtyping", *sys.stdlib_module_names}
            rival = entry.room == "networks" and "networks.classifier" not in entry.target
            if (
                (module.room == "nn" and foreign)
                or (module.room == "evaluation" and rival)
                or module.room == DATA_ONLY
            ):
                yield f"{module.path}:{entry.line}: {module.room} must not import {entry.target}"


def imports_on_top(modules: Sequence[Module]) -> Iterator[str]:
    """No import inside a function, except in cli/, of optional packages, and the lazy face."""
    for module in modules:
        for entry in module.imports:
            lazy_face = module.room == "mezzotint" and entry.inside == "__getattr__"
            if entry.inside and not (module.room == "cli" or _optional(entry) or lazy_face):
                yield f"{module.path}:{entry.line}: {entry.target} is imported in {entry.inside}()"


def core_alone(modules: Sequence[Module]) -> Iterator[str]:
    """Importing the core needs no optional package: those are imported where they are used."""
    for module in modules:
        for entry in module.imports:
            on_import = not entry.inside and not entry.typing_only
            if on_import and _optional(entry) and module.room != "studio":
                yield f"{module.path}:{entry.line}: optional {entry.target}: import it where used"


def light_command_line(modules: Sequence[Module]) -> Iterator[str]:
    """Importing `mezzotint.cli.main`, and all that it imports in turn, does not import torch."""
    known = {module.name: module for module in modules}
    queue, seen = ["mezzotint.cli.main"], set()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in known:  # an attribute of its package, or a foreign package
            queue += [name.rpartition(".")[0]] if "." in name else []
            if name in {"torch", "torchvision"}:
                yield f"cli/main.py:1: reaches {name}"
            continue
        queue += [name.rpartition(".")[0]] if "." in name else []
        queue += [i.target for i in known[name].imports if not i.inside and not i.typing_only]
