"""A team: denoisers of one trajectory with the fraction of the steps that each takes.

Which step is whose follows when the grid is known; without one, a team routes by time.
Pan et al., arXiv 2402.14167.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mezzotint.diffusion.allocation import COUNT, Rule, checked, clock
from mezzotint.diffusion.denoiser import Denoiser, NetworkDenoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Path
from mezzotint.diffusion.routing import Partition, Stitched, check_alike, stitched
from mezzotint.errors import ConfigError


class Team(nn.Module):
    """Denoisers of one trajectory with the fraction of the steps that each takes.

    It is a denoiser itself: asked without a grid, as by a loss, it routes by time, and the cuts
    stand at 1 minus the running sum of the fractions. A sampler is given what `on` returns.

    Args:
        denoisers: the smallest first, which runs next to noise.
        fractions: of the steps, one a denoiser; they sum to 1.
        rule: how the fractions are dealt out.

    Raises:
        ConfigError: fractions that do not sum to 1, or denoisers that do not fit together.
    """

    def __init__(
        self, denoisers: Sequence[nn.Module], fractions: Sequence[float], rule: Rule = COUNT
    ) -> None:
        super().__init__()
        self.denoisers = nn.ModuleList(denoisers)
        self.fractions, self.rule = checked(fractions), rule
        if len(self.fractions) != len(denoisers):
            raise ConfigError(f"{len(denoisers)} models and {len(self.fractions)} fractions")
        check_alike(self._members)

    @property
    def _members(self) -> list[Denoiser]:
        return list(self.denoisers)  # type: ignore[arg-type]

    @property
    def path(self) -> Path:
        """The path of all."""
        return self._members[0].path

    @property
    def autocast(self) -> torch.dtype | None:
        """The dtype in which all compute, or None for that of their weights."""
        return members(self)[0].autocast

    def allocation(self, grid: Float[Tensor, "times"]) -> list[int]:
        """Return which denoiser takes each step of a grid, noisiest first."""
        return self.rule(self.fractions, clock(self.path, grid))

    def on(self, grid: Float[Tensor, "times"]) -> Stitched:
        """Return the denoiser for a walk along a grid."""
        return stitched(self._members, self.allocation(grid), grid)

    def forward(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate by the denoiser of each row's time."""
        sums = accumulate(self.fractions)
        ends = [
            (min(max(1 - end, 0.0), 1.0), member)
            for end, fraction, member in zip(sums, self.fractions, self._members, strict=True)
            if fraction > 0
        ]
        ends.reverse()
        # The room next to data has no cut below it.
        cuts = Partition(tuple(cut for cut, _ in ends[1:]))
        return Stitched(tuple(member for _, member in ends), cuts)(x, t, y)


def on_grid(denoiser: Denoiser, grid: Float[Tensor, "times"]) -> Denoiser:
    """Return what a sampler shall follow along a grid: of a team, its steps dealt out."""
    return denoiser.on(grid) if isinstance(denoiser, Team) else denoiser


def members(denoiser: Denoiser) -> list[NetworkDenoiser]:
    """Return the single denoisers in a generator's, the smallest first."""
    held = denoiser.modules() if isinstance(denoiser, nn.Module) else iter(())
    return [each for each in held if isinstance(each, NetworkDenoiser)]


__all__ = ["Team", "members", "on_grid"]
