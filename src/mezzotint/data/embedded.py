"""Sets that ship with mezzotint: emoji (real drawings, 32 px) and digits (handwriting, 8 px)."""

import os
from pathlib import Path

from mezzotint.data.images import Data, InMemory
from mezzotint.data.sheets import MANIFEST, open_set
from mezzotint.errors import DataError

SETS = Path(__file__).parent / "sets"


def cache_folder() -> Path:
    """Return where built sets and downloads are kept: $MEZZOTINT_CACHE, else the user's cache."""
    if own := os.environ.get("MEZZOTINT_CACHE"):
        return Path(own)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mezzotint"


class Emoji(Data):
    """Emoji artwork of seven openly licensed sets on white, in classes a person can tell apart.

    Args:
        size: 32 ships with the package; other sizes are built by `mezzotint data build emoji`.
        path: folder of a built set; by default the package, then the cache, is searched.
        balanced: classes are of very different sizes, so they are drawn equally often.
    """

    size: int = 32
    path: Path | None = None
    balanced: bool = True

    def train(self) -> InMemory:
        """Open the training part."""
        return open_set(self._folder()).part(held_out=False)

    def held_out(self) -> InMemory:
        """Open the pictures of concepts of which no style is in the training part."""
        return open_set(self._folder()).part(held_out=True)

    def _folder(self) -> Path:
        if self.path is not None:
            return self.path
        name = f"emoji-{self.size}"
        for folder in (SETS / name, cache_folder() / name):
            if (folder / MANIFEST).exists():
                return folder
        raise DataError(
            f"{cache_folder() / name}: there is no emoji set of {self.size} px; "
            f"run: mezzotint data build emoji --size {self.size}"
        )


class Digits(Data):
    """Handwritten digits, 8 x 8 pixels, ten classes (from scikit-learn): a smoke test."""

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return 8

    def train(self) -> InMemory:
        """Open the training part."""
        return open_set(SETS / "digits-8").part(held_out=False)

    def held_out(self) -> InMemory:
        """Open the held-out part: a fixed fifth of every class."""
        return open_set(SETS / "digits-8").part(held_out=True)


__all__ = ["Digits", "Emoji", "cache_folder"]
