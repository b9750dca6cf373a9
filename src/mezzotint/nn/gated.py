"""An MLP one half of which gates the other: project(f(gate x) * (value x)); arXiv 2002.05202."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Gate = Literal["gelu", "silu"]
"""The function of a gate; with `silu` the MLP is known as SwiGLU, with `gelu` as GEGLU."""

GATES: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "gelu": functional.gelu,
    "silu": functional.silu,
}


class GatedMLP(nn.Module):
    """Two maps of a token to its hidden channels, one of which gates the other.

    Args:
        width: channels of a token.
        hidden: hidden channels.
        gate: the function of the gate.
        bias: whether the three maps have one.
    """

    def __init__(self, width: int, hidden: int, *, gate: Gate = "silu", bias: bool = True) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.value = nn.Linear(width, hidden, bias=bias)
        self.project = nn.Linear(hidden, width, bias=bias)
        self.function = GATES[gate]

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Map each token by itself."""
        return self.project(self.function(self.gate(tokens)) * self.value(tokens))
