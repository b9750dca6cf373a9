"""One parallel look at every file before any training: what is there, and what is broken.

The manifest names every usable picture with class, size, mode and digest of its bytes, every file
that cannot be used with the reason, and says in words what was understood.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mezzotint.data.decode import Unusable, decode
from mezzotint.data.layouts import Item, Listing, understand
from mezzotint.data.stores import Store

Progress = Callable[[int, int], None]
"""Told how many files have been looked at, and how many there are."""

FEW = 20
"""A class with fewer pictures than this is mentioned."""


@dataclass(frozen=True)
class Record:
    """One usable picture."""

    name: str
    label: str | None
    part: str
    width: int
    height: int
    mode: str
    digest: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Broken:
    """One file that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What a folder, zip or table holds."""

    path: Path
    layout: str
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    broken: tuple[Broken, ...]

    @property
    def digest(self) -> str:
        """Digest of the names, labels and contents of all pictures."""
        lines = [f"{r.name}\0{r.label}\0{r.digest}" for r in self.records]
        return sha256("\n".join([*self.classes, *lines]).encode()).hexdigest()

    def counts(self) -> dict[str, int]:
        """Return the number of pictures of every class; of no class, for unlabelled ones."""
        found = Counter(r.label for r in self.records)
        return {name: found[name] for name in self.classes}

    def words(self) -> list[str]:
        """Say in sentences what was understood."""
        said = [f"{self.path}: {len(self.records)} pictures, read as {self.layout}."]
        if counts := self.counts():
            shown = ", ".join(f"{name} {n}" for name, n in list(counts.items())[:20])
            more = f", and {len(counts) - 20} more" if len(counts) > 20 else ""
            said.append(f"{len(counts)} classes: {shown}{more}.")
        said.append(self._sizes())
        notes = Counter(note for r in self.records for note in r.notes)
        said += [f"{n} pictures are {note}." for note, n in notes.most_common()]
        return said + self.warnings()

    def _sizes(self) -> str:
        sides = sorted((min(r.width, r.height), max(r.width, r.height)) for r in self.records)
        if not sides:
            return "No picture can be used."
        middle = sides[len(sides) // 2]
        low, high = sides[0][0], max(long for _, long in sides)
        return f"Sides from {low} to {high} pixels, typically {middle[0]} x {middle[1]}."

    def warnings(self) -> list[str]:
        """Say what the user may want to mend."""
        said = []
        if len(self.classes) == 1:
            said.append(
                f"{self.path}: one class only ({self.classes[0]}), so there is nothing to choose "
                "between; add a second class folder, or put the pictures side by side"
            )
        few = [name for name, n in self.counts().items() if n < FEW]
        if few:
            said.append(
                f"{self.path}: fewer than {FEW} pictures of {', '.join(few[:10])}; add more"
            )
        copies = len(self.records) - len({r.digest for r in self.records})
        if copies:
            said.append(f"{self.path}: {copies} files are copies of others; they are kept")
        if self.broken:
            first = self.broken[0]
            said.append(
                f"{self.path}: {len(self.broken)} files cannot be used, the first is {first.name}: "
                f"{first.reason}; mend or remove them, or set on_bad: skip"
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain data."""
        return {
            "path": str(self.path),
            "layout": self.layout,
            "digest": self.digest,
            "classes": list(self.classes),
            "counts": self.counts(),
            "words": self.words(),
            "warnings": self.warnings(),
            "pictures": [asdict(r) for r in self.records],
            "broken": [asdict(b) for b in self.broken],
        }


def scan(
    store: Store,
    *,
    table: str | None = None,
    column: str | None = None,
    background: str = "white",
    progress: Progress | None = None,
) -> Manifest:
    """Look at every file of a store, in parallel.

    Args:
        store: where the files lie.
        table: name of the table that lists them, or None to find out.
        column: its label column, or None for the usual names.
        background: colour behind transparent pixels.
        progress: called with the number of files looked at and the number of all.

    Raises:
        DataError: there are no pictures, or a table cannot be understood.
    """
    listing = understand(store, table, column)
    looked = list(_look_all(store, listing, background, progress))
    records = tuple(r for r in looked if isinstance(r, Record))
    broken = tuple(r for r in looked if isinstance(r, Broken))
    return Manifest(store.path, listing.words, listing.classes, records, broken)


def _look_all(
    store: Store,
    listing: Listing,
    background: str,
    progress: Progress | None,
) -> Iterator[Record | Broken]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = pool.map(lambda item: look(store, item, background), listing.items)
        for done, record in enumerate(found, 1):
            if progress:
                progress(done, len(listing.items))
            yield record


def look(store: Store, item: Item, background: str) -> Record | Broken:
    """Decode one file and describe it, or say why it cannot be used."""
    try:
        data = store.read(item.name)
        if not data:
            return Broken(item.name, "an empty file")
        found = decode(data, background)
    except Unusable as reason:
        return Broken(item.name, str(reason))
    except OSError as error:
        return Broken(item.name, f"cannot be read ({error.strerror or error})")
    width, height = found.image.size
    digest = sha256(data).hexdigest()
    return Record(item.name, item.label, item.part, width, height, found.mode, digest, found.notes)


__all__ = ["Broken", "Manifest", "Progress", "Record", "scan"]
