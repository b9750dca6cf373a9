"""Features of any function from images to rows, under a name that no other distance has."""

from collections.abc import Callable
from typing import Final

import torch
from jaxtyping import UInt8
from torch import Tensor

from mezzotint.errors import ConfigError
from mezzotint.evaluation.blocks import Blockwise, one_row_each
from mezzotint.evaluation.features import Readout

TAKEN: Final = frozenset({"fid", "sfid"})
"""Names that belong to Inception of 2015-12-05 alone."""


class CallableFeatures(Blockwise):
    """Features computed by a function of the user's.

    Args:
        function: takes uint8 images (b, 3, h, w) on `device`, returns float32 features (b, d). It
            is called with `block` images each time, the last ones filled up with black, and a row
            of its result must depend on its image alone: a network must be in eval mode.
        name: says what the function is; the distance is called FD- and this name.
        digest: identifies weights and preprocessing. Features are cached under it: another
            function needs another digest.
        device: where the images are when the function gets them.
        block: how many images it gets at once.

    Raises:
        ConfigError: the name is empty or is that of a published metric, or the digest is empty.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        name: str,
        digest: str,
        device: str | torch.device = "cpu",
        block: int = 16,
    ) -> None:
        bare = name.strip()
        if not bare or bare.lower() in TAKEN:
            raise ConfigError(
                f"features cannot be called {name!r}: FID and sFID are distances in the features "
                "of Inception 2015-12-05; give the name of your network"
            )
        if not digest:
            raise ConfigError(f"{bare}: features need a digest of weights and preprocessing")
        super().__init__(
            name=bare, distance=f"FD-{bare}", digest=digest, block=block, device=device
        )
        self._function = function

    def _read(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        return Readout(one_row_each(self._function(images), len(images), self.name))


__all__ = ["CallableFeatures"]
