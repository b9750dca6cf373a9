"""Adaptive normalisation: x (1 + scale) + shift, both regressed from a condition."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def modulate(
    tokens: Float[Tensor, "b *n d"], shift: Float[Tensor, "b d"], scale: Float[Tensor, "b d"]
) -> Float[Tensor, "b *n d"]:
    """Return tokens (1 + scale) + shift, the same for every token of an image.

    Args:
        tokens: a sequence, or a map with channels last.
        shift, scale: of each image.
    """
    every = (slice(None), *(None,) * (tokens.dim() - 2))
    return tokens * (1 + scale[every]) + shift[every]


class Modulation(nn.Module):
    """Regress `parts` vectors of `width` channels from a condition."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, condition: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b d"], ...]:
        """Return the vectors in order."""
        return self.linear(functional.silu(condition)).chunk(self.parts, dim=1)
