"""Weights on disk: safetensors and JSON, written whole or not at all, read without running code.

A model is a folder with `model.safetensors` and `config.json`; the config also stands in the
header of the tensors' file, so that the file alone can be loaded.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mezzotint import config, kinds
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.files import cannot_write, remove_drafts, replace_file, write_text

Tensors = dict[str, Tensor]
Tree = dict[str, Any]

FORMAT: Final = 1
MIGRATIONS: Final[dict[int, Callable[[Tensors, Tree], tuple[Tensors, Tree]]]] = {}
"""From each older format, what makes tensors and config those of the next one."""
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
HELD: Final = ("ema", "model_ema", "model", "model_state_dict", "state_dict")  # averages first


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors, with `note` as JSON in the file's header.

    Args:
        path: a .safetensors file; replaced in one move.
        tensors: by name; copied to the CPU.
        note: plain JSON data.
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"mezzotint": json.dumps(config.dump(dict(note)))}
    replace_file(path, lambda draft: save_file(ready, draft, metadata=header))


def read_tensors(path: Path) -> tuple[Tensors, Tree]:
    """Read a .safetensors file and the note in its header ({} if it is not ours).

    Raises:
        CheckpointError: the file is missing, cut short, or not safetensors.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a complete safetensors file ({error}); copy or download it again"
        ) from None
    try:
        note = json.loads(header.get("mezzotint", "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: the config in its header is damaged ({error})") from None
    return tensors, note


def read_pickle(path: Path) -> Tensors:
    """Read the tensors of a .pt or .pth file with the reader that runs no code.

    Files that keep weights under one of `HELD` are opened, an average first.

    Raises:
        CheckpointError: the file holds anything but tensors and plain data.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except UnpicklingError:
        raise CheckpointError(
            f"{path}: refused, this pickle holds more than tensors and could run code; "
            "save its state_dict as safetensors where it comes from"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason})") from None
    for key in HELD:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise CheckpointError(f"{path}: expected a table of tensors, got {type(found).__name__}")
    return found


def write_model(folder: Path, tensors: Mapping[str, Tensor], tree: Mapping[str, Any]) -> None:
    """Write a model folder: tensors with the config in their header, and the config beside them."""
    note = {"format": FORMAT, **tree}
    write_tensors(folder / WEIGHTS, tensors, note)
    config.write_json(folder / CONFIG, note)


def read_model(path: Path) -> tuple[Tensors, Tree]:
    """Read a model folder or its tensors' file: tensors, and the config tree.

    In a folder the config is config.json's, which is the one that people edit; the header of the
    tensors stands in where that file is missing.

    Raises:
        CheckpointError: not a mezzotint model, or one of a later format.
    """
    file = path / WEIGHTS if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise CheckpointError(f"{path}: no {WEIGHTS} here; expected a model or run folder")
    if file.suffix in {".pt", ".pth", ".bin", ".ckpt", ".pkl"}:
        read_pickle(file)
        raise CheckpointError(
            f"{file}: tensors of another project, without a mezzotint config; "
            f"see docs/systems.md on importing official releases"
        )
    tensors, tree = read_tensors(file)
    if not isinstance(tree, dict) or not isinstance(tree.get("format"), int):
        raise CheckpointError(f"{file}: safetensors, but not a mezzotint model (no config inside)")
    if (path / CONFIG).is_file() and tree["format"] <= FORMAT:
        tree = _edited(path / CONFIG, tree["format"])
    return _migrated(file, tensors, tree)


def _edited(path: Path, expected: int) -> Tree:
    """Read the config beside the tensors, which must be of their format."""
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); mend or remove it") from None
    if not isinstance(tree, dict) or tree.get("format") != expected:
        raise CheckpointError(
            f'{path}: expected a config with "format": {expected}, as its tensors have; '
            "mend or remove it"
        )
    return tree


def _migrated(file: Path, tensors: Tensors, tree: Tree) -> tuple[Tensors, Tree]:
    """Bring a model of an older format to the present one, format by format."""
    if tree["format"] > FORMAT:
        raise CheckpointError(
            f"{file}: written by a later mezzotint (format {tree['format']}, this one reads up "
            f"to {FORMAT}); run: pip install -U mezzotint"
        )
    while tree["format"] < FORMAT:
        older = tree["format"]
        if older not in MIGRATIONS:
            raise CheckpointError(f"{file}: format {older} is not one that mezzotint has written")
        tensors, tree = MIGRATIONS[older](tensors, tree)
        tree = {**tree, "format": older + 1}
    return tensors, tree


def zoo(*wanted: str) -> dict[str, Path]:
    """Return the folders of the models that ship with the package, by name.

    Args:
        wanted: kinds of model, such as "diffusion" or "classifier"; none means any.
    """
    home = Path(str(files("mezzotint") / "zoo"))
    found = {each.parent.name: each.parent for each in sorted(home.glob("*/config.json"))}
    return {name: path for name, path in found.items() if not wanted or _kind(path) in wanted}


def _kind(folder: Path) -> str:
    kind: str = json.loads((folder / CONFIG).read_text("utf-8"))["model"]["kind"]
    return kind


def read_named(source: Path | str, *wanted: str) -> tuple[Tensors, Tree]:
    """Read a model, given by the name of one that ships with the package or by its path.

    Args:
        source: the name, a model or run folder, or a .safetensors file.
        wanted: kinds whose names are offered when nothing is there; none means any.

    Raises:
        CheckpointError: nothing is there, or it is not a model.
    """
    path = zoo().get(str(source), Path(source))
    if not path.exists():
        shipped = zoo(*wanted)
        hint = config.nearest(str(source), shipped) if shipped else "the zoo is empty"
        raise CheckpointError(f"{source}: neither a zoo model nor a path; {hint}")
    return read_model(path)


def open_model(source: Path | str, *wanted: str) -> Any:
    """Load what a model is for: the generator or classifier that its config opens it as.

    Args:
        source: see `read_named`.
        wanted: kinds of model that will do; none means any.

    Raises:
        CheckpointError: nothing is there, or it is not a model, or one of another kind.
    """
    tensors, tree = read_named(source, *wanted)
    try:
        model = config.load_at("model", "model", tree.get("model"))
        found = kinds.kind_of(type(model))
        if found is None:
            raise ConfigError("model: missing, expected a mapping with a kind")
        if wanted and found not in wanted:
            others = ", ".join(zoo(*wanted)) or "one of your own"
            kind = " or ".join(wanted)
            raise CheckpointError(
                f"{source}: a {found} model, but a {kind} model is wanted here, such as {others}"
            )
        return model.open(tree, tensors, source)
    except ConfigError as error:
        raise CheckpointError(f"{source}: its config is not understood: {error}") from None


def check_classes(names: Sequence[str], count: int) -> None:
    """Refuse class names that are not as many as a network has classes.

    Raises:
        ConfigError: they are more or fewer.
    """
    if len(names) != count:
        raise ConfigError(f"classes: {len(names)} names for a network of {count} classes")


def trained_as(
    dtype: torch.dtype | None, network: torch.nn.Module, build: Callable[[], torch.nn.Module]
) -> Tensors:
    """Return a network's tensors, the trained ones in another dtype unless it is None.

    Args:
        dtype: such as torch.bfloat16.
        network: whose tensors.
        build: makes a fresh one: a loaded network is frozen, a fresh one tells what is trained.
    """
    with torch.device("meta"):
        trained = {name for name, p in build().named_parameters() if p.requires_grad}
    return {
        name: tensor.to(dtype) if dtype and name in trained else tensor
        for name, tensor in network.state_dict().items()
    }


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Fill a module with tensors that must match it name by name and shape by shape.

    Raises:
        CheckpointError: names the first tensors that are missing, unknown or of another shape.
    """
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - wanted.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{source}: tensors do not fit the config; "
            f"missing: {_few(missing)}; unknown: {_few(unknown)}"
        )
    for name, tensor in wanted.items():
        if tensor.shape != tensors[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(tensors[name].shape)}, "
                f"expected {tuple(tensor.shape)}"
            )
    module.load_state_dict({name: tensors[name].to(wanted[name].dtype) for name in wanted})


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


__all__ = [
    "CONFIG",
    "FORMAT",
    "HELD",
    "MIGRATIONS",
    "WEIGHTS",
    "cannot_write",
    "check_classes",
    "load_strictly",
    "open_model",
    "read_model",
    "read_named",
    "read_pickle",
    "read_tensors",
    "remove_drafts",
    "replace_file",
    "trained_as",
    "write_model",
    "write_tensors",
    "write_text",
    "zoo",
]
