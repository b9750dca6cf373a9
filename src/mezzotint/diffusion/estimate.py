"""The estimate: both views of a noisy image, so that nobody converts."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a denoiser believes about a noisy x.

    Attributes:
        x0: the clean image.
        eps: the noise; alpha x0 + sigma eps == x_t.
        var_mix: learned reverse variance: 0 is the posterior variance, 1 the upper bound.
        push: scaled gradient of log p(y | x_t); each sampler applies it in its own way.
    """

    x0: Float[Tensor, "b ..."]
    eps: Float[Tensor, "b ..."]
    var_mix: Float[Tensor, "b ..."] | None = None
    push: Float[Tensor, "b ..."] | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Estimate":
        """Return the estimate with each of its tensors changed, such as to some of its rows."""
        mix = None if self.var_mix is None else change(self.var_mix)
        push = None if self.push is None else change(self.push)
        return Estimate(change(self.x0), change(self.eps), mix, push)


def fit(row: Shaped[Tensor, "b"], like: Float[Tensor, "b ..."]) -> Shaped[Tensor, "b ..."]:
    """Return one value a row, broadcast with `like`; numbers in its dtype."""
    shaped = row.view(-1, *(1,) * (like.dim() - 1)).to(like.device)
    return shaped.to(like.dtype) if row.is_floating_point() else shaped
