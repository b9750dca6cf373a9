"""Who says which class a file has: a table, a `dataset.json`, or the folder it lies in.

A table goes before a `dataset.json`, and that before folders; each way of labelling makes a
`Listing`, which says in words what was understood.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mezzotint.data.stores import Store, inside, is_picture
from mezzotint.errors import DataError

PARTS = {
    "train": "train", "training": "train", "val": "held out", "valid": "held out",
    "validation": "held out", "test": "test", "testing": "test",
}  # fmt: skip
FILE_COLUMNS = ("file_name", "filename", "file", "path", "image")
LABEL_COLUMNS = ("label", "class", "category", "class_name", "labels")


@dataclass(frozen=True)
class Item:
    """One listed file: its class, if any, and the part of the data it lies in ("" if not said)."""

    name: str
    label: str | None
    part: str


@dataclass(frozen=True)
class Listing:
    """The files of a data set and how they are labelled, in words."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    words: str


def understand(store: Store, table: str | None, column: str | None) -> Listing:
    """Find out how the files of a store are labelled.

    Args:
        store: where the files lie.
        table: name of a CSV or JSONL file in it that lists them, or None to look for one.
        column: the label column of the table, or None for the usual names.

    Raises:
        DataError: no picture is found, or a table cannot be understood.
    """
    names = store.names()
    tables = [table] if table else [n for n in names if _is_metadata(n)]
    if tables:
        return _by_tables(store, names, tables, column)
    listing = _by_dataset_json(store, names) or _by_folders(names)
    if listing is not None:
        return listing
    raise DataError(
        f"{store.path}: no pictures found among {len(names)} files; expected "
        "class_name/picture.png, a table, or pictures side by side"
    )


def _is_metadata(name: str) -> bool:
    return PurePosixPath(name).name in ("metadata.csv", "metadata.jsonl")


def _by_dataset_json(store: Store, names: list[str]) -> Listing | None:
    """Read the `dataset.json` of StyleGAN and EDM2: {"labels": [[file, class id], …] or null}."""
    if "dataset.json" not in names:
        return None
    try:
        labels = json.loads(_text(store, "dataset.json"))["labels"]
        pairs = [
            (inside(str(f), store.path), None if i is None else int(i)) for f, i in labels or ()
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f'{store.path}/dataset.json: expected {{"labels": [["a.png", 0], …]}} ({error})'
        ) from None
    if not pairs:
        items = tuple(Item(n, None, "") for n in names if is_picture(n))
        return Listing(items, (), "dataset.json without labels: unconditional") if items else None
    return _table_listing(
        store, names, [(f, None if i is None else str(i), "") for f, i in pairs], "dataset.json"
    )


def _by_folders(names: list[str]) -> Listing | None:
    pictures = [PurePosixPath(n) for n in names if is_picture(n)]
    if not pictures:
        return None
    parts = _parts_of(names)
    inner = [(p, *_split(p, parts)) for p in pictures]
    parted = "with the parts " + ", ".join(sorted({q for _, q, _ in inner if q}))
    parted = f" {parted}" if any(q for _, q, _ in inner) else ""
    flat = [p for p, _, rest in inner if len(rest) == 1]
    if len(flat) == len(pictures):
        items = tuple(Item(str(p), None, q) for p, q, _ in inner)
        return Listing(items, (), f"pictures side by side{parted}: unconditional, no classes")
    items = tuple(Item(str(p), rest[0], q) for p, q, rest in inner if len(rest) > 1)
    classes = tuple(sorted({str(i.label) for i in items}))
    left = f"; {len(flat)} pictures outside any class folder are left out" if flat else ""
    return Listing(items, classes, f"a folder for every class{parted}{left}")


def _parts_of(names: Iterable[str]) -> dict[str, str]:
    """Return what the outermost folders of the pictures mean, if every one of them names a part.

    One that does not ("boat" beside "train") makes all of them classes.
    """
    tops = {n.split("/")[0] for n in names if "/" in n and is_picture(n)}
    return {t: PARTS[t.lower()] for t in tops} if all(t.lower() in PARTS for t in tops) else {}


def _split(path: PurePosixPath, parts: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the part that the outermost folder names, if it does, and what is below."""
    part = parts.get(path.parts[0], "")
    return part, path.parts[1:] if part else path.parts


def _by_tables(store: Store, names: list[str], tables: list[str], column: str | None) -> Listing:
    rows: list[tuple[str, str | None, str]] = []
    used: set[str] = set()
    parts = _parts_of(names)
    for table in tables:
        base = PurePosixPath(table).parent
        for number, row in enumerate(_rows(store, table), 1):
            where = f"{store.path}/{table}: row {number}"
            file = row.get(_column(row, FILE_COLUMNS, None, where) or "")
            label_column = _column(row, LABEL_COLUMNS, column, where)
            label = row.get(label_column) if label_column else None
            if not file or (label_column and label in (None, "")):
                raise DataError(f"{where}: an empty file name or label; fill it in or drop the row")
            name = inside((base / str(file)).as_posix(), store.path)
            part = _split(PurePosixPath(name), parts)[0]
            rows.append((name, None if label is None else str(label), part))
            used.add(label_column or "")
    columns = " and ".join(sorted(repr(c) for c in used if c))
    how = f"the table {', '.join(tables)}, {f'label column {columns}' if columns else 'no label'}"
    return _table_listing(store, names, rows, how)


def _table_listing(
    store: Store, names: list[str], rows: Iterable[tuple[str, str | None, str]], how: str
) -> Listing:
    known = set(names)
    items = tuple(Item(*row) for row in rows)
    missing = [i.name for i in items if i.name not in known]
    if missing:
        raise DataError(
            f"{store.path}: {how} lists {len(missing)} files that do not exist, "
            f"the first is {missing[0]}"
        )
    labels = {i.label for i in items if i.label is not None}
    if labels and any(i.label is None for i in items):
        raise DataError(f"{store.path}: {how} labels some files and not others; label all or none")
    if not items:
        raise DataError(f"{store.path}: {how} lists no pictures")
    return Listing(items, tuple(sorted(labels, key=_number_first)), how)


def _number_first(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def _column(
    row: dict[str, Any], usual: tuple[str, ...], wanted: str | None, where: str
) -> str | None:
    if wanted is not None and wanted not in row:
        raise DataError(f"{where}: no column {wanted!r}; there are: {', '.join(map(str, row))}")
    found = wanted or next((c for c in usual if c in row), None)
    if found is None and usual is FILE_COLUMNS:
        raise DataError(f"{where}: no column {usual[0]!r}; there are: {', '.join(map(str, row))}")
    return found


def _rows(store: Store, table: str) -> list[dict[str, Any]]:
    text = _text(store, table)
    reader = _READERS.get(PurePosixPath(table).suffix.lower())
    if reader is None:
        raise DataError(f"{store.path}/{table}: expected a .csv or .jsonl table")
    try:
        return reader(text)
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{store.path}/{table}: not a readable table ({error})") from None


def _text(store: Store, name: str) -> str:
    try:
        return store.read(name).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{store.path}/{name}: cannot be read ({error})") from None


def _csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def _jsonl(text: str) -> list[dict[str, Any]]:
    return [dict(json.loads(line)) for line in text.splitlines() if line.strip()]


_READERS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
}


def is_table(path: Path) -> bool:
    """Say whether `path` names a table rather than a folder or a zip."""
    return path.suffix.lower() in _READERS


__all__ = ["Item", "Listing", "is_table", "understand"]
