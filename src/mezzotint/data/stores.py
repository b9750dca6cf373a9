"""Where files lie: a folder or a zip, read by name; nothing is ever unpacked to disk."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Protocol

from mezzotint.errors import DataError

PICTURES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
    | {".pnm", ".avif", ".ico", ".tga"}
)
MAX_FILE_BYTES = 512 * 1024**2
"""A packed file that claims to be larger is taken for a zip bomb."""


class Store(Protocol):
    """A tree of files with names like "cat/1.png"."""

    @property
    def path(self) -> Path:
        """What the user gave."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted, hidden ones left out."""

    def read(self, name: str) -> bytes:
        """Return the content of a file."""


@dataclass(frozen=True)
class FolderStore:
    """A folder on disk."""

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files; links to folders are followed, each folder once."""
        seen: set[str] = set()
        found = []
        for folder, below, files in os.walk(self.path, followlinks=True):
            real = os.path.realpath(folder)
            below[:] = [] if real in seen else sorted(d for d in below if not _hidden(d))
            if real not in seen:
                base = Path(folder).relative_to(self.path)
                found += [(base / f).as_posix() for f in files if not _hidden(f)]
            seen.add(real)
        return sorted(found)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.path / inside(name, self.path)).read_bytes()


class ZipStore:
    """A zip archive, read in place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()  # a ZipFile has one file position for all threads
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a readable zip ({error}); pack it again") from None

    def names(self) -> list[str]:
        """Return the names of all files."""
        names = [inside(i.filename, self.path) for i in self._zip.infolist() if not i.is_dir()]
        return sorted(n for n in names if not any(map(_hidden, n.split("/"))))

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: the file is damaged, encrypted, or claims an absurd size.
        """
        with self._lock:
            try:
                if self._zip.getinfo(name).file_size > MAX_FILE_BYTES:
                    raise OSError(f"unpacks to more than {MAX_FILE_BYTES:,} bytes")
                return self._zip.read(name)
            except (KeyError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
                raise OSError(str(error)) from None


def open_store(path: Path) -> Store:
    """Open a folder or a zip.

    Raises:
        DataError: there is nothing at `path`, or it is neither.
    """
    if path.is_dir():
        return FolderStore(path)
    if not path.exists():
        raise DataError(f"{path}: no such folder or file")
    return ZipStore(path)


def inside(name: str, root: Path) -> str:
    """Return `name` if it stays inside `root`, with "/" between its parts."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in (parts.parts or ("",))[0]:
        raise DataError(f"{root}: the name {name!r} leads outside; expected paths relative to it")
    return parts.as_posix()


def is_picture(name: str) -> bool:
    """Say whether the ending is one of a picture file."""
    return PurePosixPath(name).suffix.lower() in PICTURES


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


__all__ = ["Store", "inside", "is_picture", "open_store"]
