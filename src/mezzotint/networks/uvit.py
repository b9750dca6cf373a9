"""U-ViT: a plain transformer whose first half is joined to its second by long skips.

    tokens <- Block(Linear([tokens, tokens of the mirrored block]))

Class or text, time and patches are tokens of one sequence; nothing is modulated. Bao et al., "All
are Worth Words: A ViT Backbone for Diffusion Models", arXiv 2209.12152.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Shaped
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.errors import ConfigError
from mezzotint.networks.base import NetworkConfig
from mezzotint.nn.attention import check_heads
from mezzotint.nn.embed import ClassEmbedding, PatchEmbedding, time_features, unpatch
from mezzotint.nn.transformer import Block, mlp

_SMALL = {"depth": 12, "width": 512, "heads": 8}
_MIDDLE = {"depth": 16, "width": 768, "heads": 12}
_LARGE = {"depth": 20, "width": 1024, "heads": 16}
_HUGE = {"depth": 28, "width": 1152, "heads": 16, "convolution": False}
_TEXT = (77, 768)  # CLIP's tokens


class UViTConfig(NetworkConfig):
    """Shape of a U-ViT.

    Attributes:
        depth: the paper's depth, which counts pairs: there are 2 (depth // 2) + 1 blocks, so 28
            makes 29, and 12 and 13 make 13 both.
        width: channels of a token, a multiple of `heads`.
        heads: attention heads.
        patch: side of a patch; divides both sides of x.
        mlp_ratio: hidden width of the MLP over `width`.
        qkv_bias: whether queries, keys and values have a bias.
        time_mlp: whether the time features pass through an MLP before they are a token.
        convolution: whether a 3 x 3 convolution follows the last linear layer.
        skips: whether the long skips are there; without them nothing stands in their place.
        null_row: whether the class table has a row for the null class; without it a model cannot
            be guided against its unconditional self. False by default where there are no classes.
        context: tokens of a text and their width; y is then a tensor of this shape a row, and
            there are no classes. With neither text nor classes, y is ignored.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "S/2": {**_SMALL, "patch": 2},
        "S/4": {**_SMALL, "patch": 4},
        "M/4": {**_MIDDLE, "patch": 4},
        "L/2": {**_LARGE, "patch": 2},
        "L/4": {**_LARGE, "patch": 4},
        "H/2": {**_HUGE, "patch": 2},
        "H/4": {**_HUGE, "patch": 4},
        "S/2-text": {**_SMALL, "patch": 2, "context": _TEXT},
        "S/2-deep-text": {**_SMALL, "depth": 16, "patch": 2, "context": _TEXT},
    }

    depth: int = Field(ge=1)
    width: int = Field(ge=2)
    heads: int = Field(ge=1)
    patch: int = Field(default=2, ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0)
    qkv_bias: bool = False
    time_mlp: bool = False
    convolution: bool = True
    skips: bool = True
    null_row: bool = True
    context: tuple[int, int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_table(cls, given: Any) -> Any:
        """Without classes there is no table, and so no row of it, unless somebody insists."""
        if isinstance(given, Mapping) and given.get("num_classes") == 0:
            return {"null_row": False, **given}
        return given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_heads(self.width, self.heads)
        if any(side % self.patch for side in self.size):
            raise ValueError(f"patch {self.patch} must divide both sides of size {self.size}")
        if self.null_row and self.num_classes == 0:
            raise ValueError("null_row is a row of the class table, and num_classes is 0; omit it")
        if self.context is not None and self.num_classes:
            raise ValueError(f"context takes the place of classes: num_classes {self.num_classes}")
        if self.context is not None and min(self.context) < 1:
            raise ValueError(f"context {self.context}: expected tokens and width of at least 1")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.size[0] // self.patch, self.size[1] // self.patch

    @property
    def leading(self) -> int:
        """Tokens before those of the patches: the time's, and the class's or those of the text."""
        tokens = 0 if self.context is None else self.context[0]
        return 1 + (self.num_classes > 0) + tokens

    def build(self) -> "UViT":
        """Make the network, freshly initialised."""
        return UViT(self)


class UViT(nn.Module):
    """The transformer with long skips.

    Under autocast attention computes in the reduced type, where the release keeps it in float32.

    Args:
        config: the shape.
    """

    def __init__(self, config: UViTConfig) -> None:
        super().__init__()
        self.config = config
        self.null = config.num_classes if config.null_row else None
        self.latent = (config.channels, *config.size)
        self.class_rows: tuple[str, ...] = ()
        width, pairs = config.width, config.depth // 2
        self.patches = PatchEmbedding(config.channels, width, config.patch)
        self.time = mlp(width, 4 * width, nn.SiLU()) if config.time_mlp else nn.Identity()
        if config.num_classes:
            self.class_rows = ("label.table.weight",)
            self.label = ClassEmbedding(config.num_classes, width, null=config.null_row)
        if config.context is not None:
            self.context = nn.Linear(config.context[1], width)
        rows, columns = config.grid
        self.positions = nn.Parameter(torch.zeros(1, config.leading + rows * columns, width))
        hidden = int(width * config.mlp_ratio)

        def block() -> Block:
            return Block(width, config.heads, hidden, qkv_bias=config.qkv_bias)

        self.first = nn.ModuleList(block() for _ in range(pairs))
        self.middle = block()
        self.last = nn.ModuleList(block() for _ in range(pairs))
        joined = pairs * config.skips
        self.joins = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(joined))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, config.patch**2 * config.channels)
        smooth = nn.Conv2d(config.channels, config.channels, 3, padding=1)
        self.convolution = smooth if config.convolution else nn.Identity()
        self._initialise()

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Float[Tensor, "b c h w"]:
        """Return the raw prediction.

        Args:
            x: noisy image or latent.
            time: network time, as the path's `network_time` gives it.
            y: class indices in 0..K, where K is the null class; or float tokens of a text,
                (B, tokens, width) as `context` says.
        """
        leading = self._leading(time, y)
        tokens = torch.cat([*leading, self.patches(x)], dim=1) + self.positions  # (B, E + L, D)
        kept: list[Tensor] = []
        for block in self.first:
            tokens = block(tokens)
            kept.append(tokens)
        tokens = self.middle(tokens)
        for index, block in enumerate(self.last):
            if self.joins:
                tokens = self.joins[index](torch.cat([tokens, kept.pop()], dim=2))
            tokens = block(tokens)
        values = self.linear(self.norm(tokens))[:, self.config.leading :]  # (B, L, P P C)
        return self.convolution(unpatch(values, self.config.grid, self.config.patch))

    def _leading(
        self, time: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> list[Float[Tensor, "b _ d"]]:
        """Return the tokens before the patches: class and time, or time and text."""
        features = time_features(time, self.config.width).to(self.positions.dtype)
        token = self.time(features)[:, None]
        if self.config.context is not None:
            return [token, self.context(y)]
        return [self.label(y)[:, None], token] if self.config.num_classes else [token]

    def _initialise(self) -> None:
        """Draw the release's initial weights; convolutions and the class table keep PyTorch's."""
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def resized(state: Mapping[str, Tensor], old: UViTConfig, new: UViTConfig) -> dict[str, Tensor]:
    """Return the weights of a network for x of another size, the positions interpolated.

    Bicubic on the grid of patches; the rows of the leading tokens, and all other tensors, stay as
    they are. The release has no such function (its issue 7 asks for one), and how good samples are
    before any training at the new size is not known.

    Args:
        state: tensors of a network of the config `old`, by our names.
        old: its config.
        new: the same config but for `size`.

    Raises:
        ConfigError: the configs differ in more than `size`.
    """
    others = [name for name in type(old).model_fields if getattr(old, name) != getattr(new, name)]
    if set(others) - {"size"}:
        raise ConfigError(f"resized: the configs may differ in size alone, not in {others}")
    table = state["positions"]
    leading, places = table[:, : old.leading], table[:, old.leading :]
    if old.grid != new.grid:
        cells = places.float().unflatten(1, old.grid).permute(0, 3, 1, 2)  # (1, D, rows, columns)
        cells = functional.interpolate(cells, new.grid, mode="bicubic", align_corners=False)
        places = cells.flatten(2).transpose(1, 2).to(table.dtype)
    return {**state, "positions": torch.cat([leading, places], dim=1)}
