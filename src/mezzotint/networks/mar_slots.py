"""A MAR whose cheap passes keep the slots of the class as they were: ReCAP's `cache_buffer`."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mezzotint.networks.mar import MAR
from mezzotint.networks.mar_context import MARContext


class KeptSlots(nn.Module):
    """A MAR whose cheap passes leave the slots as the full pass made them.

    The release of ReCAP calls it `cache_buffer`, off by default; where few tokens are looked at,
    the slots are most of a cheap pass.

    Args:
        network: the MAR.
    """

    def __init__(self, network: MAR) -> None:
        super().__init__()
        self.network = network
        self.length, self.mask = network.length, network.mask
        self.null, self.num_classes = network.null, network.num_classes

    def empty(self, batch: int) -> Float[Tensor, "b l v"]:
        """Return the tokens of images of which nothing is known yet."""
        return self.network.empty(batch)

    def prefill(
        self, tokens: Float[Tensor, "b l v"], masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b l z"], MARContext]:
        """Look at all tokens, as `MAR.prefill` does."""
        return self.network.prefill(tokens, masked, y)

    def extend(
        self,
        tokens: Float[Tensor, "b l v"],
        masked: Bool[Tensor, "b l"],
        where: Int[Tensor, "b n"],
        context: MARContext,
        y: Int[Tensor, "b"],  # noqa: ARG002 (the class is in the slots, which stay)
    ) -> Float[Tensor, "b n z"]:
        """Look again at some tokens alone."""
        slots = self.network.embed.weight.new_zeros(len(where), 0, self.network.config.width)
        return self.network.look(tokens, masked, where, slots, context)[0]
