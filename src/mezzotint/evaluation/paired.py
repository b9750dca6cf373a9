"""How well images are restored, pair by pair: PSNR and SSIM, a number an image.

For tokenizers and whatever else has an original to be compared with. Every number is kept by
image, so that the worst can be shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.nn import functional

from mezzotint.errors import DataError

WHITE: Final = 255
"""The range of the data, in every formula here."""


class PairedMetric(Protocol):
    """A number for each image and its original; the same whatever stands beside it."""

    @property
    def name(self) -> str:
        """Name for tables, such as "PSNR"."""

    @property
    def unit(self) -> str:
        """Such as "dB"; "" if there is none."""

    @property
    def higher_is_better(self) -> bool:
        """Which end of the scale is good."""

    def __call__(
        self, images: UInt8[Tensor, "b 3 h w"], originals: UInt8[Tensor, "b 3 h w"]
    ) -> Float64[Tensor, "b"]:
        """Compare a batch with its originals."""
        ...


@dataclass(frozen=True)
class PSNR:
    """Peak signal-to-noise ratio, 10 log10(255² / mean (x - y)²), in dB; inf for equal images."""

    name: str = "PSNR"
    unit: str = "dB"
    higher_is_better: bool = True

    def __call__(
        self, images: UInt8[Tensor, "b 3 h w"], originals: UInt8[Tensor, "b 3 h w"]
    ) -> Float64[Tensor, "b"]:
        """Compare a batch with its originals; over all channels and pixels of an image."""
        error = (images.double() - originals.double()).square().mean((1, 2, 3))
        return 10 * torch.log10(WHITE**2 / error)


@dataclass(frozen=True)
class SSIM:
    """Structural similarity in [-1, 1]; 1 for equal images.

    Mean over pixels and channels of
    (2 mx my + c1) (2 sxy + c2) / ((mx² + my² + c1) (sx² + sy² + c2)), with means, variances and
    covariance under a Gaussian window and ci = (ki 255)². In float64, borders mirrored, colour
    channels apart, as torchmetrics has it; the authors' own code is for grey images and leaves
    out the border where the window does not fit.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861, equation 13.
    """

    name: str = "SSIM"
    unit: str = ""
    higher_is_better: bool = True
    window: int = 11
    sigma: float = 1.5
    k1: float = 0.01
    k2: float = 0.03

    def __call__(
        self, images: UInt8[Tensor, "b 3 h w"], originals: UInt8[Tensor, "b 3 h w"]
    ) -> Float64[Tensor, "b"]:
        """Compare a batch with its originals.

        Raises:
            DataError: the images are smaller than the window.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.window:
            raise DataError(
                f"SSIM: images of {width} x {height} px, expected at least {self.window} x "
                f"{self.window}, its window; compare them by PSNR alone"
            )
        x, y = images.double(), originals.double()
        mx, my = self._blur(x), self._blur(y)
        sxx, syy = self._blur(x * x) - mx * mx, self._blur(y * y) - my * my
        sxy = self._blur(x * y) - mx * my
        c1, c2 = (self.k1 * WHITE) ** 2, (self.k2 * WHITE) ** 2
        alike = (2 * mx * my + c1) * (2 * sxy + c2)
        return (alike / ((mx * mx + my * my + c1) * (sxx + syy + c2))).mean((1, 2, 3))

    def _blur(self, x: Float64[Tensor, "b c h w"]) -> Float64[Tensor, "b c h w"]:
        """Average under the window, one axis after the other."""
        batch, channels, height, width = x.shape
        half = self.window // 2
        weights = torch.arange(-half, half + 1, dtype=torch.float64, device=x.device)
        weights = torch.exp(-((weights / self.sigma) ** 2) / 2)
        weights = weights / weights.sum()
        padded = functional.pad(x, (half,) * 4, mode="reflect").flatten(0, 1)[:, None]
        rows = functional.conv2d(padded, weights.view(1, 1, -1, 1))
        return functional.conv2d(rows, weights.view(1, 1, 1, -1)).view(
            batch, channels, height, width
        )


@dataclass(frozen=True)
class PairedSummary:
    """A paired metric over all images.

    Attributes:
        name, unit: of the metric.
        mean: over the images whose value is not infinite. An image that equals its original has an
            infinite PSNR and would make the mean infinite; it is left out here, which lowers the
            mean, and counted in `infinite`. nan if every value is infinite.
        infinite: how many values are infinite.
        count: how many images there are.
        worst: (row, value), worst first.
    """

    name: str
    unit: str
    mean: float
    infinite: int
    count: int
    worst: tuple[tuple[int, float], ...]


class PairedScores:
    """Values of paired metrics, gathered batch by batch in the order of the images."""

    def __init__(self, metrics: Sequence[PairedMetric]) -> None:
        self.metrics = tuple(metrics)
        self._values: dict[str, list[Tensor]] = {metric.name: [] for metric in self.metrics}

    def update(
        self, images: UInt8[Tensor, "b c h w"], originals: UInt8[Tensor, "_b _c _h _w"]
    ) -> None:
        """Add a batch and its originals.

        Raises:
            DataError: they differ in count or size.
        """
        if images.shape != originals.shape:
            raise DataError(
                f"paired metrics: images of shape {tuple(images.shape)}, originals of "
                f"{tuple(originals.shape)}; give each image its original, at the same size"
            )
        for metric in self.metrics:
            self._values[metric.name].append(metric(images, originals).cpu())

    def values(self, name: str) -> Float64[Tensor, "n"]:
        """Return the value of every image so far."""
        return torch.cat([torch.zeros(0, dtype=torch.float64), *self._values[name]])

    def summaries(self, *, worst: int = 8) -> tuple[PairedSummary, ...]:
        """Return the mean and the `worst` images of each metric.

        Raises:
            DataError: no pair was added.
        """
        return tuple(self._summary(metric, worst) for metric in self.metrics)

    def _summary(self, metric: PairedMetric, worst: int) -> PairedSummary:
        values = self.values(metric.name)
        if not len(values):
            raise DataError(f"{metric.name}: no pairs of images; give at least one")
        order = values.argsort(descending=not metric.higher_is_better, stable=True)[:worst]
        return PairedSummary(
            name=metric.name,
            unit=metric.unit,
            mean=values[values != inf].mean().item(),
            infinite=int((values == inf).sum()),
            count=len(values),
            worst=tuple((row, values[row].item()) for row in order.tolist()),
        )


__all__ = ["PSNR", "SSIM", "PairedMetric", "PairedScores", "PairedSummary"]
