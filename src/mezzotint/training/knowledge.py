"""Knowledge transfer: how far a student on a noisy image is from its teacher on the clean one.

    distance(student(x_t), teacher(x0)), a number an image; no label anywhere

Go et al., arXiv 2212.12990, section 4.3, as its release computes it.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Knowledge(Protocol):
    """A distance between a student's outputs and its teacher's."""

    def __call__(
        self, student: Float[Tensor, "b ..."], teacher: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return the distance of each image."""
        ...


@dataclass(frozen=True)
class Sharpened:
    """For classifiers: the divergence from the teacher's sharpened probabilities, over K.

        mean_k p_k (log p_k - log q_k),    p = softmax(teacher / temperature), q = softmax(student)

    For outputs with places, such as segmentations, it is also the mean over places: the natural
    choice, but the published code has none.

    Args:
        temperature: of the teacher; 0.25 multiplies its logits by 4. The gradient is not scaled up.
    """

    temperature: float = 0.25

    def __call__(
        self, student: Float[Tensor, "b k ..."], teacher: Float[Tensor, "b k ..."]
    ) -> Float[Tensor, "b"]:
        """Return the divergence of each image."""
        wanted = (teacher / self.temperature).log_softmax(1)
        gap = wanted.exp() * (wanted - student.log_softmax(1))
        return gap.flatten(1).mean(1)


@dataclass(frozen=True)
class Squared:
    """For dense outputs such as depth: the mean squared difference."""

    def __call__(
        self, student: Float[Tensor, "b ..."], teacher: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return the mean squared difference of each image."""
        return ((student - teacher) ** 2).flatten(1).mean(1)
