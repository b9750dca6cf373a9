"""One way through every extractor: fixed blocks, so that a row knows nothing of its batch.

Libraries of convolutions choose their algorithm by the shape of a batch, and algorithms round
differently. Here every batch has one shape: images go through in blocks of one size, the last one
filled up, copied into one memory layout, in float32. A row's bits then depend on the image, the
weights, the size of the block, the number of threads and the device, and on nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from mezzotint.errors import ConfigError, DataError, NumericError
from mezzotint.evaluation.features import Readout

_BACKENDS: Final[Any] = torch.backends
_PRECISIONS: Final = (
    _BACKENDS.cuda.matmul,
    _BACKENDS.cudnn.conv,
    _BACKENDS.cudnn.rnn,
    _BACKENDS.mkldnn.matmul,
    _BACKENDS.mkldnn.conv,
)


class Blockwise(ABC):
    """An extractor that reads blocks of one size, without gradients, in full float32.

    Args:
        name: what messages call it.
        distance: name of the Fréchet distance in its space.
        digest: of weights and preprocessing.
        classes: names of the classes of its logits.
        block: how many images go through at once, at least 1.
        device: where they are read; results are on the CPU.

    Raises:
        ConfigError: a block holds no image.
    """

    def __init__(
        self,
        *,
        name: str,
        distance: str,
        digest: str,
        classes: tuple[str, ...] = (),
        block: int,
        device: str | torch.device,
    ) -> None:
        if block < 1:
            raise ConfigError(f"{name}: block is {block}; expected at least 1 image at once")
        self.name = name
        self.distance = distance
        self.digest = digest
        self.classes = classes
        self.block = block
        self.device = torch.device(device)

    @abstractmethod
    def _read(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        """Read one full block, on the device; rows must not mix."""

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        """Read images.

        Args:
            images: uint8 in [0, 255]; any number of them, also none.

        Raises:
            DataError: the images are not uint8 with three channels.
            NumericError: a feature is NaN or infinite.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise DataError(
                f"{self.name}: expected images uint8 (b, 3, h, w), got {_described(images)}; "
                "convert grey or floating images first"
            )
        rows, parts = len(images), []
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False), exact_float32():
            for start in range(0, max(rows, 1), self.block):
                some = images[start : start + self.block]
                # a copy in one memory layout: images may stand here channel by channel or not
                full = torch.zeros((self.block, *images.shape[1:]), dtype=torch.uint8)
                full[: len(some)] = some
                parts.append(self._read(full.to(self.device)))
        features = torch.cat([part.features.cpu() for part in parts])[:rows]
        _check_finite(features, self.name)
        return Readout(
            features,
            _joined([part.logits for part in parts], rows),
            _joined([part.spatial for part in parts], rows),
        )


def one_row_each(result: object, count: int, name: str) -> Float32[Tensor, "b d"]:
    """Return what an extractor made of `count` images, if it is a row of features for each.

    Raises:
        DataError: it is not a float32 tensor of shape (count, d).
    """
    if not isinstance(result, Tensor):
        raise DataError(f"{name}: expected a tensor of features, got {type(result).__name__}")
    if result.dtype != torch.float32 or result.ndim != 2 or len(result) != count:
        raise DataError(
            f"{name}: expected features float32 ({count}, d) for {count} images, "
            f"got {_described(result)}"
        )
    return result


def _joined(
    parts: Sequence[Float32[Tensor, "b d"] | None], rows: int
) -> Float32[Tensor, "n d"] | None:
    present = [part.cpu() for part in parts if part is not None]
    return torch.cat(present)[:rows] if present else None


def _check_finite(features: Float32[Tensor, "n d"], name: str) -> None:
    wrong = (~features.isfinite()).any(dim=1).nonzero()[:, 0].tolist()
    if wrong:
        raise NumericError(
            f"{name}: NaN or infinite features for {len(wrong)} of {len(features)} images, "
            f"first for image {wrong[0]} of this batch; check the weights of the extractor"
        )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply in full float32 and deterministically, whatever the program around it has set."""
    before = [place.fp32_precision for place in _PRECISIONS]
    matrices = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    modes = cudnn.benchmark, cudnn.deterministic
    try:
        torch.set_float32_matmul_precision("highest")
        for place in _PRECISIONS:
            place.fp32_precision = "ieee"
        cudnn.benchmark, cudnn.deterministic = False, True
        yield
    finally:
        torch.set_float32_matmul_precision(matrices)
        for place, precision in zip(_PRECISIONS, before, strict=True):
            place.fp32_precision = precision
        cudnn.benchmark, cudnn.deterministic = modes


__all__ = ["Blockwise", "exact_float32", "one_row_each"]
