"""What a classifier is given: images for a model with a tokenizer, numbers for a bare denoiser.

Complaints follow scikit-learn's wording where it has one, because its checks read them.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mezzotint.classify.labelling import Labels
from mezzotint.errors import DataError
from mezzotint.tokenizers.base import Tokenizer

_ENCODED: Final = 64  # images that a tokenizer encodes at a time


class Still:
    """No noise: a tokenizer that draws its latents gives their mean, as published."""

    def __call__(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return zeros."""
        return torch.zeros_like(like)


def device_of(part: object) -> torch.device:
    """Return where a denoiser computes: at the first weight inside of it, else on the CPU."""
    return next(_devices(part), torch.device("cpu"))


def _devices(part: object) -> Iterator[torch.device]:
    if isinstance(part, nn.Module):
        yield from (each.device for each in part.parameters())
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from _devices(getattr(part, field.name))
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _devices(each)


def latents(
    X: Any,
    tokenizer: Tokenizer | None,
    device: torch.device,
) -> Float[Tensor, "n ..."]:
    """Return what the denoiser sees of images.

    Args:
        X: uint8 images (n, 3, H, W) for a tokenizer; else numbers of shape (n, ...), as they are.
        tokenizer: from images to latents, or None.
        device: where they are wanted.

    Raises:
        DataError: other sizes, ranges or shapes than expected, or none at all.
    """
    if tokenizer is None:
        return numbers(X).to(device)
    images = _images(X, tokenizer.spec.image)
    blocks = images.split(_ENCODED)
    with torch.no_grad():
        return torch.cat(
            [tokenizer.latents(tokenizer.encode(each.to(device)), Still()) for each in blocks]
        )


def _images(X: Any, size: tuple[int, int]) -> Tensor:
    found = X if isinstance(X, Tensor) else torch.from_numpy(np.ascontiguousarray(np.asarray(X)))
    if found.dtype != torch.uint8:
        ends = f" from {found.min():.3g} to {found.max():.3g}" if found.numel() else ""
        raise DataError(
            f"images are {str(found.dtype).removeprefix('torch.')}{ends}; expected uint8 from 0 to "
            "255, as decoded from a file"
        )
    if found.dim() != 4 or found.shape[1] != 3:
        raise DataError(
            f"images have shape {tuple(found.shape)}; expected (n, 3, height, width), for one "
            "image (1, 3, height, width)"
        )
    if len(found) == 0:
        raise DataError("no images were given; expected at least one")
    if found.shape[2:] != size:
        height, width = found.shape[2:]
        raise DataError(
            f"images of {width} x {height} px, but this model makes {size[1]} x {size[0]} px; "
            "resize them, or take a model of their size"
        )
    return found


def numbers(X: Any) -> Float[Tensor, "n ..."]:
    """Return an array of numbers as floats, in its own precision.

    Raises:
        DataError: no array of finite numbers with at least two axes.
    """
    if isinstance(X, Tensor):
        array = X.detach().cpu().numpy()
    elif hasattr(X, "toarray"):
        raise DataError("X is sparse; sparse input is not supported, give X.toarray()")
    else:
        array = np.asarray(X)
    if np.iscomplexobj(array):
        raise DataError(f"Complex data not supported: X is {array.dtype}; give real numbers")
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.ndim < 2:
        raise DataError(
            f"Expected 2D array, got {array.ndim}D array instead. Reshape your data: "
            "X.reshape(1, -1) is one image"
        )
    if array.shape[0] == 0:
        raise DataError(
            f"Found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    if 0 in array.shape:
        raise DataError(
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    if not np.isfinite(array).all():
        raise DataError("Input X contains NaN or infinity; expected finite numbers")
    single = array.dtype if array.dtype in (np.float32, np.float64) else np.float32
    return torch.from_numpy(np.array(array, dtype=single))


def labels(y: Any) -> Labels:
    """Return labels as an array of one axis.

    Raises:
        DataError: none, more axes than one, or numbers that are no classes.
    """
    if y is None:
        raise DataError(
            "this classifier requires y to be passed, but the target y is None; give the labels"
        )
    array = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) == 0:
        raise DataError(f"y has shape {array.shape}; expected one label an image, at least one")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise DataError("Input y contains NaN or infinity; expected labels")
        if (array != np.floor(array)).any():
            raise DataError("Unknown label type: continuous; expected classes, got fractions")
    return array


__all__ = ["Still", "device_of", "labels", "latents", "numbers"]
