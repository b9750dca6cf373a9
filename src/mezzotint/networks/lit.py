"""LiT: a DiT whose softmax attention is linear attention with few heads and a convolution.

Everything else is DiT's, so a trained DiT can hand its weights down: see `mezzotint.convert`.
Wang et al., "LiT: Delving into a Simple(fied) Linear Diffusion Transformer for Image Generation",
arXiv 2501.12976. Its release was not read first-hand: what rests on other sources is marked.
"""

from functools import partial
from typing import Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from mezzotint.networks.dit import DiT, DiTConfig, MakeAttention
from mezzotint.nn.attention import Form, LinearAttention

HEADS: Final = {384: 2, 768: 3, 1024: 4, 1152: 4}
"""Published heads by width, of S, B, L and XL; those of B and L are remembered, not read."""

RELATIVES: Final[dict[str, dict[str, Any]]] = {
    "focused": {"form": {"features": "focused", "key_positions": True}},
    "sana": {"floor": 0.0, "eps": 1e-15, "kernel": 0},  # heads 32 channels deep
    "lina": {"form": {"convolves": "inputs"}},
}
"""Settings of the attentions that LiT's grew from and into (papers/lit.md, 2.2).

The normaliser is a mean here and a sum in Sana's, so its 1e-15 counts N times; Sana's 3 x 3
convolution in the MLP is not part of the attention, nor of this network.
"""


class LiTConfig(DiTConfig):
    """Shape of a LiT: DiT's, with another attention.

    Attributes:
        heads: attention heads, few; a convolution kernel is as deep as a head and shared by all.
        kernel: side of the depth-wise convolution of the values, odd; 0 leaves it out.
        qkv_bias: whether queries, keys and values have a bias. That the release has one is our
            reading: its attention defaults to none, but DiT's blocks ask for one.
        floor, eps, form: those of `LinearAttention`, by which LiT's relatives differ from it; see
            `RELATIVES`.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        name: {**preset, "heads": HEADS[preset["width"]]}
        for name, preset in DiTConfig.PRESETS.items()
    }

    kernel: int = Field(default=5, ge=0)
    qkv_bias: bool = True
    floor: float = Field(default=1e-6, ge=0)
    eps: float = Field(default=1e-6, gt=0)
    form: Form = Form()

    @model_validator(mode="after")
    def _centred(self) -> Self:
        if self.kernel and self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd, or 0 for no convolution")
        return self

    def attention(self) -> MakeAttention:
        """Return what makes a block's attention."""
        return partial(
            LinearAttention,
            shape=self.shape,
            kernel=self.kernel,
            bias=self.qkv_bias,
            floor=self.floor,
            eps=self.eps,
            form=self.form,
        )

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
