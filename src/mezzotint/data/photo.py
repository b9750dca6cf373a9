"""Pictures that a user gives a model to go on from, and the holes in them."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from mezzotint.data.crop import adm
from mezzotint.data.decode import Unusable, decode
from mezzotint.errors import DataError

_WHITE: Final = 0.5  # of a mask: what is lighter is hole


def photo(path: Path, size: int) -> UInt8[Tensor, "3 s s"]:
    """Read a picture, cropped and resized as training data are.

    Args:
        path: of the file.
        size: rows and columns that are wanted.

    Raises:
        DataError: it cannot be read.
    """
    return _tensor(adm(_read(path), size))


def hole(text: str, of: Path, size: int) -> Bool[Tensor, "s s"]:
    """Return a mask that is True in the hole.

    Args:
        text: X,Y,WIDTH,HEIGHT in pixels of what the model makes, or a picture that is white in the
            hole and as large as the picture that it is for.
        of: that picture.
        size: rows and columns that are wanted.

    Raises:
        DataError: it is neither, of another size, outside, or empty.
    """
    found = _box(text, size)
    if found is None:
        mask, wanted = _read(Path(text)), _read(of).size
        if mask.size != wanted:
            raise DataError(
                f"{text}: the mask is {mask.width} x {mask.height} px and {of} is {wanted[0]} x "
                f"{wanted[1]} px; make them of a size"
            )
        found = _tensor(adm(mask, size)).float().mean(0) / 255 > _WHITE
    if not found.any():
        raise DataError(f"{text}: the hole is empty; expected white pixels, or a box inside")
    return found


def _box(text: str, size: int) -> Bool[Tensor, "s s"] | None:
    try:
        x, y, width, height = (int(each) for each in text.split(","))
    except ValueError:
        return None
    if min(x, y) < 0 or min(width, height) < 1 or max(x + width, y + height) > size:
        raise DataError(f"hole {text}: expected X,Y,WIDTH,HEIGHT inside {size} x {size} px")
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[y : y + height, x : x + width] = True
    return mask


def _read(path: Path) -> Image.Image:
    try:
        return decode(path.read_bytes(), "white").image
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Unusable as reason:
        raise DataError(f"{path}: {reason}") from None


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


__all__ = ["hole", "photo"]
