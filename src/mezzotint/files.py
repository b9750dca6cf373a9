"""Files that are written whole or not at all, and what to say when the disk will not have them."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from safetensors import SafetensorError

from mezzotint.errors import OutputError

REASONS: Final = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the disk is read-only",
}
"""What stands in the way of a file, and is no fault of the program."""


@contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Hand out a draft of `path`, and put it in place in one move when the block ends well.

    Whoever reads `path` sees the old file or the new one, also after a kill or on a full disk. The
    draft has a hidden folder beside `path` to itself, since what writes it may make files of its
    own there (safetensors does), which a kill leaves behind.

    Args:
        path: the file to make; its folder is made if it is missing.
        flush: wait until the disk has it, so that it also survives a loss of power.

    Raises:
        OutputError: the disk is full or the folder cannot be written; the old file still stands.
    """
    room = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft = room / path.name
    try:
        room.mkdir(parents=True, exist_ok=True)
        draft.touch()
        mode = draft.stat().st_mode
        yield draft
        draft.chmod(mode)  # safetensors makes files that only their owner can read
        if flush:
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from None
    finally:
        shutil.rmtree(room, ignore_errors=True)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a draft of `path`, then put it in place, as `replacing` does."""
    with replacing(path) as draft:
        write(draft)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    replace_file(path, lambda draft: draft.write_text(text, "utf-8"))


def remove_drafts(folder: Path) -> None:
    """Remove what a killed process left half written in a folder and below it."""
    for room in list(folder.rglob(".*.part")):
        if room.is_dir():
            shutil.rmtree(room, ignore_errors=True)
        else:  # a single file, as drafts once were
            room.unlink(missing_ok=True)


def cannot_write(path: Path | str, error: Exception) -> OutputError:
    """Return what to tell a person when writing `path` has failed."""
    number = getattr(error, "errno", None)
    if "No space left" in str(error):  # safetensors keeps the number in its text
        number = errno.ENOSPC
    cause = REASONS.get(number or 0) or getattr(error, "strerror", None) or str(error)
    return OutputError(f"{path}: cannot be written: {cause}")


__all__ = ["REASONS", "cannot_write", "remove_drafts", "replace_file", "replacing", "write_text"]
