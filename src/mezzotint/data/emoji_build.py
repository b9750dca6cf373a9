"""Builds the emoji set: seven openly licensed vector sets from npm, rendered on white.

    npm tarballs → key of every drawing → class, concept, split → resvg → sheets and manifest

Run by `mezzotint data build emoji`; needs npm and the package resvg-py, and is not needed to use
the 32 px set, which ships with mezzotint. Rendering is at several times the size, then averaged
over boxes, because that leaves no seams between neighbouring shapes.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from mezzotint.data import emoji_classes
from mezzotint.data.emoji_names import FXEMOJI, Emoji, Speller, key_of, unicode_table
from mezzotint.data.emoji_sources import SETS, UNICODE, IconSet, fetch, open_icons, read_json
from mezzotint.data.images import InMemory, Labelling
from mezzotint.data.sheets import SheetSet, names_of, refuse_existing, write_set
from mezzotint.errors import MissingExtraError


@dataclass(frozen=True)
class Entry:
    """One picture to be: which emoji, drawn by whom, of which class and concept."""

    emoji: Emoji
    key: str
    style: str
    label: str
    concept: str
    svg: str


@dataclass(frozen=True)
class Report:
    """What was built, and what was not."""

    folder: Path
    digest: str
    counts: Mapping[str, int]
    held_out: int
    duplicates: int
    unmatched: Mapping[str, list[str]]

    def words(self) -> list[str]:
        """Say in sentences what was built."""
        counts = ", ".join(f"{name} {n}" for name, n in self.counts.items())
        missed = ", ".join(f"{style} {len(names)}" for style, names in self.unmatched.items())
        return [
            f"{self.folder}: {sum(self.counts.values())} pictures, {self.held_out} held out.",
            f"{len(self.counts)} classes: {counts}.",
            f"{self.duplicates} repeated or empty pictures were left out.",
            f"Drawings that match no Unicode emoji: {missed or 'none'}.",
            f"Digest {self.digest}.",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, with the names of all unmatched drawings."""
        return asdict(self) | {"folder": str(self.folder)}


def build(
    size: int,
    folder: Path,
    cache: Path,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Build the set at `size` pixels into `folder`.

    Args:
        size: height and width of the pictures.
        folder: where the sheets and the manifest go.
        cache: where downloaded packages are kept.
        force: whether to replace a set that is there.
        progress: called with the number of pictures drawn and the number of all.

    Raises:
        DataError: a package cannot be fetched or does not have an open licence.
        MissingExtraError: resvg-py is not installed.
        OutputError: the folder holds a set already, and `force` is not given.
    """
    if not force:
        refuse_existing(folder)
    render = renderer(size)
    table = unicode_table(read_json(fetch(UNICODE, cache), "emoji.json"))
    sets = [open_icons(style, package, cache) for style, package in SETS.items()]
    entries, unmatched = match(table, sets, size)
    with ThreadPoolExecutor() as pool:
        pixels = []
        for done, picture in enumerate(pool.map(render, (e.svg for e in entries)), 1):
            pixels.append(picture)
            if progress:
                progress(done, len(entries))
    pictures, duplicates = assemble(entries, np.stack(pixels))
    sources = {
        s.style: {"package": s.package, "author": s.info["author"], "license": s.info["license"]}
        for s in sets
    }
    about = {"name": f"emoji-{size}", "unicode": UNICODE, "sources": sources}
    digest = write_set(folder, pictures, sheets="style", about=about, force=force)
    names = pictures.images.classes
    # A plain dict: asdict() copies a Counter wrongly.
    counts = dict(Counter(names[i] for i in pictures.images.labels.tolist()))
    return Report(
        folder,
        digest,
        counts,
        int(pictures.held_out.sum()),
        duplicates,
        unmatched,
    )


def match(
    table: Mapping[str, Emoji], sets: list[IconSet], size: int
) -> tuple[list[Entry], dict[str, list[str]]]:
    """Find the emoji behind every drawing.

    Returns:
        the pictures to draw, in a fixed order, and for every style the names of no known emoji.
    """
    speller = Speller.taught(table, [s.chars for s in sets], [s.aliases for s in sets])
    toned = {key for emoji in table.values() for key in emoji.tones.values()}
    entries: list[Entry] = []
    unmatched: dict[str, list[str]] = {}
    for icons in sets:
        own = {name: key_of(codes) for codes, name in icons.chars.items()}
        if not own:
            own = {name: key for key, name in FXEMOJI.items() if name in icons.icons["icons"]}
        found: dict[str, dict[str, Any]] = {}
        for name, drawing in sorted(icons.drawings().items()):
            key = speller.key(name, own)
            if key in table or key in toned:
                found.setdefault(str(key), drawing)
            else:
                unmatched.setdefault(icons.style, []).append(name)
        entries += _wanted(table, icons, found, scale_of(size) * size)
    return entries, unmatched


def _wanted(
    table: Mapping[str, Emoji], icons: IconSet, found: Mapping[str, Any], size: int
) -> Iterator[Entry]:
    """Yield the drawings of one style that belong to a class, with one skin tone at most."""
    for emoji in table.values():
        label = emoji_classes.class_of(emoji)
        if label is None:
            continue
        concept = emoji_classes.concept_of(emoji)
        for key in (emoji.key, emoji_classes.tone_for(emoji, icons.style)):
            if key is not None and key in found:
                svg = icons.svg(found[key], size)
                yield Entry(emoji, key, icons.style, label, concept, svg)


def scale_of(size: int) -> int:
    """Return how many times larger than `size` a picture is drawn."""
    return max(2, 128 // size)


def renderer(size: int) -> Callable[[str], UInt8[np.ndarray, "h w 3"]]:
    """Return the function that draws an SVG on white at `size` pixels."""
    try:
        svg_to_bytes = import_module("resvg_py").svg_to_bytes
    except ImportError:
        raise MissingExtraError("resvg-py", "data") from None
    scale = scale_of(size)

    def render(svg: str) -> UInt8[np.ndarray, "h w 3"]:
        # System fonts differ from machine to machine, so text is not drawn with them.
        png = svg_to_bytes(svg_string=svg, background="white", skip_system_fonts=True)
        with Image.open(io.BytesIO(bytes(png))) as drawn:
            return np.asarray(drawn.convert("RGB").reduce(scale))

    return render


def assemble(entries: list[Entry], pixels: UInt8[np.ndarray, "n h w 3"]) -> tuple[SheetSet, int]:
    """Drop empty and repeated pictures, number the classes and choose the held-out concepts.

    Returns:
        the set and the number of pictures dropped.
    """
    seen: set[bytes] = set()
    keep = []
    for row, picture in enumerate(pixels):
        content = picture.tobytes()
        if content not in seen and picture.min() < 255:
            keep.append(row)
        seen.add(content)
    dropped = len(entries) - len(keep)
    entries, pixels = [entries[row] for row in keep], pixels[keep]
    classes = tuple(emoji_classes.CLASSES)
    chosen: set[str] = set()
    for name in classes:
        chosen |= emoji_classes.held_out([e.concept for e in entries if e.label == name])
    images = InMemory.of(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([classes.index(e.label) for e in entries]),
        classes,
        others={
            "style": Labelling(*names_of([e.style for e in entries])),
            "concept": Labelling(*names_of([e.concept for e in entries])),
            "emoji": Labelling(*names_of([e.key for e in entries])),
        },
    )
    return SheetSet(images, torch.tensor([e.concept in chosen for e in entries])), dropped


__all__ = ["Report", "build"]
