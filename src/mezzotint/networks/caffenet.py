"""CaffeNet: convolutions, then linear layers whose first is the code that PPGN walks on.

    maps = convolutions(x)      code = ReLU(linear(maps))      logits = head(features(code))

The BVLC reference network after Krizhevsky et al. (2012): each pool stands before its local
response norm, and rounds its number of places up. Small ones serve small pictures.
"""

from itertools import pairwise
from typing import Any, ClassVar, Self

from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import relu

from mezzotint.config import Config
from mezzotint.networks.classifier import ClassifierNetwork, ClassifierNetworkConfig

_WINDOW, _STRIDE = 3, 2  # of every pool


class Convolution(Config):
    """A convolution and its ReLU, and what may stand behind them.

    Attributes:
        width: channels out.
        kernel, stride, padding, groups: of the convolution.
        pool: whether the largest of each 3 x 3 window is kept, every 2 places.
        norm: whether channels are divided by their neighbours' size (local response norm).
    """

    width: int = Field(ge=1)
    kernel: int = Field(default=3, ge=1)
    stride: int = Field(default=1, ge=1)
    padding: int = Field(default=1, ge=0)
    groups: int = Field(default=1, ge=1)
    pool: bool = False
    norm: bool = False

    def places(self, side: int) -> int:
        """Return the rows of the map that comes of `side` rows; below 1 there is none."""
        side = (side + 2 * self.padding - self.kernel) // self.stride + 1
        return -(-(side - _WINDOW) // _STRIDE) + 1 if self.pool else side


class CaffeNetConfig(ClassifierNetworkConfig):
    """Shape of a CaffeNet.

    Attributes:
        convolutions: the convolutions, from the image on.
        hidden: widths of the linear layers before the head; the first is the code.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "caffenet": {
            "convolutions": (
                {"width": 96, "kernel": 11, "stride": 4, "padding": 0, "pool": True, "norm": True},
                {"width": 256, "kernel": 5, "padding": 2, "groups": 2, "pool": True, "norm": True},
                {"width": 384},
                {"width": 384, "groups": 2},
                {"width": 256, "groups": 2, "pool": True},
            ),
            "hidden": (4096, 4096),
            "dropout": 0.5,
        }
    }

    convolutions: tuple[Convolution, ...] = Field(min_length=1)
    hidden: tuple[PositiveInt, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        widths = (self.channels, *(each.width for each in self.convolutions))
        for (before, width), each in zip(pairwise(widths), self.convolutions, strict=True):
            if before % each.groups or width % each.groups:
                raise ValueError(f"groups {each.groups} must divide {before} and {width} channels")
        if min(self.map[1:]) < 1:
            raise ValueError(
                f"size {self.size} is too small: nothing is left after {len(widths) - 1} "
                "convolutions; leave out a pool or a stride"
            )
        return self

    @property
    def map(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the last map."""
        rows, columns = self.size
        for each in self.convolutions:
            rows, columns = each.places(rows), each.places(columns)
        return (self.convolutions[-1].width, rows, columns)

    def build(self) -> "CaffeNet":
        """Make the network, freshly initialised."""
        return CaffeNet(self)


class CaffeNet(ClassifierNetwork):
    """The classifier; what it is asked for as an encoder are `maps` and `code`.

    Args:
        config: its shape.
    """

    def __init__(self, config: CaffeNetConfig) -> None:
        super().__init__(config, config.hidden[-1])
        self.convolutions = nn.ModuleList()
        width = config.channels
        for each in config.convolutions:
            self.convolutions.append(_layers(width, each))
            width = each.width
        channels, rows, columns = config.map
        widths = (channels * rows * columns, *config.hidden)
        self.hidden = nn.ModuleList(nn.Linear(wide, to) for wide, to in pairwise(widths))

    def maps(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Return the last map, behind its pool.

        Args:
            x: images, in the range that the network was trained on.
        """
        for layer in self.convolutions:
            x = layer(x)
        return x

    def code(self, maps: Float[Tensor, "b d i j"]) -> Float[Tensor, "b n"]:
        """Return the first linear layer's answer to a map, behind its ReLU: never negative."""
        return relu(self.hidden[0](maps.flatten(1)))

    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the last hidden layer, which the head reads."""
        h = self.code(self.maps(x))
        for layer in [*self.hidden][1:]:
            h = relu(layer(self.dropout(h)))
        return h


def _layers(width: int, shape: Convolution) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Conv2d(
            width, shape.width, shape.kernel, shape.stride, shape.padding, groups=shape.groups
        ),
        nn.ReLU(),
    )
    if shape.pool:
        layers.append(nn.MaxPool2d(_WINDOW, _STRIDE, ceil_mode=True))
    if shape.norm:
        layers.append(nn.LocalResponseNorm(5, 1e-4, 0.75))
    return layers


__all__ = ["CaffeNet", "CaffeNetConfig", "Convolution"]
