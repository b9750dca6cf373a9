"""Classifier-free guidance: a denoiser around a denoiser.

    eps = eps_null + scale(t) (eps_y - eps_null)

x0 is affine in eps, so the same line holds for it. Ho & Salimans, arXiv 2207.12598, eq. 6, in the
convention where scale 1 is the conditional model and 0 the unconditional.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Path
from mezzotint.errors import ConfigError


@runtime_checkable
class Scale(Protocol):
    """A guidance scale over time."""

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale at `t`, float64 on the CPU."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same scale at all times."""

    scale: float = 1.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        return torch.full_like(t, self.scale)


@dataclass(frozen=True)
class Interval:
    """A scale on low < t <= high, and 1 outside (Kynkäänniemi et al., arXiv 2404.07724)."""

    scale: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        inside = (t > self.low) & (t <= self.high)
        return torch.where(inside, self.scale, 1.0).to(t)


@dataclass(frozen=True)
class PowerCosine:
    """From 1 at the noisy end to `scale` at the clean end (MDT, arXiv 2303.14389).

        1 + (scale - 1) (1 - cos(pi (1 - t)^power)) / 2

    Args:
        scale: at the clean end.
        power: larger keeps guidance weak for longer.
    """

    scale: float = 4.0
    power: float = 4.0

    def __call__(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the scale."""
        rise = (1 - torch.cos(math.pi * (1 - t) ** self.power)) / 2
        return 1 + (self.scale - 1) * rise


def scale_of(scale: Scale | float) -> Scale:
    """Return a scale over time; a number becomes a constant."""
    return Constant(float(scale)) if isinstance(scale, int | float) else scale


@dataclass(frozen=True)
class ClassifierFree:
    """Guide a denoiser away from its own unconditional estimate.

    Only rows whose scale is not 1 are evaluated twice, in one batch with the rest; if there are
    none, the inner denoiser answers alone. A learned variance stays that of the condition.

    Args:
        inner: the denoiser.
        scale: a number, or a function of time.
        null: index of the null class, or where conditions are vectors, the unconditional one of
            each row; a network that has none cannot be guided.
        channels: guide the first channels only; 3 is what DiT's release does.

    Raises:
        ConfigError: `null` is None.
    """

    inner: Denoiser
    scale: Scale | float
    null: int | Float[Tensor, "b ..."] | None
    channels: int | None = None
    _scale: Scale = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.null is None:
            raise ConfigError(
                "this model has no null class, so it cannot be guided; "
                "train it with null_row and label dropout, or leave guidance at 1"
            )
        object.__setattr__(self, "_scale", scale_of(self.scale))

    @property
    def path(self) -> Path:
        """The path of the inner denoiser."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate under guidance."""
        scale = self._scale(t)
        rows = (scale != 1).nonzero()[:, 0]
        if len(rows) == 0:
            return self.inner(x, t, y)
        assert self.null is not None, "refused at construction"
        null = torch.as_tensor(self.null).to(y).expand_as(y)[rows]
        both = self.inner(torch.cat([x, x[rows]]), torch.cat([t, t[rows]]), torch.cat([y, null]))
        weight = scale[rows].view(-1, *(1,) * (x.dim() - 1)).to(x.device, x.dtype)
        return replace(
            both,
            x0=self._guided(both.x0, rows, weight),
            eps=self._guided(both.eps, rows, weight),
            var_mix=None if both.var_mix is None else both.var_mix[: len(x)],
            push=None if both.push is None else both.push[: len(x)],
        )

    def _guided(
        self, both: Float[Tensor, "n ..."], rows: Int[Tensor, "r"], weight: Float[Tensor, "r ..."]
    ) -> Float[Tensor, "b ..."]:
        """Combine the conditional rows with the unconditional ones behind them."""
        count = len(both) - len(rows)
        result = both[:count].clone()
        channels = slice(self.channels)
        conditional, plain = both[rows][:, channels], both[count:][:, channels]
        result[rows.to(both.device), channels] = plain + weight * (conditional - plain)
        return result
