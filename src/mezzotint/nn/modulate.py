"""Adaptive normalisation: x (1 + scale) + shift, both regressed from a condition."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.nn.initial import zero


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


class ModulatedBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition.

        tokens <- tokens + gate * Branch(Norm(tokens) (1 + scale) + shift)

    Args:
        norm1, norm2: before attention and MLP.
        attention: of tokens, and of what else `forward` is told.
        mlp: of tokens.
        width: channels of tokens and condition.
    """

    def __init__(
        self, norm1: nn.Module, attention: nn.Module, norm2: nn.Module, mlp: nn.Module, width: int
    ) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = norm1, attention, norm2, mlp
        self.modulation = Modulation(width, 6)

    def forward(
        self, tokens: Float[Tensor, "b n d"], condition: Float[Tensor, "b d"], *told: Tensor
    ) -> Float[Tensor, "b n d"]:
        """Refine the tokens."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)
        mixed = self.attn(modulate(self.norm1(tokens), shift1, scale1), *told)
        tokens = tokens + gate1[:, None] * mixed
        mixed = self.mlp(modulate(self.norm2(tokens), shift2, scale2))
        return tokens + gate2[:, None] * mixed


def close(network: nn.Module, last: nn.Module) -> None:
    """Let all modulations of a network and its last layer begin at 0: its output is exactly 0."""
    zero(last, *(part for part in network.modules() if isinstance(part, Modulation)))
