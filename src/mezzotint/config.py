"""Config trees: what a checkpoint stores and a recipe says, read strictly and written back.

A tree is built of *parts*. A part is a frozen pydantic `Config` or a frozen dataclass; in a file it
is a mapping with a `kind` (or the bare kind, when it needs nothing else). `load(dump(c)) == c`.
"""

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from mezzotint import kinds
from mezzotint.errors import ConfigError
from mezzotint.files import write_text

T = TypeVar("T")
Tree = dict[str, Any]
Where = tuple[str | int, ...]

STRICT = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Config(BaseModel):
    """Base of everything stored: frozen, and unknown keys are errors."""

    model_config = STRICT


class _Located(ConfigError):
    """A complaint that knows where in the tree it belongs."""

    def __init__(self, where: Where, what: str) -> None:
        super().__init__(f"{'.'.join(map(str, where))}: {what}" if where else what)
        self.where, self.what = where, what


def part(role: str) -> Any:
    """Return the pydantic annotation of a nested part: a mapping with a `kind`, or a built part."""
    return BeforeValidator(partial(load, role))


def load(role: str, value: Any) -> Any:
    """Build the part that `value` describes.

    Args:
        role: a row of `mezzotint.kinds.KINDS`, such as "network" or "sampler".
        value: a kind, a mapping with `kind` and fields, a number where `kinds.NUMBERS` has the
            role, or a part already built (returned as is).

    Raises:
        ConfigError: one line per mistake, each with its dotted path.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if role in kinds.NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        value = kinds.NUMBERS[role](value)
    if not isinstance(value, Mapping):
        return value
    tree = dict(value)
    kind = tree.pop("kind", None)
    if kind is None:
        raise _Located(("kind",), f"missing, expected one of: {', '.join(kinds.names(role))}")
    if not isinstance(kind, str):
        raise _Located(("kind",), f"expected text, got {kind!r}")
    try:
        cls = kinds.find(role, kind)
    except KeyError:
        hint = nearest(kind, kinds.names(role))
        raise _Located(("kind",), f"unknown {role} {kind!r}; {hint}") from None
    return build(cls, _with_preset(cls, tree))


def load_at(where: str, role: str, value: Any) -> Any:
    """Build a part that stands at `where` in a larger tree, and say so in complaints."""
    try:
        return load(role, value)
    except _Located as error:
        raise _Located((*where.split("."), *error.where), error.what) from None


def build(cls: type[T], tree: Any) -> T:
    """Validate `tree`, a mapping, as the fields of `cls`, a Config or a frozen dataclass."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"expected a mapping of settings, got {shown(tree)}")
    try:
        return _adapter(cls).validate_python(dict(tree))
    except ValidationError as error:
        raise _explain(error, cls) from None


def _adapter(cls: type[T]) -> TypeAdapter[T]:
    if dataclasses.is_dataclass(cls) and "__pydantic_config__" not in cls.__dict__:
        cls.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return TypeAdapter(cls)


def _with_preset(cls: type, tree: Tree) -> Tree:
    """Lay the named preset of a class, such as DiT's "S/2", under the given fields."""
    presets: Mapping[str, Tree] = getattr(cls, "PRESETS", {})
    if "preset" not in tree or not presets:
        return tree
    name = tree.pop("preset")
    if not isinstance(name, str):
        raise _Located(("preset",), f"expected text, got {name!r}")
    if name not in presets:
        raise _Located(("preset",), f"unknown preset {name!r}; {nearest(name, presets)}")
    return {**presets[name], **tree}


def _explain(error: ValidationError, cls: type) -> _Located:
    """Turn pydantic's report into our one line a mistake."""
    found = [_complaint(e, cls) for e in error.errors()]
    first = found[0]
    return first if len(found) == 1 else _Located((), "; ".join(str(f) for f in found))


