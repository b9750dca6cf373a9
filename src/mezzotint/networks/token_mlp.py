"""A denoiser's network for single tokens: an MLP without mixing, conditioned on a vector.

    h <- h + gate * MLP(LN(h) (1 + scale) + shift)

with shift, scale and gate regressed from (time + condition). It is an ordinary network: rows of
tokens are the batch, and the condition stands where classes do. Li et al., "Autoregressive Image
Generation without Vector Quantization", arXiv 2406.11838, section 3.3.
"""

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import Config
from mezzotint.nn.embed import TimeEmbedding
from mezzotint.nn.initial import linear, xavier
from mezzotint.nn.modulate import Modulation, close, modulate


class TokenMLPConfig(Config):
    """Shape of a token's MLP.

    Attributes:
        channels: values of a token.
        condition: values of the vector that a token is conditioned on.
        width: channels of the hidden rows.
        depth: number of blocks.
        outputs: output channels over `channels`; 2 when the variance is learned.
    """

    channels: int = Field(ge=1)
    condition: int = Field(ge=1)
    width: int = Field(ge=1)
    depth: int = Field(ge=1)
    outputs: int = Field(default=2, ge=1)

    def build(self) -> "TokenMLP":
        """Make the network, freshly initialised: it outputs exactly zero."""
        return TokenMLP(self)


class TokenBlock(nn.Module):
    """Two linear layers, shifted, scaled and gated by the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = Modulation(width, 3)

    def forward(
        self, rows: Float[Tensor, "b d"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b d"]:
        """Refine the rows."""
        shift, scale, gate = self.modulation(condition)
        return rows + gate * self.mlp(modulate(self.norm(rows), shift, scale))


class TokenMLP(nn.Module):
    """The MLP; every row is treated alone.

    Args:
        config: the shape.
    """

    def __init__(self, config: TokenMLPConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.time = TimeEmbedding(width)
        self.condition = nn.Linear(config.condition, width)
        self.enter = nn.Linear(config.channels, width)
        self.blocks = nn.ModuleList(TokenBlock(width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = Modulation(width, 2)
        self.leave = nn.Linear(width, config.channels * config.outputs)
        self._initialise()

    def forward(
        self, x: Float[Tensor, "b c"], time: Float[Tensor, "b"], y: Float[Tensor, "b z"]
    ) -> Float[Tensor, "b k"]:
        """Return the raw prediction.

        Args:
            x: noisy tokens.
            time: network time, as the path's `network_time` gives it.
            y: conditions, a vector a token.
        """
        condition = self.time(time) + self.condition(y)  # (B, D)
        rows = self.enter(x)
        for block in self.blocks:
            rows = block(rows, condition)
        shift, scale = self.modulation(condition)
        return self.leave(modulate(self.norm(rows), shift, scale))

    def _initialise(self) -> None:
        """Draw the initial weights of the release: all modulations and the last layer are zero."""
        xavier(linear(self))
        for layer in linear(self.time):
            nn.init.normal_(layer.weight, std=0.02)
        close(self, self.leave)
