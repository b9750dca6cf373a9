"""LiT: a DiT whose softmax attention is linear attention with few heads and a convolution.

Everything else is DiT's, so a trained DiT can hand its weights down: see `mezzotint.convert`.
Wang et al., "LiT: Delving into a Simple(fied) Linear Diffusion Transformer for Image Generation",
arXiv 2501.12976. Its release was not read first-hand: what rests on other sources is marked.
"""

from functools import partial
from typing import Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from mezzotint.networks.dit import DiT, DiTConfig, MakeAttention
from mezzotint.nn.attention import LinearAttention

HEADS: Final = {384: 2, 768: 3, 1024: 4, 1152: 4}
"""Published heads by width, of S, B, L and XL; those of B and L are remembered, not read."""


class LiTConfig(DiTConfig):
    """Shape of a LiT: DiT's, with another attention.

    Attributes:
        heads: attention heads, few; a convolution kernel is as deep as a head and shared by all.
        kernel: side of the depth-wise convolution of the values, odd; 0 leaves it out.
        qkv_bias: whether queries, keys and values have a bias. That the release has one is our
            reading: its attention defaults to none, but DiT's blocks ask for one.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        name: {**preset, "heads": HEADS[preset["width"]]}
        for name, preset in DiTConfig.PRESETS.items()
    }

    kernel: int = Field(default=5, ge=0)
    qkv_bias: bool = True

    @model_validator(mode="after")
    def _centred(self) -> Self:
        if self.kernel and self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd, or 0 for no convolution")
        return self

    def attention(self) -> MakeAttention:
        """Return what makes a block's attention."""
        return partial(LinearAttention, shape=self.shape, kernel=self.kernel, bias=self.qkv_bias)

    def build(self) -> "LiT":
        """Make the network, freshly initialised: it outputs exactly zero."""
        return LiT(self)


class LiT(DiT):
    """The diffusion transformer with linear attention.

    Args:
        config: the shape.
    """

    def __init__(self, config: LiTConfig) -> None:
        super().__init__(config)
