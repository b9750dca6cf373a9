"""Video files as folders of frames, which `kind: clips` reads; needs PyAV (`mezzotint[video]`).

CLASS/NAME.mp4       ->       CLASS/NAME/000001.png, 000002.png, …
"""

from collections.abc import Iterator
from functools import partial
from math import floor
from pathlib import Path
from typing import Any, Final

from mezzotint.errors import DataError, MissingExtraError
from mezzotint.files import replace_file

SUFFIXES: Final = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif")


def unpack(videos: Path, folder: Path, *, rate: float | None = None) -> dict[str, int]:
    """Write the frames of every video below a folder; return how many of which.

    Args:
        videos: a folder; its own folders are the classes.
        folder: made if it is missing; a folder is made in it for each video.
        rate: frames a second that are kept; all by default.

    Raises:
        DataError: there is no video, one cannot be read, or two of one folder share a name.
        MissingExtraError: PyAV is not installed.
    """
    found = sorted(p for p in videos.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise DataError(f"{videos}: no video there; expected CLASS/NAME{SUFFIXES[0]}")
    names = [path.relative_to(videos).with_suffix("") for path in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{videos}/{twice}: two videos of this name; rename one")
    counts = {}
    for path, name in zip(found, names, strict=True):
        counts[str(name)] = _write(path, folder / name, rate)
    return counts


def _write(path: Path, folder: Path, rate: float | None) -> int:
    count = 0
    for picture in _frames(path, rate):
        count += 1
        replace_file(folder / f"{count:06d}.png", partial(picture.save, format="PNG"))
    if count == 0:
        raise DataError(f"{path}: no frame in it; remove it")
    return count


def _frames(path: Path, rate: float | None) -> Iterator[Any]:
    """Yield the frames as Pillow pictures; of those between two ticks the first."""
    av = _av()
    due = 0.0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                when = float(frame.time or 0.0)
                if rate is None or when + 1e-6 >= due:
                    # The next tick of a clock that no frame moves: 30 a second to 24 stay 24.
                    due = 0.0 if rate is None else (floor(when * rate + 1e-6) + 1) / rate
                    yield frame.to_image()
    except (av.FFmpegError, IndexError) as error:
        raise DataError(
            f"{path}: not a video that can be read ({' '.join(str(error).split())}); remove it"
        ) from None


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "video") from None
    return av


__all__ = ["SUFFIXES", "unpack"]
