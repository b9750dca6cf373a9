"""Names of the StyleGAN discriminator in ViTok's first release.

Those of a block were read off its tensors; those of the whole discriminator are not known.
"""

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from mezzotint.official.renames import Renames, State

RENAMES: Final = Renames(
    "ViTok's discriminator",
    (
        ("conv1.*", "conv1.*"),
        ("conv2.*", "conv2.*"),
        ("res_conv.weight", "skip.weight"),
        ("blur_pool.filter", "blur.filter"),
    ),
)


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename the tensors of a block to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors of a block to the official names; strict."""
    return RENAMES.to_official(state)
