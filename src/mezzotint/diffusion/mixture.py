"""Mixtures: two estimates of the same noisy images become a guided one, row by row."""

from dataclasses import dataclass, field, replace

from jaxtyping import Float, Int
from torch import Tensor

from mezzotint.diffusion.directions import Direction, Plain
from mezzotint.diffusion.estimate import Estimate, fit
from mezzotint.diffusion.paths import Path


class Momentum:
    """The running difference of one walk: d + momentum d_before, forgotten where time goes back."""

    def __init__(self) -> None:
        self._before: Tensor | None = None
        self._t: Tensor | None = None

    def __call__(
        self, difference: Float[Tensor, "b ..."], t: Float[Tensor, "b"], momentum: float
    ) -> Float[Tensor, "b ..."]:
        """Return the difference with what is left of those before; a new walk begins anew."""
        if momentum == 0:
            return difference
        if self._t is not None and self._before is not None and len(t) == len(self._t):
            goes_on = bool((t <= self._t).all())
            if goes_on and self._before.shape == difference.shape:
                difference = difference + momentum * self._before
        self._before, self._t = difference.detach(), t
        return difference


@dataclass(frozen=True)
class Mixture:
    """Lays the guided rows of an estimate over it.

    Args:
        direction: how two predictions become one.
        channels: guide the first channels only; the others stay conditional.
    """

    direction: Direction = Plain()
    channels: int | None = None
    _momentum: Momentum = field(default_factory=Momentum, init=False, repr=False, compare=False)

    def __call__(
        self,
        conditional: Estimate,
        reference: Estimate,
        rows: Int[Tensor, "r"],
        scale: Float[Tensor, "r"],
        around: tuple[Float[Tensor, "b ..."], Float[Tensor, "b"], Path],
    ) -> Estimate:
        """Return the conditional estimate with its guided rows in place.

        Args:
            conditional: of all rows; its learned variance and push are kept.
            reference: of the rows that are guided.
            rows: which these are.
            scale: theirs.
            around: x and t of all rows, and the path.
        """
        x, t, path = around
        there = rows.to(x.device)
        own = Estimate(conditional.x0[there], conditional.eps[there])
        weight = fit(scale, own.x0)
        space = self.direction.space
        if space is None:
            x0 = self._guided(own.x0, reference.x0, weight, t[rows])
            guided = Estimate(x0, self._guided(own.eps, reference.eps, weight, t[rows]))
        else:
            scales = path.at(t[rows], x)
            values = space.of(own, scales), space.of(reference, scales)
            guided = space.estimate(self._guided(*values, weight, t[rows]), x[there], scales)
        x0, eps = conditional.x0.clone(), conditional.eps.clone()
        x0[there], eps[there] = guided.x0, guided.eps
        return replace(conditional, x0=x0, eps=eps)

    def _guided(
        self,
        c: Float[Tensor, "r ..."],
        u: Float[Tensor, "r ..."],
        weight: Float[Tensor, "r ..."],
        t: Float[Tensor, "r"],
    ) -> Float[Tensor, "r ..."]:
        """Guide the channels that are guided."""
        first = (slice(None), slice(self.channels))
        difference = self._momentum(c[first] - u[first], t, self.direction.momentum)
        result = c.clone()
        result[first] = self.direction(c[first], u[first], difference, weight)
        return result
