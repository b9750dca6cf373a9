"""DiMR: a transformer on a coarse grid, and convolutions on finer ones that take up its features.

    tokens_r = patches_r(x) + positions_r + Rise(all maps of branch r - 1)
    prediction_r = Conv(TDLN(blocks_r(tokens_r)))        r = 0 (coarsest) ... R - 1

Every branch predicts at its own resolution, so the network returns several outputs, which
the `multi-scale` prediction reads. Time enters through the norms alone, the class as one token of
the first branch. Liu et al., "Alleviating Distortion in Image Generation via Multi-Resolution
Diffusion Models and Time-Dependent Layer Normalization", arXiv 2406.09416.
"""

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, InstanceOf, model_validator
from torch import Tensor, nn

from mezzotint.config import part
from mezzotint.networks.base import NetworkConfig
from mezzotint.networks.dimr_branches import (
    Branch,
    BranchConfig,
    ConvolutionBranch,
    TransformerBranch,
)
from mezzotint.nn.embed import ClassEmbedding
from mezzotint.nn.norm import Norm, TimeRMS


def _published(width: int, heads: int, *depths: int) -> dict[str, Any]:
    """Return branches that halve width and place from one to the next, down to single pixels."""
    last = len(depths) - 1
    first = TransformerBranch(width=width, depth=depths[0], heads=heads, patch=2**last)
    rest = (
        ConvolutionBranch(width=width // 2**r, depth=depths[r], patch=2 ** (last - r))
        for r in range(1, last + 1)
    )
    return {"branches": (first, *rest)}


class DiMRConfig(NetworkConfig):
    """Shape of a DiMR.

    "XL/2R" and "G/2R" are the released configs. Those of three branches were not released: theirs
    are RECONSTRUCTED from the published parameter counts, and the heads of M and L are assumed.
    The release's dropout is 0 in all of them, and left out here.

    Attributes:
        branches: lowest resolution first; each side of a place is a multiple of the next one's.
        norm: of the blocks; the others are always time-dependent layer norms.
        null_row: whether the class table has a row for the null class. Without classes there is
            no class token, and y is ignored.
        block_gradient: keep the losses of finer branches from training the coarser ones.
        time_slope, time_offset: the norms read tau = slope time + offset. The defaults are those of
            the released models, -1 to 1 for a network time of 0 to 1000, growing with noise; the
            release calls 4 tau "log_snr", which it is not. 1/4 and 0 read a true log-SNR clock.
    """

    several: ClassVar[bool] = True
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "XL/2R": _published(960, 16, 39, 21),
        "G/2R": _published(1152, 16, 57, 29),
        "M/3R": _published(768, 12, 15, 9, 9),
        "L/3R": _published(768, 12, 33, 17, 17),
        "XL/3R": _published(960, 16, 39, 21, 21),
    }

    branches: tuple[Annotated[InstanceOf[BranchConfig], part("branch")], ...] = Field(min_length=1)
    norm: Annotated[Norm, part("norm")] = TimeRMS()
    null_row: bool = True
    block_gradient: bool = False
    time_slope: float = 2 / 1000
    time_offset: float = -1.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for index, branch in enumerate(self.branches):
            if any(side % branch.cell for side in self.size):
                raise ValueError(
                    f"patch x shrink {branch.cell} of branch {index} must divide both sides of "
                    f"size {self.size}"
                )
        for index, (low, high) in enumerate(pairwise(self.branches)):
            if low.cell % high.cell:
                raise ValueError(
                    f"patch x shrink {low.cell} of branch {index} must be a multiple of branch "
                    f"{index + 1}'s {high.cell}; the lowest resolution comes first"
                )
        first = self.branches[0]
        if self.num_classes and not (isinstance(first, TransformerBranch) and first.positioned):
            raise ValueError(
                f"num_classes {self.num_classes} needs a first branch that takes the class: a "
                "transformer that is not rotary"
            )
        return self

    def build(self) -> "DiMR":
        """Make the network, freshly initialised."""
        return DiMR(self)


class DiMR(nn.Module):
    """The multi-resolution network.

    Args:
        config: the shape.
    """

    def __init__(self, config: DiMRConfig) -> None:
        super().__init__()
        self.config = config
        self.null = config.num_classes
        self.latent = (config.channels, *config.size)
        width, null = config.branches[0].width, config.null_row
        classes = config.num_classes
        self.label = ClassEmbedding(classes, width, null=null) if classes else None
        self.class_rows = ("label.table.weight",) if classes else ()
        self.undecayed = ("slope", "shift")
        below = (None, *config.branches)
        self.branches = nn.ModuleList(
            Branch(branch, coarser, config, config.norm)
            for branch, coarser in zip(config.branches, below, strict=False)
        )
        self._initialise()

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b c _ _"], ...]:
        """Return a prediction at the resolution of each branch, lowest first.

        Args:
            x: noisy image or latent.
            time: network time, as the path's `network_time` gives it.
            y: class indices in 0..K, where K is the null class.
        """
        tau = self.config.time_slope * time + self.config.time_offset
        token = None if self.label is None else self.label(y)
        # Of few channels, so turning it costs nothing, and every map behind it is channels-last.
        x = x.contiguous(memory_format=torch.channels_last)
        predictions: list[Tensor] = []
        maps: list[Tensor] = []
        for branch in self.branches:
            prediction, maps = branch(x, tau, maps, token)
            predictions.append(prediction)
            maps = [each.detach() for each in maps] if self.config.block_gradient else maps
            token = None
        return tuple(predictions)

    def _initialise(self) -> None:
        """Draw linear weights and tables from N(0, 0.02^2) within ±2; the rest is torch's own."""
        for name, parameter in self.named_parameters():
            if name.endswith("positions"):
                _draw(parameter)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                _draw(module.weight)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def _draw(weight: Tensor) -> None:
    nn.init.trunc_normal_(weight, std=0.02)  # cut off at ±2, as in the release: a hundred sigmas
