"""Features of linear attention: what stands in the place of the exponential of a softmax."""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Features = Literal["relu", "focused"]
"""The map from queries and keys to what is nowhere negative."""


class Positive(nn.Module):
    """relu(x) + floor, in float32 at least.

    Args:
        width: channels of a token.
        floor: added to every feature.
    """

    def __init__(self, width: int, floor: float = 1e-6) -> None:  # noqa: ARG002, as `Focused`
        super().__init__()
        self.floor = floor

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return the features of queries, or of keys."""
        return positive(x, self.floor)


class Focused(nn.Module):
    """Features with their contrasts sharpened and their length kept: y^3 |y| / |y^3|.

        y = (relu(x) + floor) / softplus(scale)

    Lengths are over all channels of a token; the scale of each channel is learned. FLatten
    (papers/lit.md, 2.2).

    Args:
        width: channels of a token.
        floor: added before sharpening.
    """

    def __init__(self, width: int, floor: float = 1e-6) -> None:
        super().__init__()
        self.floor = floor
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return the features of queries, or of keys."""
        y = positive(x, self.floor)
        y = y / functional.softplus(self.scale.to(y.dtype))
        length = y.norm(dim=-1, keepdim=True)
        unit = y / length.clamp_min(torch.finfo(y.dtype).tiny)  # cubes of small lengths vanish
        return length * functional.normalize(unit**3, dim=-1)


FEATURES: Final[Mapping[Features, type[Positive] | type[Focused]]] = {
    "relu": Positive,
    "focused": Focused,
}


def positive(x: Float[Tensor, "b n d"], floor: float = 1e-6) -> Float[Tensor, "b n d"]:
    """Return relu(x) + floor, the features of linear attention, in float32 at least."""
    return functional.relu(x.to(torch.promote_types(x.dtype, torch.float32))) + floor


__all__ = ["FEATURES", "Features", "Focused", "Positive", "positive"]
