"""Clips: folders of frames, as images whose frames stand one under another.

    CLASS/CLIP/0001.png, 0002.png, …       ->       (3, frames x size, size)

So a clip passes wherever an image does; a tokenizer of clips knows how many frames it has.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Int64, UInt8
from pydantic import Field
from torch import Tensor

from mezzotint.data.crop import Crop
from mezzotint.data.folder import Folder, files_of, looked, on_side
from mezzotint.data.images import IN_MEMORY_BYTES, Data, Images
from mezzotint.data.scan import Record
from mezzotint.errors import DataError


class Clips(Data):
    """Own clips, each a folder of frames inside the folder of its class.

    A clip that is longer than needed gives several pieces, one after another.

    Args:
        path: a folder or zip of CLASS/CLIP/FRAME; frames are ordered by name, numbers in it by
            value. Folders train, val and test above it are what they say.
        size: rows and columns in pixels, to which every frame is brought by `crop`.
        frames: of a piece.
        every: how many frames of a clip there are to one of a piece.
        crop: "adm", "centre" or "squash".
        held_out_share: share of the clips that is held out where no folder says it; pieces of one
            clip stay together.
        skip_short: leave clips out that have too few frames, instead of refusing them.
    """

    path: Path
    size: int = Field(default=64, ge=1)
    frames: int = Field(default=16, ge=1)
    every: int = Field(default=1, ge=1)
    crop: Crop = "adm"
    held_out_share: float = Field(default=0.05, ge=0, lt=1)
    skip_short: bool = False

    def train(self) -> "Strips":
        """Open the training part."""
        return self._part(held_out=False)

    def held_out(self) -> "Strips":
        """Open the held-out part: a share of the clips, by a hash of their names."""
        return self._part(held_out=True)

    def _part(self, *, held_out: bool) -> "Strips":
        folder = Folder(path=self.path, size=self.size, crop=self.crop)
        store, manifest = looked(folder)
        if manifest.broken:
            first = manifest.broken[0]
            raise DataError(f"{self.path}/{first.name}: {first.reason}; mend or remove it")
        clips: dict[str, list[Record]] = {}
        for record in sorted(manifest.records, key=lambda each: _natural(each.name)):
            clips.setdefault(str(PurePosixPath(record.name).parent), []).append(record)
        pieces = [piece for name, records in clips.items() for piece in self._pieces(name, records)]
        if not pieces:
            raise DataError(
                f"{self.path}: no clip of {self.frames} frames; expected CLASS/CLIP/FRAME.png"
            )
        parts = {each.part for each in manifest.records}
        mine = on_side(parts, self.held_out_share, held_out=held_out)
        chosen = [
            each for name, piece in pieces if mine(piece[0].part, _fraction(name)) for each in piece
        ]
        frames = files_of(store, manifest, chosen, folder)
        small = len(frames) * 3 * self.size**2 <= IN_MEMORY_BYTES
        return Strips(frames.in_memory() if small else frames, self.frames)

    def _pieces(self, name: str, records: list[Record]) -> Iterator[tuple[str, list[Record]]]:
        span = self.frames * self.every
        least = span - self.every + 1
        if len(records) < least and not self.skip_short:
            raise DataError(
                f"{self.path}/{name}: {len(records)} frames, but a clip needs {least} "
                f"({self.frames} frames, every {self.every}); make frames or every smaller, remove "
                "it, or set skip_short: true"
            )
        for first in range(0, len(records) - least + 1, span):
            yield name, records[first : first + least : self.every]


@dataclass(frozen=True)
class Strips:
    """Clips as images: the frames of each one under another.

    Attributes:
        images: all frames, clip by clip.
        frames: of a clip.
    """

    images: Images
    frames: int

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.images.classes

    @property
    def labels(self) -> Int64[Tensor, "n"]:
        """Class ids, one a clip."""
        return self.images.labels[:: self.frames]

    @property
    def size(self) -> int:
        """Rows and columns of a frame."""
        return self.images.size

    @property
    def digest(self) -> str:
        """Hex digest of what frames and labels are made from."""
        return sha256(f"{self.frames} {self.images.digest}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.images) // self.frames

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the clips of `rows`, frames x size rows high."""
        which = rows[:, None] * self.frames + torch.arange(self.frames)
        frames = self.images.read(which.flatten()).unflatten(0, (len(rows), self.frames))
        return frames.transpose(1, 2).flatten(2, 3)


def _natural(name: str) -> list[str | int]:
    """Return what sorts 2.png before 10.png: names in pieces, numbers by value."""
    pieces = re.split(r"(\d+)", name)  # every second one is a number
    return [int(each) if k % 2 else each for k, each in enumerate(pieces)] + [name]


def _fraction(name: str) -> float:
    return int(sha256(f"held out clip {name}".encode()).hexdigest()[:13], 16) / 16**13


__all__ = ["Clips", "Strips"]
