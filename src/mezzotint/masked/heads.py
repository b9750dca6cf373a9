"""Heads: from the network's features to tokens, and to the loss of tokens.

p = softmax(logits / temperature)      logits = null + scale (conditional - null)
"""

from dataclasses import dataclass
from typing import Annotated, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import part
from mezzotint.errors import ConfigError
from mezzotint.masked.curves import Along, Flat, Ramp
from mezzotint.masked.plan import Moment
from mezzotint.noise import Noise, gumbel, uniform


@runtime_checkable
class Head(Protocol):
    """A distribution of tokens, given features."""

    def draw(
        self,
        features: Float[Tensor, "b n f"],
        against: Float[Tensor, "b n f"] | None,
        scale: float,
        moment: Moment,
        noise: Noise,
    ) -> tuple[Shaped[Tensor, "b n ..."], Float[Tensor, "b n"] | None]:
        """Draw tokens.

        Args:
            features: what the network says of their places.
            against: what it says without the class; None without guidance.
            scale: of guidance; 1 is the conditional model.
            moment: where in the plan this is.
            noise: a row an image.

        Returns:
            The tokens, and how sure of each the head is, or None if it cannot tell.
        """
        ...

    def loss(
        self, features: Float[Tensor, "b n f"], target: Shaped[Tensor, "b n ..."], noise: Noise
    ) -> Float[Tensor, "b n"]:
        """Return the cost of each token.

        Args:
            features: what the network says of their places.
            target: the tokens that stand there.
            noise: for what a head may have to draw.
        """
        ...


def guided(
    features: Float[Tensor, "b n f"], against: Float[Tensor, "b n f"] | None, scale: float
) -> Float[Tensor, "b n f"]:
    """Return against + scale (features - against), or the features where there is no guidance."""
    return features if against is None else against + scale * (features - against)


@runtime_checkable
class HeadPart(Protocol):
    """What a recipe says of a head."""

    def on(self, network: nn.Module) -> Head:
        """Return the head of a network."""
        ...


@dataclass(frozen=True)
class Categorical:
    """Tokens are codes; features are logits.

    Args:
        temperature: what logits are divided by, along the plan.
        codes: only so many of the first logits are looked at; None is all of them.
        top: only so many of the largest logits are drawn from; None is all of them.
        smoothing: share of the target's probability that the loss spreads over all codes.
    """

    temperature: Annotated[Along, part("along")] = Flat(1.0)
    codes: Annotated[int, Field(ge=1)] | None = None
    top: Annotated[int, Field(ge=1)] | None = None
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def on(self, network: nn.Module) -> Self:  # noqa: ARG002 (its features are all it takes)
        """Return itself."""
        return self

    def logits(
        self,
        features: Float[Tensor, "b n f"],
        against: Float[Tensor, "b n f"] | None,
        scale: float,
        moment: Moment,
    ) -> Float[Tensor, "b n k"]:
        """Return the logits that tokens are drawn from."""
        logits = guided(features, against, scale)[..., : self.codes].float()
        temperature = self.temperature(moment)
        if temperature < 0:
            raise ConfigError(f"temperature {temperature:g}: expected 0 (the likeliest) or more")
        logits = logits if temperature in {0, 1} else logits / temperature
        if self.top is not None and self.top < logits.shape[-1]:
            floor = logits.topk(self.top, dim=-1).values[..., -1:]
            logits = logits.masked_fill(logits < floor, -torch.inf)
        return logits

    def draw(
        self,
        features: Float[Tensor, "b n f"],
        against: Float[Tensor, "b n f"] | None,
        scale: float,
        moment: Moment,
        noise: Noise,
    ) -> tuple[Int[Tensor, "b n"], Float[Tensor, "b n"]]:
        """Draw codes, one normal draw each; how sure is log p."""
        logits = self.logits(features, against, scale, moment)
        codes = self.pick(logits, moment, noise)
        return codes, self.sure(logits, codes)

    def pick(
        self,
        logits: Float[Tensor, "b n k"],
        moment: Moment,
        noise: Noise,
    ) -> Int[Tensor, "b n"]:
        """Draw codes by inverting the distribution function, in float64; at 0 the likeliest."""
        if self.temperature(moment) == 0:
            return logits.argmax(-1)
        rising = logits.double().softmax(-1).cumsum(-1)
        level = uniform(noise, logits[..., 0])[..., None] * rising[..., -1:]
        return torch.searchsorted(rising, level, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)

    def sure(
        self, logits: Float[Tensor, "b n k"], codes: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b n"]:
        """Return log p of codes."""
        return logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0]

    def loss(
        self,
        features: Float[Tensor, "b n f"],
        target: Int[Tensor, "b n"],
        noise: Noise,  # noqa: ARG002 (a head of continuous tokens draws)
    ) -> Float[Tensor, "b n"]:
        """Return the cross-entropy with smoothed targets.

        -(1 - s) log p_target - s mean_k log p_k
        """
        log_p = features[..., : self.codes].float().log_softmax(-1)
        nll = -log_p.gather(-1, target[..., None])[..., 0]
        return (
            nll
            if not self.smoothing
            else (1 - self.smoothing) * nll - self.smoothing * log_p.mean(-1)
        )


@dataclass(frozen=True)
class Perturbed(Categorical):
    """TiTok's: the largest of logits + spread Gumbel, and how sure is the raw logit.

    That draws from softmax(logits / spread); at spread 0 it takes the likeliest.

    Args:
        spread: of the Gumbel noise, along the plan.
    """

    spread: Annotated[Along, part("along")] = Ramp(4.5, 0.0)

    def pick(
        self, logits: Float[Tensor, "b n k"], moment: Moment, noise: Noise
    ) -> Int[Tensor, "b n"]:
        """Draw codes by disturbing their logits, with a normal draw for each of them."""
        disturbed = self.spread(moment) * gumbel(noise, logits).to(logits.dtype)
        return (logits + disturbed).argmax(-1)

    def sure(
        self, logits: Float[Tensor, "b n k"], codes: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b n"]:
        """Return the logits of codes."""
        return logits.gather(-1, codes[..., None])[..., 0]


__all__ = ["Categorical", "Head", "HeadPart", "Perturbed", "guided"]