def _complaint(error: Any, cls: type) -> _Located:
    where: Where = tuple(error["loc"])
    inner = error.get("ctx", {}).get("error")
    if isinstance(inner, _Located):
        return _Located(where + inner.where, inner.what)
    if error["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = field_names(_class_at(cls, where[:-1]))
        hint = nearest(str(where[-1]), known) if known else "it has no settings"
        return _Located(where, f"unknown key; {hint}")
    if error["type"] == "missing":
        return _Located(where, "missing, and it has no default")
    wanted = _EXPECTED.get(error["type"])
    if wanted:
        return _Located(where, f"expected {wanted}, got {error['input']!r}")
    message = error["msg"].removeprefix("Value error, ")
    given = "" if inner is not None else f", got {error['input']!r}"
    return _Located(where, message[:1].lower() + message[1:] + given)


def _class_at(cls: type, where: Where) -> type:
    """Return the class of the config that stands at a path below `cls`."""
    for key in where:
        field = getattr(cls, "model_fields", {}).get(key)
        inside = getattr(field, "annotation", None)
        cls = inside if isinstance(inside, type) else cls
    return cls


_EXPECTED = {
    "int_parsing": "int",
    "int_type": "int",
    "int_from_float": "int",
    "float_parsing": "float",
    "float_type": "float",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
}


def field_names(cls: type) -> list[str]:
    """Return the names of the fields of a Config or dataclass."""
    if issubclass(cls, BaseModel):
        return list(cls.model_fields)
    return [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]


def dump(value: Any) -> Any:
    """Return plain JSON data for a part, a tree of parts, or plain data; the inverse of `load`."""
    if isinstance(value, BaseModel) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    ):
        kind = kinds.kind_of(type(value))
        fields = {name: dump(getattr(value, name)) for name in field_names(type(value))}
        return ({"kind": kind} if kind else {}) | fields
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [dump(item) for item in value]
    # str() also turns subclasses of text, such as torch's version, into text itself.
    return value if isinstance(value, int | float | bool | None) else str(value)


def differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Yield the dotted name of every value that differs between two trees."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            below = f"{where}.{key}" if where else str(key)
            yield from differences(before.get(key), now.get(key), below)
    elif before != now:
        yield where


def read(path: FilePath) -> Tree:
    """Read a YAML or JSON mapping, safely.

    Raises:
        ConfigError: the file is missing, is not valid YAML, or is not a mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}:{line} is not valid YAML; fix the syntax there") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {shown(tree)}")
    return tree


def write_json(path: FilePath, value: Any) -> None:
    """Write `dump(value)` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(dump(value), indent=2, ensure_ascii=False) + "\n")


def override(tree: Tree, settings: Iterable[str]) -> Tree:
    """Return a copy of `tree` with dotted settings such as "train.lr=3e-4" laid over it.

    A bare kind on the way ("sampler: ddim") is opened into a mapping: "sampler.eta=1" works.
    """
    result: Tree = json.loads(json.dumps(tree))
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"-o {setting}: expected key.path=value")
        *parents, last = path.split(".")
        node = result
        for key in parents:
            below = node.get(key, {})
            node[key] = {"kind": below} if isinstance(below, str) else below
            node = node[key]
            if not isinstance(node, dict):
                raise ConfigError(f"-o {setting}: {key} is a value, not a group of settings")
        try:
            node[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"-o {setting}: {text!r} is not a YAML value") from None
    return result


def shown(value: Any) -> str:
    """Say what stands in a file where something else should."""
    return "nothing" if value is None else type(value).__name__


def few(names: Sequence[str]) -> str:
    """Say how many names there are, and the first of them: "14 (animal, flag, food, …)"."""
    first = ", ".join(names[:3]) or "none"
    return f"{len(names)} ({first}{', …' if len(names) > 3 else ''})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names look like `name`."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"expected one of: {', '.join(known[:20])}{', …' if len(known) > 20 else ''}"


__all__ = [
    "Config",
    "build",
    "differences",
    "dump",
    "few",
    "field_names",
    "load",
    "load_at",
    "nearest",
    "override",
    "part",
    "read",
    "shown",
    "write_json",
]
