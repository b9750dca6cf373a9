"""ADM's noisy classifier: the encoder of its U-Net, and four ways from maps to logits.

    logits = pool(maps of every stage, the middle one last)

Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis", arXiv 2105.05233, section 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import part
from mezzotint.networks.adm_encoder import MULTIPLIERS, Encoder, EncoderConfig
from mezzotint.nn.embed import TimeEmbedding
from mezzotint.nn.resnet import GROUPS, FloatGroupNorm, attend, zeroed


class Head(nn.ModuleList):
    """Layers from what is read off the maps to the logits."""

    def read(self, maps: list[Tensor]) -> Float[Tensor, "b ..."]:
        """Return what the layers see."""
        raise NotImplementedError

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "b k"]:
        """Return the logits."""
        x = self.read(maps)
        for layer in self:
            x = layer(x)
        return x


class OfLast(Head):
    """A head that reads the last map."""

    def read(self, maps: list[Tensor]) -> Float[Tensor, "b c h w"]:
        """Return the last map."""
        return maps[-1]


class OfMeans(Head):
    """A head that reads the means over places of all maps, side by side."""

    def read(self, maps: list[Tensor]) -> Float[Tensor, "b d"]:
        """Return the means."""
        return torch.cat([each.mean((2, 3)) for each in maps], dim=1)


class AttendedMean(nn.Module):
    """What the mean of a map attends to, itself included, projected (as in CLIP's ResNets).

    Args:
        width: channels of the map.
        places: its rows times its columns.
        heads: attention heads.
        outputs: channels of the answer.
    """

    def __init__(self, width: int, places: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.heads = heads
        self.positions = nn.Parameter(torch.randn(width, places + 1) / width**0.5)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj = nn.Conv1d(width, outputs, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Answer for each map."""
        places = x.flatten(2)
        tokens = torch.cat([places.mean(2, keepdim=True), places], dim=2) + self.positions
        mixed = attend(self.qkv(tokens), self.heads, head_major=False)
        return self.proj(mixed)[:, :, 0]


@runtime_checkable
class Pool(Protocol):
    """How maps become logits."""

    def head(self, config: EncoderConfig, widths: Sequence[int]) -> nn.Module:
        """Make the head.

        Args:
            config: the shape of the encoder.
            widths: channels of its maps, the last one that of the middle.
        """
        ...


@dataclass(frozen=True)
class AttentionPool:
    """The mean of the last map attends to its places; the release's classifiers do so."""

    def head(self, config: EncoderConfig, widths: Sequence[int]) -> nn.Module:
        """Make the head."""
        width, heads = widths[-1], config.heads_of(widths[-1], config.heads)
        places = config.size[0] * config.size[1] // config.shrinkage**2
        last = AttendedMean(width, places, heads, config.num_classes)
        return OfLast([FloatGroupNorm(width), nn.SiLU(), last])


@dataclass(frozen=True)
class AdaptivePool:
    """The mean of the last map, projected; the logits are zero at first."""

    def head(self, config: EncoderConfig, widths: Sequence[int]) -> nn.Module:
        """Make the head."""
        mean, last = nn.AdaptiveAvgPool2d(1), zeroed(nn.Conv2d(widths[-1], config.num_classes, 1))
        return OfLast([FloatGroupNorm(widths[-1]), nn.SiLU(), mean, last, nn.Flatten()])


@dataclass(frozen=True)
class SpatialPool:
    """The means of all maps through one hidden layer.

    Args:
        hidden: its width.
    """

    hidden: int = 2048

    def head(self, config: EncoderConfig, widths: Sequence[int]) -> nn.Module:
        """Make the head."""
        last = nn.Linear(self.hidden, config.num_classes)
        return OfMeans([nn.Linear(sum(widths), self.hidden), nn.ReLU(), last])


@dataclass(frozen=True)
class NormedSpatialPool:
    """The means of all maps through one hidden layer that is normed in groups.

    Args:
        hidden: its width, a multiple of 32.
    """

    hidden: int = 2048

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.hidden % GROUPS:
            raise ValueError(f"hidden {self.hidden} must be a multiple of {GROUPS}")

    def head(self, config: EncoderConfig, widths: Sequence[int]) -> nn.Module:
        """Make the head."""
        first = nn.Linear(sum(widths), self.hidden)
        last = nn.Linear(self.hidden, config.num_classes)
        return OfMeans([first, FloatGroupNorm(self.hidden), nn.SiLU(), last])


class ADMClassifierConfig(EncoderConfig):
    """Shape of a noisy classifier, whose log p(y | x_t) steers a diffusion model.

    Attributes:
        pool: how maps become logits.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        str(side): {
            "width": 128,
            "multipliers": multipliers,
            "blocks": 4 if side == 64 else 2,
            "attention": (32, 16, 8),
            "head_width": 64,
        }
        for side, multipliers in MULTIPLIERS.items()
    }

    num_classes: int = Field(ge=2)
    pool: Annotated[Pool, part("pool")] = AttentionPool()

    def build(self) -> "ADMClassifier":
        """Make the network, freshly initialised."""
        return ADMClassifier(self)


class ADMClassifier(nn.Module):
    """The noisy classifier.

    Args:
        config: the shape.
    """

    def __init__(self, config: ADMClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.latent = (config.channels, *config.size)
        self.time = TimeEmbedding(4 * config.width, features=config.width)
        self.encoder = Encoder(config, config.channels)
        self.middle = config.middle()
        self.head = config.pool.head(config, [*self.encoder.widths, config.widths[-1]])
        answering = nn.Linear | nn.Conv1d | nn.Conv2d
        *_, last = (name for name, each in self.named_modules() if isinstance(each, answering))
        self.class_rows = (f"{last}.weight", f"{last}.bias")

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"]
    ) -> Float[Tensor, "b k"]:
        """Return the logits of the classes.

        Args:
            x: noisy image or latent.
            time: network time, the index in the chain of 1000 steps that the release trains on.
        """
        condition = self.time(time)  # (B, 4 M)
        maps = self.encoder(x, condition)
        maps.append(self.middle(maps[-1], condition))
        return self.head(maps)
