"""A generator of images from feature codes: linear layers, then transposed convolutions.

    x = G(h): linear layers, a map of a few places, and stages that double it

The graph of the released PPGN generator (arXiv 1612.00005), after Dosovitskiy & Brox, "Generating
Images with Perceptual Similarity Metrics based on Deep Networks", arXiv 1602.02644.
"""

from itertools import pairwise
from typing import Any, ClassVar, Final, Self

from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from mezzotint.config import Config

SLOPE: Final = 0.3  # of every activation, on its negative side


class CodeGeneratorConfig(Config):
    """Base of what makes images from codes.

    Attributes:
        code: numbers in a code; 0 until the encoder has been seen.
        channels: channels of an image.
        size: rows and columns of an image.
    """

    code: int = Field(default=0, ge=0)
    channels: int = Field(default=3, ge=1)
    size: tuple[PositiveInt, PositiveInt]

    def build(self) -> nn.Module:
        """Make the network, freshly initialised."""
        raise NotImplementedError


class UpconvolutionConfig(CodeGeneratorConfig):
    """Shape of the generator; the map starts at size / 2^stages.

    Attributes:
        hidden: widths of the linear layers before the map.
        first: channels of the first map.
        stages: of each doubling, its channels, and those of the 3 x 3 layer behind it (0: none).
            The last stage makes the image, and its channels are left out: (0, 0).
        trained_biases: whether biases of the transposed convolutions learn; the release's do not,
            but they stand in its file.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "caffenet": {
            "hidden": (4096, 4096),
            "first": 256,
            "stages": ((256, 512), (256, 256), (128, 128), (64, 0), (32, 0), (0, 0)),
        }
    }

    hidden: tuple[PositiveInt, ...] = (256, 256)
    first: int = Field(default=64, ge=1)
    stages: tuple[tuple[int, int], ...] = Field(default=((0, 0),), min_length=1)
    trained_biases: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        factor = 2 ** len(self.stages)
        if any(side % factor for side in self.size):
            raise ValueError(
                f"size {self.size} must be a multiple of {factor}: "
                f"{len(self.stages)} stages double the map"
            )
        *before, (width, refined) = self.stages
        if any(wide < 1 or again < 0 for wide, again in before):
            raise ValueError(f"stages {self.stages}: channels must be at least 1")
        if width or refined:
            raise ValueError("the last of the stages makes the image; write [0, 0]")
        return self

    @property
    def start(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the first map."""
        factor = 2 ** len(self.stages)
        return (self.first, self.size[0] // factor, self.size[1] // factor)

    def build(self) -> "Upconvolution":
        """Make the network, freshly initialised."""
        return Upconvolution(self)


class Stage(nn.Module):
    """Doubles a map, and refines it with a 3 x 3 layer where there is one.

    Args:
        width: channels in.
        wider: channels of the doubled map.
        refined: channels of the refined one; 0 is none.
    """

    def __init__(self, width: int, wider: int, refined: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, wider, 4, 2, 1)
        # A transposed convolution too, as in the release: its kernel is the other way round.
        self.refine = nn.ConvTranspose2d(wider, refined, 3, 1, 1) if refined else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Return the larger map, before its last activation."""
        x = self.up(x)
        return x if self.refine is None else self.refine(leaky_relu(x, SLOPE))


class Upconvolution(nn.Module):
    """The generator; nothing stands behind its last layer, so images may leave their range.

    Args:
        config: its shape.
    """

    def __init__(self, config: UpconvolutionConfig) -> None:
        super().__init__()
        self.config = config
        channels, rows, columns = config.start
        widths = (config.code, *config.hidden, channels * rows * columns)
        self.linear = nn.ModuleList(nn.Linear(wide, to) for wide, to in pairwise(widths))
        self.stages = nn.ModuleList()
        *before, _ = config.stages
        for width, refined in (*before, (config.channels, 0)):
            self.stages.append(Stage(channels, width, refined))
            channels = refined or width
        for each in self.modules():
            if isinstance(each, nn.Linear | nn.ConvTranspose2d):
                _initialise(each)
            if isinstance(each, nn.ConvTranspose2d) and each.bias is not None:
                each.bias.requires_grad = config.trained_biases

    def start(self, codes: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        """Return the first map.

        Args:
            codes: features of images.
        """
        x = codes
        for layer in self.linear:
            x = leaky_relu(layer(x), SLOPE)
        return x.view(-1, *self.config.start)

    def forward(self, codes: Float[Tensor, "b d"]) -> Float[Tensor, "b c H W"]:
        """Return images, in the range that the network was trained on."""
        x = self.start(codes)
        *before, last = self.stages
        for stage in before:
            x = leaky_relu(stage(x), SLOPE)
        return last(x)


def _initialise(layer: nn.Linear | nn.ConvTranspose2d) -> None:
    nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


__all__ = ["CodeGeneratorConfig", "Upconvolution", "UpconvolutionConfig"]
