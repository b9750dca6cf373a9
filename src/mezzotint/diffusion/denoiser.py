"""Denoisers: a noisy x, its time and its class in; the clean image and the noise out.

    alpha x0 + sigma eps == x_t

holds for every estimate, so nothing downstream asks what the network predicted. Guidance, routing
and conversion are denoisers around denoisers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.predictions import Prediction


class Denoiser(Protocol):
    """A function from (x_t, t, y) to an estimate, on a path."""

    @property
    def path(self) -> Path:
        """The path that x_t lies on."""
        ...

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate the clean image and the noise.

        Args:
            x: noisy images.
            t: times in (0, 1], float64 on the CPU.
            y: conditions; class indices in 0..K for a network with K classes.
        """
        ...


class NetworkDenoiser(nn.Module):
    """The only place where a network meets a path and a prediction.

    Args:
        network: a map from (x, network time, y) to raw outputs.
        path: the scales and the network's clock.
        prediction: what the outputs mean.
        autocast: dtype in which the network may compute, or None for that of its weights.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        path: Path,
        prediction: Prediction,
        *,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.path = path
        self.prediction = prediction
        self.autocast = autocast

    def outputs(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Any:
        """Return what the network puts out, before it is read as an estimate."""
        time = self.path.network_time(t).to(x.device, torch.float32)
        enabled = self.autocast is not None
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=enabled):
            return self.network(x, time, y)

    def forward(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate the clean image and the noise, in the dtype of `x`."""
        out = self.outputs(x, t, y)
        return self.prediction.estimate(out, x, self.path.at(t, x))


@dataclass(frozen=True)
class Clamped:
    """Keep the clean image within bounds, as ADM does; the noise follows, the invariant stays.

    Args:
        inner: the denoiser.
        low, high: bounds of x0.
    """

    inner: Denoiser
    low: float = -1.0
    high: float = 1.0

    @property
    def path(self) -> Path:
        """The path of the inner denoiser."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate, then clamp x0 and re-derive eps = (x - alpha x0) / sigma."""
        inner = self.inner(x, t, y)
        scales = self.path.at(t, x)
        x0 = inner.x0.clamp(self.low, self.high)
        eps = (x - scales.alpha * x0) / scales.sigma
        return Estimate(x0, eps, inner.var_mix, inner.push)
