"""Classifiers of small pictures: features of an image, and a linear head that names its class.

    logits = head(features(x))        features: the mean over places of the last, normalised map

Two architectures, so that a judge need not be what steers: residual blocks (He et al., "Identity
Mappings in Deep Residual Networks", arXiv 1603.05027) and depthwise blocks (Liu et al., "A ConvNet
for the 2020s", arXiv 2201.03545), both with group norm (arXiv 1803.08494), which knows no batch.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, InstanceOf
from torch import Tensor, nn

from mezzotint.config import Config, part
from mezzotint.nn.conv import DepthwiseBlock, Halving, ResidualBlock, group_norm


class ClassifierNetworkConfig(Config):
    """Base of the classifiers' configs: images in, logits out; no time, no class, no null.

    Attributes:
        channels: channels of x.
        size: rows and columns of x, each at least 8.
        num_classes: classes K; labels run from 0 to K - 1.
        dropout: share of the features that is hidden from the head in training.
    """

    channels: int = Field(ge=1)
    size: tuple[int, int]
    num_classes: int = Field(ge=2)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self) -> "ClassifierNetwork":
        """Make the network, freshly initialised."""
        raise NotImplementedError


class ClassifierNetwork(nn.Module):
    """Features of an image, and a linear head that names its class.

    Args:
        config: channels, size and classes.
        width: number of features.
    """

    def __init__(self, config: ClassifierNetworkConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.class_rows = ("head.weight", "head.bias")
        self.width = width
        self.dropout: nn.Module = nn.Dropout(config.dropout)
        self.head: nn.Module = nn.Linear(width, config.num_classes)

    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the penultimate features.

        Args:
            x: images in [-1, 1].
        """
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Return the logits.

        Args:
            x: images in [-1, 1].
        """
        return self.head(self.dropout(self.features(x)))

    def maps(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Return the last map, which an encoder makes its code of.

        Args:
            x: images in [-1, 1].
        """
        raise NotImplementedError

    def code(self, maps: Float[Tensor, "b d i j"]) -> Float[Tensor, "b n"]:
        """Return the code of a map, such as the features themselves."""
        raise NotImplementedError


class Pooled(ClassifierNetwork):
    """A body that makes a map of an image; the features are the map's mean.

    Args:
        config: channels, size and classes.
        body: from x to a map of `width` channels.
        width: channels of the map, and so the number of features.
    """

    def __init__(self, config: ClassifierNetworkConfig, body: nn.Module, width: int) -> None:
        super().__init__(config, width)
        self.body = body
        self.norm = group_norm(width)
        self.activation = nn.SiLU()

    def maps(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Return the last map, normalised."""
        return self.activation(self.norm(self.body(x)))

    def code(self, maps: Float[Tensor, "b d i j"]) -> Float[Tensor, "b d"]:
        """Return the mean of a map: the features."""
        return maps.mean((2, 3))

    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the mean of the last map."""
        return self.code(self.maps(x))


class Committee(ClassifierNetwork):
    """Several networks side by side, and one head on all their features.

    With the members' heads side by side in it, divided by their number, the head gives the mean of
    their logits: `mezzotint convert RUN RUN` makes such a committee of networks that were trained
    apart.

    Args:
        config: channels, size and classes.
        members: the networks; their own heads are left out.
    """

    def __init__(
        self, config: ClassifierNetworkConfig, members: Sequence[ClassifierNetwork]
    ) -> None:
        super().__init__(config, sum(member.width for member in members))
        self.members = nn.ModuleList(members)
        for member in members:
            member.dropout, member.head = nn.Identity(), nn.Identity()

    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the features of the members, one after the other."""
        return torch.cat([member(x) for member in self.members], 1)


class ResidualConfig(ClassifierNetworkConfig):
    """Residual blocks of two 3 x 3 convolutions, in stages that halve the map.

    Attributes:
        widths: channels of each stage, multiples of 8.
        blocks: blocks a stage.
        stride: of the first convolution; 2 halves the map before the first stage.
    """

    widths: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1)
    blocks: int = Field(default=2, ge=1)
    stride: int = Field(default=2, ge=1, le=2)

    def build(self) -> ClassifierNetwork:
        """Make the network, freshly initialised."""
        first, last = self.widths[0], self.widths[-1]
        body = nn.Sequential(nn.Conv2d(self.channels, first, 3, self.stride, 1, bias=False))
        for width, wider in pairwise((first, *self.widths)):
            body.append(ResidualBlock(width, wider, halve=len(body) > 1))
            body.extend(ResidualBlock(wider, wider) for _ in range(self.blocks - 1))
        return Pooled(self, body, last)


class DepthwiseConfig(ClassifierNetworkConfig):
    """ConvNeXt's blocks: a depthwise convolution, then a small MLP at every place.

    Attributes:
        widths: channels of each stage, multiples of 8.
        blocks: blocks a stage.
        patch: side of the squares that the first convolution cuts the image into.
        kernel: side of the depthwise kernels, odd.
        expansion: hidden width of the MLP over that of the stage.
    """

    widths: tuple[int, ...] = Field(default=(48, 96, 160), min_length=1)
    blocks: int = Field(default=2, ge=1)
    patch: int = Field(default=2, ge=1, le=4)
    kernel: int = Field(default=5, ge=1)
    expansion: int = Field(default=3, ge=1)

    def build(self) -> ClassifierNetwork:
        """Make the network, freshly initialised."""
        first, last = self.widths[0], self.widths[-1]
        body = nn.Sequential(nn.Conv2d(self.channels, first, self.patch, self.patch))
        for width, wider in pairwise((first, *self.widths)):
            if len(body) > 1:
                body.append(Halving(width, wider))
            body.extend(
                DepthwiseBlock(wider, kernel=self.kernel, expansion=self.expansion)
                for _ in range(self.blocks)
            )
        return Pooled(self, body, last)


class CommitteeConfig(ClassifierNetworkConfig):
    """Several networks side by side.

    Attributes:
        members: their configs; channels, size and classes are those of the committee.
    """

    members: tuple[Annotated[InstanceOf[ClassifierNetworkConfig], part("network")], ...] = Field(
        min_length=1
    )

    def build(self) -> Committee:
        """Make the networks, freshly initialised."""
        return Committee(self, [member.build() for member in self.members])


__all__ = [
    "ClassifierNetwork",
    "ClassifierNetworkConfig",
    "Committee",
    "CommitteeConfig",
    "DepthwiseConfig",
    "ResidualConfig",
]
