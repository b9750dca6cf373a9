"""What a representation is worth: the accuracy of a linear classifier on frozen features.

    min over W, b of mean cross-entropy(W z + b, y) + decay / 2 |W|^2     z = (f - mean) / deviation

MAGE's published figures are of SGD on augmented images (90 epochs, LARS); this is the convex
problem on plain images, solved to the end: nothing to set, and the same answer every time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor
from torch.nn.functional import cross_entropy

from mezzotint.data.images import Images
from mezzotint.errors import DataError

DECAY: Final = 1e-3
_ITERATIONS: Final = 300
_LEAST: Final = 1e-6  # deviation of a feature that hardly varies

Encoder = Callable[[UInt8[Tensor, "b 3 H W"]], Float[Tensor, "b d"]]


@dataclass(frozen=True)
class Probe:
    """A linear classifier on standardised features.

    Attributes:
        weight, bias: of the K classes.
        mean, deviation: of each feature, over the images that it was fitted to.
    """

    weight: Float64[Tensor, "k d"]
    bias: Float64[Tensor, "k"]
    mean: Float64[Tensor, "d"]
    deviation: Float64[Tensor, "d"]

    def __call__(self, features: Float[Tensor, "n d"]) -> Float64[Tensor, "n k"]:
        """Return the logits of features."""
        z = (features.double() - self.mean) / self.deviation
        return z @ self.weight.T + self.bias

    def accuracy(self, features: Float[Tensor, "n d"], labels: Int64[Tensor, "n"]) -> float:
        """Return the share of images whose class has the largest logit."""
        return float((self(features).argmax(1) == labels).double().mean())


def fitted(
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, "n"],
    classes: int,
    *,
    decay: float = DECAY,
) -> Probe:
    """Fit a linear classifier, in float64, by L-BFGS from zero.

    Args:
        features: frozen ones.
        labels: 0 to K - 1.
        classes: K.
        decay: of the weights, not of the biases.

    Raises:
        DataError: fewer than two classes are there.
    """
    if len(labels.unique()) < 2:
        raise DataError(f"probe: {len(labels)} images of one class; expected at least two classes")
    plain = features.double()
    mean, deviation = plain.mean(0), plain.std(0, unbiased=False).clamp(min=_LEAST)
    z = (plain - mean) / deviation
    weight = torch.zeros(classes, z.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = cross_entropy(z @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    return Probe(weight.detach(), bias.detach(), mean, deviation)


@torch.no_grad()
def encoded(encoder: Encoder, images: Images, *, batch: int = 64) -> Float[Tensor, "n d"]:
    """Return the features of all images, some at a time."""
    rows = torch.arange(len(images))
    return torch.cat([encoder(images.read(block)).cpu() for block in rows.split(batch)])


__all__ = ["DECAY", "Encoder", "Probe", "encoded", "fitted"]
