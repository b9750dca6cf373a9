"""Pictures and published statistics in .npz files, as ADM's evaluator writes and reads them.

    arr_0                       uint8, N H W C
    arr_1                       labels, optional
    mu, sigma, mu_s, sigma_s    of a reference: mean and covariance, of sFID's space too

Pictures are read from the disk when they are asked for, so a file may be larger than the memory.
"""

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from numpy.lib import format as npy
from torch import Tensor

from mezzotint.digest import digest_of_file
from mezzotint.errors import DataError

_HEADER_BYTES: Final = 30  # of a zip entry, before its name
_LOOKED_AT: Final = 64
_UNREADABLE: Final = (
    ValueError, EOFError, OSError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
EXTRACTOR: Final = "extractor.npy"
"""Our addition to ADM's format, which other readers pass over."""
_HEADERS: Final[dict[tuple[int, int], Callable[..., Any]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


@dataclass(frozen=True)
class NpzImages:
    """The pictures of an .npz file."""

    pixels: UInt8[np.ndarray, "n h w 3"]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    digest: str

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return int(self.pixels.shape[1])

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, rows: Int64[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the pictures of `rows`."""
        found = self.pixels[rows.numpy()]
        return torch.from_numpy(np.ascontiguousarray(found.transpose(0, 3, 1, 2)))


def open_npz(path: Path, classes: tuple[str, ...] = ()) -> NpzImages:
    """Open the pictures of an .npz file.

    Args:
        path: the file.
        classes: names of the classes of arr_1; numbers stand in when there are none.

    Raises:
        DataError: no arr_0, or one that is not uint8 N H W 3 in 0..255.
    """
    with _opened(path) as archive:
        if "arr_0.npy" not in archive.namelist():
            held = ", ".join(n.removesuffix(".npy") for n in archive.namelist()) or "nothing"
            raise DataError(f"{path}: no arr_0 inside, it holds {held}; expected uint8 N H W 3")
        pixels = _mapped(path, archive, "arr_0.npy")
        _check(path, pixels)
        labels = torch.zeros(len(pixels), dtype=torch.int64)
        if "arr_1.npy" in archive.namelist():
            labels = _labels(path, _array(path, archive, "arr_1.npy"), len(pixels), classes)
            classes = classes or tuple(str(k) for k in range(int(labels.max()) + 1))
    return NpzImages(pixels, labels, classes, digest_of_file(path))


def open_statistics(path: Path) -> dict[str, Float64[Tensor, "..."]]:
    """Return those of mu, sigma, mu_s and sigma_s that a reference file holds.

    Raises:
        DataError: not an .npz, or shapes that do not belong together.
    """
    with _opened(path) as archive:
        found = {
            name: torch.from_numpy(_array(path, archive, f"{name}.npy").astype(np.float64))
            for name in ("mu", "sigma", "mu_s", "sigma_s")
            if f"{name}.npy" in archive.namelist()
        }
    for mean, covariance in (("mu", "sigma"), ("mu_s", "sigma_s")):
        shapes = [tuple(found[n].shape) if n in found else None for n in (mean, covariance)]
        if any(shapes) and (not shapes[0] or shapes[1] != shapes[0] * 2):
            raise DataError(
                f"{path}: {mean} is {shapes[0]} and {covariance} {shapes[1]}; expected (d,), (d, d)"
            )
    return found


def extractor_of(path: Path) -> str:
    """Return the digest of what made a file's statistics; "" where it does not say."""
    with _opened(path) as archive:
        if EXTRACTOR not in archive.namelist():
            return ""
        return str(_array(path, archive, EXTRACTOR))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays into a new .npz, or beside those of one that is being made."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                npy.write_array(entry, array, allow_pickle=False)


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz ({error}); copy or write it again") from None


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read a small array whole; one that would need pickle is refused."""
    try:
        with archive.open(name) as entry:
            return np.asarray(npy.read_array(entry, allow_pickle=False))
    except _UNREADABLE as error:
        raise DataError(f"{path}: {name} cannot be read ({error}); write it again") from None


def _mapped(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Map an array from the disk; a packed one is unpacked into a temporary file first."""
    entry = archive.getinfo(name)
    try:
        if entry.compress_type == zipfile.ZIP_STORED:
            with path.open("rb") as file:
                file.seek(entry.header_offset)
                head = file.read(_HEADER_BYTES)
                lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(
                    head[28:30], "little"
                )
                file.seek(entry.header_offset + _HEADER_BYTES + lengths)
                return _map(file, path)
        # The map keeps the temporary file alive after it has been closed.
        with tempfile.TemporaryFile() as unpacked, archive.open(name) as packed:
            shutil.copyfileobj(packed, unpacked)
            unpacked.seek(0)
            return _map(unpacked, unpacked)
    except _UNREADABLE as error:
        raise DataError(f"{path}: {name} cannot be read ({error}); write it again") from None


def _map(file: IO[bytes], where: Any) -> np.ndarray:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"npy format {version}")
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code")
    flat: np.ndarray = np.memmap(where, dtype, mode="r", offset=file.tell(), shape=shape[::-1])
    return flat.T if fortran else flat.reshape(shape)


def _check(path: Path, pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8:
        span = ""
        if pixels.dtype.kind in "iuf" and pixels.size:
            first = np.asarray(pixels.reshape(-1)[: _LOOKED_AT**2])
            span = f" from {float(first.min()):.3g} to {float(first.max()):.3g}"
        raise DataError(
            f"{path}: arr_0 is {pixels.dtype}{span}; expected uint8 in 0..255: scale and round it "
            "before saving"
        )
    if pixels.ndim != 4 or pixels.shape[3] != 3:
        grey = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 1)
        advice = "grey images: repeat the channel three times" if grey else "channels come last"
        raise DataError(f"{path}: arr_0 has shape {pixels.shape}; expected N H W 3, {advice}")
    if not len(pixels):
        raise DataError(f"{path}: arr_0 holds no image")
    if pixels.shape[1] != pixels.shape[2]:
        raise DataError(f"{path}: images of {pixels.shape[1:3]}; expected as high as wide")
    seen = pixels[:: max(1, len(pixels) // _LOOKED_AT)]
    if seen.max() == 1:  # all black is a picture, all black and one is a scale
        raise DataError(f"{path}: arr_0 is uint8 from 0 to 1; expected 0..255")


def _labels(path: Path, found: np.ndarray, count: int, classes: tuple[str, ...]) -> Tensor:
    if found.ndim != 1 or len(found) != count or found.dtype.kind not in "iu":
        raise DataError(
            f"{path}: arr_1 is {found.dtype} {found.shape}; expected {count} labels, one an image"
        )
    labels = torch.from_numpy(found.astype(np.int64))
    last = len(classes) - 1 if classes else int(labels.max())
    if int(labels.min()) < 0 or int(labels.max()) > last:
        raise DataError(
            f"{path}: labels from {int(labels.min())} to {int(labels.max())}; expected 0..{last}"
        )
    return labels


__all__ = [
    "NpzImages",
    "digest_of_file",
    "extractor_of",
    "open_npz",
    "open_statistics",
    "write_npz",
]
