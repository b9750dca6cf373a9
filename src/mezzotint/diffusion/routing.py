"""Routing over time: one partition of (0, 1] says which of several pieces answers where.

    rooms (0, c_1], (c_1, c_2], ..., (c_n, 1], from data to noise

T-Stitch (Pan et al., arXiv 2402.14167) gives the room next to noise to a small denoiser.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import Path
from mezzotint.errors import ConfigError


@dataclass(frozen=True)
class Partition:
    """Rooms of the time axis, from data to noise, each with its noisy end: (lo, hi].

    What lies at 0 belongs to the first room, what lies above the last cut to the last one. Cuts
    may coincide: the room between them is empty.

    Args:
        cuts: n times in [0, 1], ascending, between n + 1 rooms.

    Raises:
        ConfigError: a cut outside [0, 1], or one that is below the cut before it.
    """

    cuts: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "cuts", tuple(float(cut) for cut in self.cuts))
        inside = all(0 <= cut <= 1 for cut in self.cuts)
        if not inside or any(low > high for low, high in pairwise(self.cuts)):
            raise ConfigError(f"cuts {self.cuts}: expected ascending times in [0, 1]")

    @property
    def rooms(self) -> int:
        """How many rooms there are."""
        return len(self.cuts) + 1

    def rooms_of(self, t: Float[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Return the room of each time, 0 next to data."""
        return torch.bucketize(t, t.new_tensor(self.cuts))

    def route(self, t: Float[Tensor, "b"]) -> Iterator[tuple[int, Int[Tensor, "n"]]]:
        """Yield each occupied room with the rows of the batch in it."""
        rooms = self.rooms_of(t)
        for room in rooms.unique().tolist():
            yield room, (rooms == room).nonzero()[:, 0]


@dataclass(frozen=True)
class Stitched:
    """Several denoisers on one trajectory: each answers in its own room of the time axis.

    Every row is routed by its own time. A batch in one room reaches its denoiser as it is, so that
    nothing of it changes, not even a bit. A sampler with history keeps it across a cut, as the
    release does. Guidance goes around it (one scale for all, as published) or inside it (a scale
    for each). Pan et al., arXiv 2402.14167, section 3.2.

    Args:
        pieces: a denoiser a room, from data to noise: the large one first. One may stand in
            several rooms.
        partition: the rooms.

    Raises:
        ConfigError: not as many pieces as rooms, or pieces of other paths, latents or classes.
    """

    pieces: tuple[Denoiser, ...]
    partition: Partition

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", tuple(self.pieces))
        if len(self.pieces) != self.partition.rooms:
            raise ConfigError(
                f"{len(self.pieces)} denoisers for {self.partition.rooms} rooms; expected one a "
                "room, from data to noise"
            )
        check_alike(self.pieces)

    @property
    def path(self) -> Path:
        """The path of all pieces."""
        return self.pieces[0].path

    def __call__(
        self, x: Float[Tensor, "b ..."], t: Float[Tensor, "b"], y: Shaped[Tensor, "b ..."]
    ) -> Estimate:
        """Estimate every row by the denoiser of its room."""
        routed = list(self.partition.route(t))
        if len(routed) == 1:
            return self.pieces[routed[0][0]](x, t, y)
        found = []
        for room, rows in routed:
            there = rows.to(x.device)
            found.append((there, self.pieces[room](x[there], t[rows], y[there])))
        return _gathered(x, found)


def _gathered(x: Float[Tensor, "b ..."], parts: Sequence[tuple[Tensor, Estimate]]) -> Estimate:
    """Put the rows of several estimates back where they were."""
    whole: dict[str, Any] = {}
    for field in fields(Estimate):
        values = [(rows, getattr(estimate, field.name)) for rows, estimate in parts]
        known = [value for _, value in values if value is not None]
        if known and len(known) < len(values):
            raise ConfigError(
                f"times of one batch are in rooms of denoisers with and without {field.name}; "
                "give each batch one time, or stitch denoisers that estimate the same things"
            )
        if known:
            joined = known[0].new_empty((len(x), *known[0].shape[1:]))
            for rows, value in values:
                joined[rows] = value
            whole[field.name] = joined
    return Estimate(**whole)


def stitched(
    pieces: Sequence[Denoiser], allocation: Sequence[int], grid: Float[Tensor, "times"]
) -> Stitched:
    """Stitch denoisers so that step k of a grid is answered by `pieces[allocation[k]]`.

    A cut stands at the first time of the steps behind it, so what a solver asks between the times
    of a step, or ahead of it, is answered by whoever the time belongs to. A denoiser without a
    step is left out.

    Args:
        pieces: denoisers, in the order that the allocation counts them.
        allocation: for each step, noisiest first, the index of its denoiser; in any order.
        grid: the times of the steps and the end of the last one.

    Raises:
        ConfigError: not one index a step, or pieces that do not fit together.
    """
    if len(allocation) != len(grid) - 1 or not len(allocation):
        raise ConfigError(f"{len(allocation)} indices for a grid of {len(grid) - 1} steps")
    check_alike(pieces)
    times = grid.tolist()
    changes = [k for k in range(1, len(allocation)) if allocation[k] != allocation[k - 1]]
    runs = [pieces[allocation[k]] for k in (0, *changes)]
    return Stitched(tuple(reversed(runs)), Partition(tuple(times[k] for k in reversed(changes))))


def check_alike(pieces: Sequence[Denoiser]) -> None:
    """Refuse denoisers that cannot share a trajectory; says which of the checks failed.

    What a network does not tell is not checked: the latents' shape and the null class are those of
    the network inside, where there is one.

    Raises:
        ConfigError: another path, other latents or another number of classes.
    """
    if not pieces:
        raise ConfigError("no denoiser to stitch; expected one or more")
    first, checks = pieces[0], {"latents": "latent", "null class": "null"}
    for place, other in enumerate(pieces[1:], 1):
        if path_of(other) != path_of(first):
            raise ConfigError(
                f"denoiser {place} is on the path {other.path}, the first on {first.path}; "
                "stitched models share one noise schedule"
            )
        for what, name in checks.items():
            ours, theirs = (getattr(network_in(each), name, None) for each in (first, other))
            if None not in {ours, theirs} and ours != theirs:
                raise ConfigError(
                    f"denoiser {place} has another {what} than the first, {theirs} and not "
                    f"{ours}; stitched models share one latent space and its classes"
                )


def path_of(denoiser: object) -> Path:
    """Return the noise schedule of what a generator draws from.

    Raises:
        ConfigError: it walks from no noise.
    """
    if not hasattr(denoiser, "path"):
        raise ConfigError(
            "a masked model walks from no noise, so nothing can steer it on its way; expected a "
            "diffusion model"
        )
    found: Path = denoiser.path
    return found


def network_in(denoiser: object) -> object | None:
    """Return the network inside of a denoiser, through whatever is around it; None if unknown."""
    while denoiser is not None and not hasattr(denoiser, "network"):
        denoiser = getattr(denoiser, "inner", None)
    return getattr(denoiser, "network", None)


__all__ = ["Partition", "Stitched", "check_alike", "network_in", "path_of", "stitched"]
