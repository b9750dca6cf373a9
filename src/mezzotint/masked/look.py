"""What a network says of tokens: of all, or of some again; with the class and without it."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from mezzotint.masked.heads import Head
from mezzotint.masked.plan import Moment
from mezzotint.noise import Noise

Tokens = Shaped[Tensor, "b l ..."]


class TokenNetwork(Protocol):
    """A network over a set of tokens, some of which are masked."""

    @property
    def length(self) -> int:
        """Tokens of an image."""
        ...

    @property
    def mask(self) -> int | None:
        """The code that stands for a masked token, or None where tokens are no codes."""
        ...

    @property
    def null(self) -> int | None:
        """Label of the null class; None where there is none."""
        ...

    @property
    def num_classes(self) -> int:
        """Classes K; 0 for an unconditional network, which ignores y."""
        ...

    def empty(self, batch: int) -> Tokens:
        """Return a canvas; what stands where it is masked does not matter."""
        ...

    def prefill(
        self, tokens: Tokens, masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b l f"], Any]:
        """Look at all tokens: return features of each, and the context that `extend` takes."""
        ...

    def extend(
        self,
        tokens: Tokens,
        masked: Bool[Tensor, "b l"],
        where: Int[Tensor, "b n"],
        context: Any,
        y: Int[Tensor, "b"],
    ) -> Float[Tensor, "b n f"]:
        """Look again at some tokens; what `prefill` found out about the others still stands."""
        ...


@dataclass(frozen=True)
class Look:
    """What the network says of some places, with the class and without it.

    The null class, if it is asked at all, stands in the second half of one batch.
    """

    network: TokenNetwork
    y: Int[Tensor, "n"]
    guided: bool
    features: Float[Tensor, "n m f"]
    context: Any

    @classmethod
    def full(
        cls,
        network: TokenNetwork,
        tokens: Tokens,
        masked: Bool[Tensor, "b l"],
        y: Int[Tensor, "b"],
        *,
        guided: bool,
    ) -> "Look":
        """Look at all tokens."""
        if guided:
            assert network.null is not None, "refused at construction"
            y = torch.cat([y, torch.full_like(y, network.null)])
            tokens, masked = torch.cat([tokens, tokens]), torch.cat([masked, masked])
        features, context = network.prefill(tokens, masked, y)
        return cls(network, y, guided, features, context)

    def _both(self, x: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "n ..."]:
        return torch.cat([x, x]) if self.guided else x

    def again(
        self, tokens: Tokens, masked: Bool[Tensor, "b l"], where: Int[Tensor, "b m"]
    ) -> "Look":
        """Look at some places again, by a light pass."""
        tokens, masked, where = self._both(tokens), self._both(masked), self._both(where)
        features = self.network.extend(tokens, masked, where, self.context, self.y)
        return replace(self, features=features)

    def at(self, where: Int[Tensor, "b m"]) -> "Look":
        """Return what is said of some places."""
        return replace(self, features=gathered(self.features, self._both(where)))

    def only(self, block: slice) -> "Look":
        """Return what is said of a block of the places."""
        return replace(self, features=self.features[:, block])

    def draw(
        self, head: Head, scale: float, moment: Moment, noise: Noise
    ) -> tuple[Tokens, Float[Tensor, "b m"] | None]:
        """Draw tokens from what is said."""
        half = len(self.features) // (1 + self.guided)
        # At scale 1 guidance is left out, and not only without effect: the bits are the same.
        against = self.features[half:] if self.guided and scale != 1 else None
        return head.draw(self.features[:half], against, scale, moment, noise)


def gathered(x: Shaped[Tensor, "b l ..."], where: Int[Tensor, "b n"]) -> Shaped[Tensor, "b n ..."]:
    """Return the rows of each image that stand at some places."""
    return x[torch.arange(len(x), device=x.device)[:, None], where]


__all__ = ["Look", "TokenNetwork", "Tokens", "gathered"]
