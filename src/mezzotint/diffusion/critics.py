"""Critics: how likely a condition is, given a noisy image; what classifier guidance climbs.

    critic(x_t, t, y) = log p(y | x_t), one number an image

Any function will do. A classifier of clean images knows nothing of t, one trained on noisy images
reads the path's clock, and what a critic sees may first pass through a decoder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.routing import Partition
from mezzotint.errors import ConfigError, NumericError


class Critic(Protocol):
    """A log-likelihood of the condition that can be differentiated with respect to x."""

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return log p(y | x_t) of each image.

        Args:
            x: noisy images or latents.
            t: their times, float64 on the CPU.
            y: conditions; class indices for a classifier.
        """
        ...


def log_likelihood_of(
    logits: Float[Tensor, "..."], y: Int[Tensor, "b"], source: object = "the critic"
) -> Float[Tensor, "b"]:
    """Return log softmax(logits)[y] of each row, in float32 at least.

    Args:
        logits: what the critic returned; a row an image and a column a class, or it is refused.
        y: classes.
        source: who returned it, for the complaint.

    Raises:
        ConfigError: the logits are not a row an image, or have no column for a class asked for.
    """
    if logits.dim() != 2 or len(logits) != len(y):
        raise ConfigError(
            f"{source} returned values of shape {tuple(logits.shape)} for {len(y)} images; "
            "expected logits, a row an image and a column a class"
        )
    if int(y.max()) >= logits.shape[1]:
        raise ConfigError(
            f"{source} knows {logits.shape[1]} classes, but class {int(y.max())} is asked for; "
            "take a critic of the same classes, or map them with Renamed"
        )
    wide = logits.float() if logits.dtype.itemsize < 4 else logits
    return wide.log_softmax(1).gather(1, y.to(wide.device)[:, None])[:, 0]


@dataclass(frozen=True)
class ClassifierCritic:
    """A classifier that is told nothing of the noise: log softmax(classifier(x))[y].

    Args:
        classifier: any function from images in [-1, 1] to logits.
    """

    classifier: Callable[[Tensor], Tensor]

    def __call__(
        self,
        x: Float[Tensor, "b ..."],
        t: Float[Tensor, "b"],  # noqa: ARG002 (a clean classifier knows no time)
        y: Int[Tensor, "b"],
    ) -> Float[Tensor, "b"]:
        """Return log p(y | x) of each image; see `log_likelihood_of` for what is refused."""
        check_place(self.classifier, x)
        return log_likelihood_of(self.classifier(x), y)


@dataclass(frozen=True)
class NoisyCritic:
    """A classifier of noisy images that reads the clock of the path it was trained on.

    Dhariwal & Nichol, arXiv 2105.05233, section 4. The clock is that of the whole chain, however
    few of its steps are walked.

    Args:
        classifier: from (x_t, network time) to logits.
        path: whose clock it reads; that of the model which it steers.
    """

    classifier: Callable[[Tensor, Tensor], Tensor]
    path: Path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return log p(y | x_t) of each image; see `log_likelihood_of` for what is refused."""
        check_place(self.classifier, x)
        time = self.path.network_time(t).to(x.device, x.dtype)
        return log_likelihood_of(self.classifier(x, time), y)


@dataclass(frozen=True)
class Likeness:
    """Minus a distance between what a network makes of x and what is wanted, for dense outputs.

    Args:
        network: from images to any outputs, such as depth maps.
        wanted: one output for all images, or one an image.
        distance: from (outputs, wanted) to a number an image.
    """

    network: Callable[[Tensor], Tensor]
    wanted: Float[Tensor, "..."]
    distance: Callable[[Tensor, Tensor], Tensor]

    def __call__(
        self,
        x: Float[Tensor, "b ..."],
        t: Float[Tensor, "b"],  # noqa: ARG002 (an expert of one range of t knows its own)
        y: Shaped[Tensor, "b ..."],  # noqa: ARG002 (what is wanted is not a class)
    ) -> Float[Tensor, "b"]:
        """Return minus the distance of each image."""
        check_place(self.network, x)
        found = self.network(x)
        return -self.distance(found, self.wanted.to(found).expand_as(found))


@dataclass(frozen=True)
class Through:
    """A critic of what a generator or decoder makes of x; its gradient passes through that.

    Args:
        before: from x to what the critic reads; for a latent model, the differentiable decoder.
        critic: of that.
    """

    before: Callable[[Tensor], Tensor]
    critic: Critic

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return what the inner critic says."""
        check_place(self.before, x)
        return self.critic(self.before(x), t, y)


