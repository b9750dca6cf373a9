"""A network's outputs at several resolutions: the last is the estimate, and all are scored.

    loss = sum_r c_r inner.loss(out_r, truth_r)        truth_r = the truth, pooled k x k, times k

Times k because the noise of k^2 pixels, averaged, has deviation 1 / k. arXiv 2406.09416.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mezzotint.config import part
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Scales
from mezzotint.diffusion.predictions import Eps, Prediction, Truth
from mezzotint.errors import ConfigError


@dataclass(frozen=True)
class MultiScale:
    """Read several outputs, lowest resolution first, whose sides halve from the last one down.

    Pooling is linear, so alpha x0 + sigma eps = x holds for the pooled truth as well, and `inner`
    may be any prediction that is linear in the outputs. Only Eps is published; LearnedRange and
    FixedRange are not linear, and their bound means nothing on a pooled truth.

    Args:
        inner: what each output means.
        coefficients: one an output, lowest resolution first; the released models of two branches
            have (1/4, 1). None is the paper's rule, a quarter of the next one's; no released
            config of three branches confirms it.
        scale_correction: pool by sums over k instead of means, as the release does and the paper
            does not say.

    Raises:
        ConfigError: at the first loss, the network does not return as many outputs.
    """

    inner: Annotated[Prediction, part("prediction")] = Eps()
    coefficients: tuple[float, ...] | None = (0.25, 1.0)
    scale_correction: bool = True
    several: ClassVar[bool] = True

    def estimate(self, out: Any, x: Float[Tensor, "b ..."], scales: Scales) -> Estimate:
        """Read the last output."""
        return self.inner.estimate(_several(out, x)[-1], x, scales)

    def loss(self, out: Any, truth: Truth) -> Float[Tensor, "b"]:
        """Return the weighted sum of the losses of all outputs."""
        outs = _several(out, truth.x)
        parts = [
            weight * self.inner.loss(each, self._pooled(truth, each.shape[-1]))
            for weight, each in zip(self._weights(len(outs)), outs, strict=True)
        ]
        return sum(parts[1:], parts[0])

    def _weights(self, count: int) -> tuple[float, ...]:
        if self.coefficients is None:
            return tuple(0.25 ** (count - 1 - r) for r in range(count))
        if len(self.coefficients) != count:
            raise ConfigError(
                f"prediction.coefficients {self.coefficients}: expected {count}, one for each "
                "output of the network; null takes a quarter of the next one's"
            )
        return self.coefficients

    def _pooled(self, truth: Truth, width: int) -> Truth:
        if truth.x.shape[-1] == width:
            return truth
        x0, eps, x = (
            pooled(each, width, scale_correction=self.scale_correction)
            for each in (truth.x0, truth.eps, truth.x)
        )
        return truth._replace(x0=x0, eps=eps, x=x)


def _several(out: Any, x: Float[Tensor, "b ..."]) -> Sequence[Float[Tensor, "..."]]:
    """Return the outputs, after a look at whether they are what a network like dimr returns."""
    # A lone tensor can be indexed too: its last row would pass for the last output.
    if isinstance(out, Tensor):
        raise ConfigError(
            "the multi-scale prediction needs a network with several outputs, such as dimr; this "
            "one returns a lone tensor: use its inner prediction alone"
        )
    last, whole = tuple(out[-1].shape[2:]), tuple(x.shape[2:])
    if last != whole:
        raise ConfigError(
            f"the network's last output is {last}, but the image {whole}: the last branch of "
            "model.network must see single pixels, with patch 1 and shrink 1"
        )
    return out


def pooled(
    x: Float[Tensor, "b c h w"], width: int, *, scale_correction: bool = True
) -> Float[Tensor, "b c i j"]:
    """Pool by the power of two that gives `width` columns.

    An even side is cut into windows of k side by side; an odd one takes windows of k + 1, a stride
    of k and zeros around. Whether the release, too, decides side by side is not known.

    Args:
        x: images of any kind.
        width: columns of the result.
        scale_correction: return means times the window's side, so that noise stays unit noise.

    Raises:
        ConfigError: no power of two gives `width`.
    """
    reach = x.shape[-1]
    factors = [2**level for level in range(1, reach.bit_length() + 1)]
    factor = next((k for k in factors if _columns(reach, k) == width), None)
    if factor is None:
        raise ConfigError(
            f"an output is {width} wide: expected {reach}, or a half, a quarter, ... of it"
        )
    odd = [side % 2 for side in x.shape[-2:]]
    window = [factor + each for each in odd]
    margin = [(factor + 1) // 2 * each for each in odd]
    mean = avg_pool2d(x, window, factor, margin)
    return mean * (window[0] * window[1]) ** 0.5 if scale_correction else mean


def _columns(reach: int, factor: int) -> int | None:
    """Return how many columns are left, or None if there are none; even sides drop a remainder."""
    if reach % 2:
        return (reach - 1) // factor + 1
    return reach // factor or None
