"""Normalisation over channels whose affine parameters follow the time, and its time-free relatives.

    value(tau) = s upper + (1 - s) lower        s = sigmoid((1 + slope) tau + shift)

A condition costs four vectors instead of a matrix. The values are computed from the time that is
passed in, never kept. Time-dependent layer norm: arXiv 2406.09416.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class TimeDependent(nn.Module):
    """A vector that goes from `lower` to `upper` along a sigmoid of time, each channel by itself.

    At first both ends are equal: it does not depend on time, with unit slope and no shift.

    Args:
        width: channels.
        start: value of all channels at first.
    """

    def __init__(self, width: int, *, start: float) -> None:
        super().__init__()
        self.upper = nn.Parameter(torch.full((width,), start))
        self.lower = nn.Parameter(torch.full((width,), start))
        self.slope = nn.Parameter(torch.zeros(width))  # on top of 1
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, tau: Float[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Return the vector at each time; `tau` is scaled time, about -1 to 1."""
        share = torch.sigmoid(torch.addcmul(self.shift, tau[:, None], 1 + self.slope))
        return torch.lerp(self.lower, self.upper, share)


def _over_places(
    values: Float[Tensor, "b d"], x: Float[Tensor, "b ... d"]
) -> Float[Tensor, "b ... d"]:
    """Shape one vector an example so that it is the same at all places of `x`."""
    return values.view(len(values), *(1,) * (x.dim() - 2), -1)


def _over_rms(x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Return x / (rms(x) + 1e-8); the small number stands outside of the root."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / (length * x.shape[-1] ** -0.5 + 1e-8)


class TimeLayerNorm(nn.Module):
    """LN(x) weight(tau) + bias(tau), with the population variance and eps 1e-5.

    Args:
        width: channels, the last axis.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = TimeDependent(width, start=1.0)
        self.bias = TimeDependent(width, start=0.0)

    def forward(
        self, x: Float[Tensor, "b ... d"], tau: Float[Tensor, "b"]
    ) -> Float[Tensor, "b ... d"]:
        """Normalise the channels at each place."""
        weight, bias = _over_places(self.weight(tau), x), _over_places(self.bias(tau), x)
        return torch.addcmul(bias, functional.layer_norm(x, x.shape[-1:]), weight)


class TimeRMSNorm(nn.Module):
    """x / (rms(x) + 1e-8) scale(tau), and on demand + offset(tau).

    Args:
        width: channels, the last axis.
        bias: whether there is an offset.
    """

    def __init__(self, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.scale = TimeDependent(width, start=1.0)
        self.offset = TimeDependent(width, start=0.0) if bias else None

    def forward(
        self, x: Float[Tensor, "b ... d"], tau: Float[Tensor, "b"]
    ) -> Float[Tensor, "b ... d"]:
        """Normalise the channels at each place."""
        scaled = _over_rms(x) * _over_places(self.scale(tau), x)
        return scaled if self.offset is None else scaled + _over_places(self.offset(tau), x)


class RMSNorm(nn.Module):
    """x / (rms(x) + 1e-8) scale; time is ignored.

    Args:
        width: channels, the last axis.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(
        self,
        x: Float[Tensor, "b ... d"],
        tau: Float[Tensor, "b"],  # noqa: ARG002, so that norms can stand in for each other
    ) -> Float[Tensor, "b ... d"]:
        """Normalise the channels at each place."""
        return _over_rms(x) * self.scale


class FirstRMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-6) (1 + Linear(first)), where `first` is x at the first place.

    In a sequence that is its first token, in a map its whole first row, column by column, which
    conditions nothing. Time is ignored. No published model has it, and no official output has been
    compared with it.

    Args:
        width: channels, the last axis.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b ... d"],
        tau: Float[Tensor, "b"],  # noqa: ARG002, so that norms can stand in for each other
    ) -> Float[Tensor, "b ... d"]:
        """Normalise the channels at each place."""
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return x * scale * (1 + self.linear(x[:, :1]))


@runtime_checkable
class Norm(Protocol):
    """A choice of norm: what makes one for a number of channels."""

    def __call__(self, width: int) -> nn.Module:
        """Make a module from (x, tau) to x."""
        ...


@dataclass(frozen=True)
class TimeLayer:
    """Layer norm with weight and bias over time."""

    def __call__(self, width: int) -> nn.Module:
        """Make one."""
        return TimeLayerNorm(width)


@dataclass(frozen=True)
class TimeRMS:
    """RMS norm with a scale over time."""

    def __call__(self, width: int) -> nn.Module:
        """Make one."""
        return TimeRMSNorm(width)


@dataclass(frozen=True)
class RMS:
    """RMS norm that knows no time."""

    def __call__(self, width: int) -> nn.Module:
        """Make one."""
        return RMSNorm(width)


@dataclass(frozen=True)
class FirstRMS:
    """RMS norm scaled by what stands at the first place."""

    def __call__(self, width: int) -> nn.Module:
        """Make one."""
        return FirstRMSNorm(width)
