"""Guidance by a second estimate: a denoiser around a denoiser.

    eps = eps_null + scale(t) (eps_y - eps_null)

x0 is affine in eps, so the same line holds for it. Ho & Salimans, arXiv 2207.12598, eq. 6, in the
convention where scale 1 is the conditional model and 0 the unconditional. The reference may be the
model's own unconditional estimate or a weaker model's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.directions import Direction, Plain
from mezzotint.diffusion.estimate import Estimate, fit
from mezzotint.diffusion.mixture import Mixture
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.predictions import Velocity
from mezzotint.diffusion.scales import (
    Constant,
    CosineRise,
    Interval,
    LinearRise,
    PowerCosine,
    Scale,
    Weighted,
    scale_of,
)
from mezzotint.errors import ConfigError


@dataclass(frozen=True)
class ClassifierFree:
    """Guide a denoiser away from its own unconditional estimate.

    Only rows whose scale is not 1 are evaluated twice, in one batch with the rest; if there are
    none, the inner denoiser answers alone. A learned variance stays that of the condition.

    Args:
        inner: the denoiser.
        scale: a number, or a function of time.
        null: index of the null class, or where conditions are vectors, the unconditional one of
            each row; a network that has none cannot be guided.
        channels: guide the first channels only; 3 is what DiT's release does.
        direction: how the two estimates become one. One with momentum remembers the evaluation
            before, until time goes back.

    Raises:
        ConfigError: `null` is None.
    """

    inner: Denoiser
    scale: Scale | float
    null: int | Float[Tensor, "b ..."] | None
    channels: int | None = None
    direction: Direction = Plain()
    _scale: Scale = field(init=False, repr=False, compare=False)
    _mixture: Mixture = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.null is None:
            raise ConfigError(
                "this model has no null class, so it cannot be guided; "
                "train it with null_row and label dropout, or leave guidance at 1"
            )
        object.__setattr__(self, "_scale", scale_of(self.scale))
        object.__setattr__(self, "_mixture", Mixture(self.direction, self.channels))

    @property
    def path(self) -> Path:
        """The path of the inner denoiser."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate under guidance."""
        scale = self._scale(t)
        rows = (scale != 1).nonzero()[:, 0]
        if len(rows) == 0:
            return self.inner(x, t, y)
        assert self.null is not None, "refused at construction"
        there = rows.to(x.device)
        null = torch.as_tensor(self.null).to(y).expand_as(y)[there]
        both = self.inner(torch.cat([x, x[there]]), torch.cat([t, t[rows]]), torch.cat([y, null]))
        conditional, reference = both.map(lambda z: z[: len(x)]), both.map(lambda z: z[len(x) :])
        return self._mixture(conditional, reference, rows, scale[rows], (x, t, self.path))


@dataclass(frozen=True)
class Autoguided:
    """Guide a denoiser away from a weaker one: smaller, less trained, more blurred, or perturbed.

        weaker + scale (inner - weaker)

    Both see the same condition, so it works for unconditional models too; with a weaker one that is
    the same, every scale is the identity. Karras et al., arXiv 2406.02507. With layers of the
    model itself skipped or perturbed as the weaker one, and 1 + w as the scale, it is skip-layer
    or perturbed-attention guidance.

    Args:
        inner: the denoiser.
        weaker: on the same path; asked only where the scale is not 1.
        scale: a number, or a function of time.
        channels, direction: as of `ClassifierFree`.

    Raises:
        ConfigError: the two are on different paths.
    """

    inner: Denoiser
    weaker: Denoiser
    scale: Scale | float
    channels: int | None = None
    direction: Direction = Plain()
    _mixture: Mixture = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _same_path(self.inner, self.weaker)
        object.__setattr__(self, "_mixture", Mixture(self.direction, self.channels))

    @property
    def path(self) -> Path:
        """The path of both."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate under guidance."""
        scale = scale_of(self.scale)(t)
        rows = (scale != 1).nonzero()[:, 0]
        conditional = self.inner(x, t, y)
        if len(rows) == 0:
            return conditional
        there = rows.to(x.device)
        reference = self.weaker(x[there], t[rows], y[there])
        return self._mixture(conditional, reference, rows, scale[rows], (x, t, self.path))


@dataclass(frozen=True)
class Added:
    """Several guidances of one denoiser at once, their differences added.

        inner + sum_k (scale_k - 1) (inner - reference_k)

    With `Unconditional(inner, null)` and a weaker model as references it is classifier-free
    guidance and autoguidance together, of three networks.

    Args:
        inner: the denoiser.
        references: denoisers on the same path, and the scale of each.

    Raises:
        ConfigError: they are on different paths.
    """

    inner: Denoiser
    references: Sequence[tuple[Denoiser, Scale | float]]

    def __post_init__(self) -> None:
        for reference, _ in self.references:
            _same_path(self.inner, reference)

    @property
    def path(self) -> Path:
        """The path of all."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate under guidance; a reference is asked only where its scale is not 1."""
        own = self.inner(x, t, y)
        x0, eps = own.x0, own.eps
        for reference, scale in self.references:
            weight = scale_of(scale)(t) - 1
            if bool((weight == 0).all()):
                continue
            found = reference(x, t, y)
            weight = fit(weight, x)
            x0, eps = x0 + weight * (own.x0 - found.x0), eps + weight * (own.eps - found.eps)
        return replace(own, x0=x0, eps=eps)


@dataclass(frozen=True)
class Unconditional:
    """A denoiser that is asked about the null class, whatever the condition is.

    Args:
        inner: the denoiser.
        null: its null class.
    """

    inner: Denoiser
    null: int

    @property
    def path(self) -> Path:
        """The path of the inner denoiser."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate without a condition."""
        return self.inner(x, t, torch.full_like(y, self.null))


@dataclass(frozen=True)
class Resting:
    """A denoiser whose velocity is zero at first: CFG-Zero*'s first steps stand still.

    Args:
        inner: the denoiser.
        above: velocity is zero where t is larger; just below the second time of a grid it is the
            paper's one step.
    """

    inner: Denoiser
    above: float

    @property
    def path(self) -> Path:
        """The path of the inner denoiser."""
        return self.inner.path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate, or stand still; where all rows rest the inner denoiser is not asked."""
        rests = fit(t > self.above, x)
        still = Velocity().estimate(torch.zeros_like(x), x, self.path.at(t, x))
        if bool(rests.all()):
            return still
        moves = self.inner(x, t, y)
        x0 = torch.where(rests, still.x0, moves.x0)
        return replace(moves, x0=x0, eps=torch.where(rests, still.eps, moves.eps))


def _same_path(one: Denoiser, other: Denoiser) -> None:
    if one.path != other.path:
        raise ConfigError(
            f"the guiding model is on {other.path}, the guided one on {one.path}; "
            "expected two models of one noise schedule"
        )


__all__ = [
    "Added",
    "Autoguided",
    "ClassifierFree",
    "Constant",
    "CosineRise",
    "Interval",
    "LinearRise",
    "PowerCosine",
    "Resting",
    "Scale",
    "Unconditional",
    "Weighted",
    "scale_of",
]
