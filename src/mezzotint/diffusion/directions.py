"""Directions: how a conditional and a reference prediction become a guided one.

    plain guidance:  u + s (c - u)

is affine with weights that add up to 1, so it is the same in x0, eps, velocity or score. All others
here are not, so each is applied in a space that it names. c is the conditional prediction, u the
reference: unconditional, or a weaker model's.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.config import part
from mezzotint.diffusion.estimate import fit
from mezzotint.diffusion.spaces import ImageSpace, NoiseSpace, Space, VelocitySpace


def norm(value: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Return the length of each row, shaped to broadcast with it."""
    return fit(value.flatten(1).norm(dim=1), value)


def dot(a: Float[Tensor, "b ..."], b: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Return the inner product of each pair of rows, shaped to broadcast with them."""
    return fit((a * b).flatten(1).sum(1), a)


@runtime_checkable
class Direction(Protocol):
    """From a conditional and a reference prediction to a guided one.

    Attributes:
        space: where it works, or None: where it does not matter.
        momentum: how much of the difference of the evaluation before is added to this one's.
    """

    @property
    def space(self) -> Space | None:
        """Where it works, or None where that is the same."""
        ...

    @property
    def momentum(self) -> float:
        """How much of the difference of the evaluation before is added."""
        ...

    def __call__(
        self,
        c: Float[Tensor, "b ..."],
        u: Float[Tensor, "b ..."],
        difference: Float[Tensor, "b ..."],
        scale: Float[Tensor, "b ..."],
    ) -> Float[Tensor, "b ..."]:
        """Return the guided prediction.

        Args:
            c, u: conditional and reference predictions.
            difference: c - u, with its momentum.
            scale: s, shaped to broadcast.
        """
        ...


@dataclass(frozen=True)
class Plain:
    """u + s (c - u), as everybody does."""

    space: ClassVar[None] = None
    momentum: ClassVar[float] = 0.0

    def __call__(
        self,
        c: Float[Tensor, "b ..."],  # noqa: ARG002
        u: Float[Tensor, "b ..."],
        difference: Float[Tensor, "b ..."],
        scale: Float[Tensor, "b ..."],
    ) -> Float[Tensor, "b ..."]:
        """Return the guided prediction."""
        return u + scale * difference


In = Annotated[Space, part("space")]


@dataclass(frozen=True)
class Rescaled:
    """Plain guidance G, partly shrunk to the deviation of c (Lin et al., arXiv 2305.08891).

        phi G std(c) / std(G) + (1 - phi) G

    The deviation is the unbiased one over everything but the batch.

    Args:
        phi: 0 is plain guidance.
        space: where; the release of the idea works on noise.
    """

    phi: float = 0.7
    space: In = NoiseSpace()
    momentum: ClassVar[float] = 0.0

    def __call__(
        self,
        c: Float[Tensor, "b ..."],
        u: Float[Tensor, "b ..."],
        difference: Float[Tensor, "b ..."],
        scale: Float[Tensor, "b ..."],
    ) -> Float[Tensor, "b ..."]:
        """Return the guided prediction."""
        guided = u + scale * difference
        axes = tuple(range(1, c.dim()))
        ratio = c.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
        return self.phi * guided * ratio + (1 - self.phi) * guided


@dataclass(frozen=True)
class Projected:
    """Adaptive projected guidance: less of what lies along c (Sadat et al., arXiv 2410.02416).

        d = c - u + momentum d_before,  shortened to `threshold`;  d = across + along c
        u + s (across + eta along)                          as diffusers has it, or
        c + (s - 1) (across + eta along)                    as the paper has it, if `from_condition`

    The two differ unless eta is 1 and nothing is shortened; that the second is the paper's is
    recalled, not read. With eta 0 only what is perpendicular to c remains.

    Args:
        eta: how much of the parallel part is kept; 1, without a threshold, is plain guidance.
        threshold: largest length of the difference, or 0 for none.
        momentum: of the difference, negative in the paper (-0.5).
        from_condition: start from c, as the paper does.
        space: where; the paper works on the clean image.
    """

    eta: float = 0.0
    threshold: float = 15.0
    momentum: float = 0.0
    from_condition: bool = False
    space: In = ImageSpace()

    def __call__(
        self,
        c: Float[Tensor, "b ..."],
        u: Float[Tensor, "b ..."],
        difference: Float[Tensor, "b ..."],
        scale: Float[Tensor, "b ..."],
    ) -> Float[Tensor, "b ..."]:
        """Return the guided prediction."""
        if self.threshold > 0:
            # A difference of 0 has no length to be shortened, and x / 0 is larger than any.
            difference = difference * (self.threshold / norm(difference)).clamp(max=1)
        wide, unit = difference.double(), c.double() / norm(c.double()).clamp(min=1e-12)
        along = dot(wide, unit) * unit
        kept = (wide - along + self.eta * along).to(c.dtype)
        return c + (scale - 1) * kept if self.from_condition else u + scale * kept


@dataclass(frozen=True)
class ZeroStar:
    """CFG-Zero*: the reference is first scaled to fit c (Fan et al., arXiv 2503.18886).

        a u + s (c - a u),    a = <c, u> / (|u|^2 + 1e-8)

    The paper also takes no step at first: `Resting` does that.

    Args:
        space: where; the paper works on velocities.
    """

    space: In = VelocitySpace()
    momentum: ClassVar[float] = 0.0

    def __call__(
        self,
        c: Float[Tensor, "b ..."],
        u: Float[Tensor, "b ..."],
        difference: Float[Tensor, "b ..."],  # noqa: ARG002
        scale: Float[Tensor, "b ..."],
    ) -> Float[Tensor, "b ..."]:
        """Return the guided prediction."""
        fitted = dot(c, u) / (dot(u, u) + 1e-8) * u
        return fitted + scale * (c - fitted)


@dataclass(frozen=True)
class Tangential:
    """TCFG: take out of u what lies along the lesser singular direction of the pair c, u.

    Of the two rows c and u, the second right singular vector v is where they differ by least
    agreement; u - <u, v> v takes the place of u.

    Args:
        space: where; diffusers works on whatever the network predicts.
    """

    space: In = NoiseSpace()
    momentum: ClassVar[float] = 0.0

    def __call__(
        self,
        c: Float[Tensor, "b ..."],
        u: Float[Tensor, "b ..."],
        difference: Float[Tensor, "b ..."],  # noqa: ARG002
        scale: Float[Tensor, "b ..."],
    ) -> Float[Tensor, "b ..."]:
        """Return the guided prediction."""
        rows = torch.stack([c, u], dim=1).flatten(2).double()  # (B, 2, D)
        lesser = torch.linalg.svd(rows, full_matrices=False).Vh[:, 1].view(c.shape)
        rest = (u.double() - dot(u.double(), lesser) * lesser).to(u.dtype)
        return rest + scale * (c - rest)


@dataclass(frozen=True)
class Damped:
    """MAMBO-G: a smaller scale where c and u are far apart.

        u + s' (c - u),    s' = 1 + (s - 1) exp(-alpha |c - u| / |u|)

    Args:
        alpha: how fast the scale falls.
        space: where.
    """

    alpha: float = 8.0
    space: In = NoiseSpace()
    momentum: ClassVar[float] = 0.0

    def __call__(
        self,
        c: Float[Tensor, "b ..."],  # noqa: ARG002
        u: Float[Tensor, "b ..."],
        difference: Float[Tensor, "b ..."],
        scale: Float[Tensor, "b ..."],
    ) -> Float[Tensor, "b ..."]:
        """Return the guided prediction."""
        return u + (1 + (scale - 1) * (-self.alpha * norm(difference) / norm(u)).exp()) * difference