@dataclass(frozen=True)
class Renamed:
    """A critic whose classes have other numbers than those of the model that it steers.

    Args:
        critic: of its own classes.
        labels: the critic's class of each class of the model.
    """

    critic: Critic
    labels: tuple[int, ...]

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Return log p of the critic's own classes."""
        return self.critic(x, t, torch.tensor(self.labels, device=y.device)[y])


@dataclass(frozen=True)
class Experts:
    """PPAP's experts: each stretch of the noise has a critic of its own.

    Go et al., arXiv 2212.12990; an image is judged by the expert of its own time, whatever the
    rest of the batch does.

    Args:
        pieces: critics, from the clean end to the noisy one.
        partition: their rooms on the axis of time.

    Raises:
        ConfigError: there are more or fewer critics than rooms.
    """

    pieces: Sequence[Critic]
    partition: Partition

    def __post_init__(self) -> None:
        if len(self.pieces) != self.partition.rooms:
            raise ConfigError(
                f"{len(self.pieces)} experts for {self.partition.rooms} ranges of noise; "
                "expected one a range"
            )

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Float[Tensor, "b"]:
        """Return what each image's expert says of it."""
        routes = list(self.partition.route(t))
        if len(routes) == 1:
            return self.pieces[routes[0][0]](x, t, y)
        parts = []
        for room, rows in routes:
            there = rows.to(x.device)
            parts.append(self.pieces[room](x[there], t[rows], y[there]))
        order = torch.cat([rows for _, rows in routes]).argsort()
        return torch.cat(parts)[order.to(x.device)]


def gradient(
    critic: Critic,
    x: Float[Tensor, "b ..."],
    t: Float[Tensor, "b"],
    y: Shaped[Tensor, "b ..."],
) -> Float[Tensor, "b ..."]:
    """Return d sum_b critic(x, t, y)_b / dx: of the sum, so that rows know nothing of each other.

    Raises:
        NumericError: it is not finite.
    """
    with torch.enable_grad():
        free = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(critic(free, t, y).sum(), free)
    return finite(found, t)


def finite(found: Float[Tensor, "b ..."], t: Float[Tensor, "b"]) -> Float[Tensor, "b ..."]:
    """Return a gradient that is finite as it is.

    Raises:
        NumericError: it is not.
    """
    bad = (~found.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
    if bad:
        raise NumericError(
            f"the critic's gradient is not finite at t = {float(t[bad[0]]):.3f} "
            f"(image {bad[0]} of {len(found)}); expected numbers: lower the scale, or begin "
            "later, with {kind: interval, high: 0.9, outside: 0}"
        )
    return found


def check_place(function: Any, x: Float[Tensor, "b ..."]) -> None:
    """Refuse a module that stands on another device, or computes in another dtype, than x.

    Raises:
        ConfigError: it does.
    """
    module = getattr(function, "network", function)  # a network in a wrapper of ours, or alone
    weights = module.parameters() if isinstance(module, nn.Module) else iter(())
    weight = next((each for each in weights if each.is_floating_point()), None)
    if weight is None or (weight.device == x.device and weight.dtype == x.dtype):
        return
    raise ConfigError(
        f"the critic is {_place(weight)} and the images are {_place(x)}; "
        f"move it there: critic.to({str(x.device)!r}, {x.dtype})"
    )


def _place(tensor: Tensor) -> str:
    return f"{tensor.dtype} on {tensor.device}".removeprefix("torch.")


__all__ = [
    "ClassifierCritic",
    "Critic",
    "Experts",
    "Likeness",
    "NoisyCritic",
    "Renamed",
    "Through",
    "check_place",
    "finite",
    "gradient",
    "log_likelihood_of",
]
