"""Distillation: a student's raw outputs against a teacher's, at the same noisy images.

    loss + 0.5 |mean_T - mean_S|^2 + 0.05 |Sigma_T - Sigma_S|^2

with means over all elements. LiT, arXiv 2501.12976, whose formula writes Sigma; its code is said to
compare the raw variance channels, which is the default. That the norms are means is our reading.
"""

from collections.abc import Callable
from typing import Final

from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.predictions import per_example
from mezzotint.diffusion.transition import Transition

WEIGHTS: Final = (0.5, 0.05)
"""Published weights of the noise and of the variance term."""

Reading = Callable[[Tensor, Transition | None], Tensor]
"""What of the variance channels is compared, given the reverse step that they belong to."""


def raw(values: Float[Tensor, "b ..."], _step: Transition | None = None) -> Float[Tensor, "b ..."]:
    """Return the channels as they are."""
    return values


def log_variance(values: Float[Tensor, "b ..."], step: Transition | None) -> Float[Tensor, "b ..."]:
    """Return the log variance whose place in its range the channels tell."""
    assert step is not None, "a variance needs the reverse step that it belongs to"
    return step.log_variance((values + 1) / 2)


def variance(values: Float[Tensor, "b ..."], step: Transition | None) -> Float[Tensor, "b ..."]:
    """Return the variance itself, Sigma."""
    return log_variance(values, step).exp()


def noise_term(
    student: Float[Tensor, "b k ..."], teacher: Float[Tensor, "b k ..."], channels: int
) -> Float[Tensor, "b"]:
    """Return the mean squared difference of the first outputs, those of the mean.

    Args:
        student, teacher: raw outputs; no gradient reaches the teacher.
        channels: channels of the noisy images.
    """
    return _apart(student[:, :channels].float(), teacher[:, :channels].float())


def variance_term(
    student: Float[Tensor, "b k ..."],
    teacher: Float[Tensor, "b k ..."],
    channels: int,
    *,
    reading: Reading = raw,
    step: Transition | None = None,
) -> Float[Tensor, "b"]:
    """Return the mean squared difference of the outputs after the first, those of the variance.

    Args:
        student, teacher: raw outputs; no gradient reaches the teacher.
        channels: channels of the noisy images.
        reading: `raw`, as published, or `log_variance` or `variance`.
        step: the reverse step of each example, shaped to broadcast; not needed by `raw`.
    """
    assert student.shape[1] > channels, "without a learned variance there is none to compare"
    pair = (student[:, channels:].float(), teacher[:, channels:].float())
    return _apart(*(reading(each, step) for each in pair))


def distilled(
    loss: Float[Tensor, "b"],
    student: Float[Tensor, "b k ..."],
    teacher: Float[Tensor, "b k ..."],
    channels: int,
    *,
    weights: tuple[float, float] = WEIGHTS,
    reading: Reading = raw,
    step: Transition | None = None,
) -> Float[Tensor, "b"]:
    """Return the student's own loss with both terms added.

    Args:
        loss: of the student without a teacher.
        student, teacher: raw outputs; no gradient reaches the teacher.
        channels: channels of the noisy images.
        weights: of the noise and of the variance term, constant over training.
        reading, step: as in `variance_term`.
    """
    noise = weights[0] * noise_term(student, teacher, channels)
    spread = variance_term(student, teacher, channels, reading=reading, step=step)
    return loss + noise + weights[1] * spread


def _apart(student: Float[Tensor, "b ..."], teacher: Float[Tensor, "b ..."]) -> Float[Tensor, "b"]:
    return per_example((student - teacher.detach()) ** 2)
