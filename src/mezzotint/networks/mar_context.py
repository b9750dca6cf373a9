"""What a full pass of MAR keeps for cheap ones, and which places of a batch are known."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mezzotint.errors import DataError
from mezzotint.nn.attention import Kept
from mezzotint.nn.transformer import at_places, outside


@dataclass(frozen=True)
class MARContext:
    """What a full pass keeps for cheap ones: keys and values of every layer, slots first.

    Attributes:
        encoder: those of the slots and of the tokens that were known.
        decoder: those of the slots and of all tokens.
        known: places of the tokens that were known, in the order of the encoder's keys.
        slots: how many slots stand before the tokens.
    """

    encoder: tuple[Kept, ...]
    decoder: tuple[Kept, ...]
    known: Int[Tensor, "b v"]
    slots: int

    def without(self, where: Int[Tensor, "b n"], fresh: int) -> tuple[list[Kept], list[Kept]]:
        """Return the keys of the others, when some tokens and slots are computed anew.

        Args:
            where: places of the tokens that are.
            fresh: how many of the slots are: all, or none.
        """
        length = self.decoder[0][0].shape[2] - self.slots
        others = outside(where, length)
        asked = torch.ones(len(where), length, dtype=torch.bool, device=where.device)
        asked = asked.scatter(1, others, value=False)
        slots = torch.arange(fresh, self.slots, device=where.device).expand(len(where), -1)
        known = torch.cat([slots, self.slots + shown(asked.gather(1, self.known))], dim=1)
        every = torch.cat([slots, self.slots + others], dim=1)
        return (
            [at_places(layer, known) for layer in self.encoder],
            [at_places(layer, every) for layer in self.decoder],
        )


def shown(hidden: Bool[Tensor, "b l"]) -> Int[Tensor, "b v"]:
    """Return the places that are not hidden, in rising order; as many in every row.

    Raises:
        DataError: rows differ in their number.
    """
    counts = (~hidden).sum(1)
    if bool((counts != counts[:1]).any()):
        raise DataError(
            f"masks of one batch leave {int(counts.min())} to {int(counts.max())} tokens; MAR "
            "expects the same number in each, so put images with other masks into other batches"
        )
    return (~hidden).nonzero()[:, 1].view(len(hidden), -1)
