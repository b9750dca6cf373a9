"""Whether samples are copies of training images: the nearest one to each, in features and pixels.

How near is too near is read off real images that were never trained on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import inf, sqrt

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mezzotint.errors import DataError
from mezzotint.evaluation.moments import BLOCK
from mezzotint.evaluation.neighbours import Neighbours, nearest, nearest_within


@dataclass(frozen=True)
class Pair:
    """A sample and the training image that it resembles most.

    Attributes:
        sample, training: their row numbers.
        distance: between their features; 0 where pixels alone were compared.
    """

    sample: int
    training: int
    distance: float


@dataclass(frozen=True)
class Memorisation:
    """How near samples are to the training images.

    Read it so. `share` is about `level` if the model has memorised nothing: real images that it
    never saw come as near that often. `noise` says how far chance moves it; three times that above
    `level` is a finding. Below `level`, and with `ratio` above 1, samples are farther from the
    training images than real ones are: not memorised, but perhaps not realistic either, so read
    it beside precision. Then look at `pairs`: features that ignore detail make neighbours of
    images that a person tells apart. `copies` above 0 needs no statistics.

    Attributes:
        share: share of samples nearer to a training image than `threshold`, in [0, 1].
        level: the quantile that set the threshold; what `share` is expected to be.
        noise: standard deviation of `share` by chance, sqrt(level (1 - level) (1/n + 1/h)) for n
            samples and h real images.
        threshold: that quantile of the real images' distances.
        ratio: median distance of a sample over that of a real image; inf if the latter is 0.
        copies: samples whose features equal those of a training image.
        pairs: the nearest samples with their training images, nearest first.
        leave_one_out: whether there were no held-out images and each training image, against all
            the others, stood in for one. Where training images come in near-duplicates, this
            threshold is lower and misses copies.
    """

    share: float
    level: float
    noise: float
    threshold: float
    ratio: float
    copies: int
    pairs: tuple[Pair, ...]
    leave_one_out: bool


def memorisation(
    samples: Float[Tensor, "n d"],
    training: Float[Tensor, "m _d"],
    held_out: Float[Tensor, "h _d"],
    *,
    level: float = 0.05,
    pairs: int = 16,
    block: int = BLOCK,
) -> Memorisation:
    """Compare the samples' distances to the training images with those of unseen real images.

    d(x) = min over training rows of |x - t|; threshold = the `level` quantile of d over
    `held_out`; share = |{s: d(s) < threshold}| / n.

    Args:
        samples, training: features on the CPU, at least one row each; may be memory-mapped.
        held_out: features of real images outside the training set; without rows (0, d), the
            training images stand in, each left out once.
        level: in (0, 1); at least 1/level held-out rows make it mean something.
        pairs: how many of the nearest samples to name.
        block: rows of either set in memory at once; moves no number.

    Raises:
        DataError: a set is empty, `level` is not in (0, 1), or features have different lengths.
        NumericError: a feature is not finite.

    Source: the ratio to held-out distances follows Meehan et al. 2020, arXiv:2004.05675.
    """
    return nearness(samples, training, held_out, block=block).memorisation(level=level, pairs=pairs)


@dataclass(frozen=True, eq=False)
class Nearness:
    """The nearest training image of every sample, and of every real image beside them.

    Attributes:
        ours: of the samples.
        real: of the held-out images; without any, of each training image among all the others.
        leave_one_out: whether the latter.
    """

    ours: Neighbours
    real: Neighbours
    leave_one_out: bool

    def memorisation(self, *, level: float = 0.05, pairs: int = 16) -> Memorisation:
        """Compare the two, as the function `memorisation` does."""
        if not 0 < level < 1:
            raise DataError(f"level: {level}, expected a share between 0 and 1; try 0.05")
        ours, theirs = self.ours.distances[:, 0], self.real.distances[:, 0]
        threshold = _quantile(theirs, level)
        middle = _quantile(theirs, 0.5)
        return Memorisation(
            share=(ours < threshold).double().mean().item(),
            level=level,
            noise=sqrt(level * (1 - level) * (1 / len(ours) + 1 / len(theirs))),
            threshold=threshold,
            ratio=_quantile(ours, 0.5) / middle if middle > 0 else inf,
            copies=int((ours == 0).sum()),
            pairs=_closest(self.ours, pairs),
            leave_one_out=self.leave_one_out,
        )


def nearness(
    samples: Float[Tensor, "n d"],
    training: Float[Tensor, "m d"],
    held_out: Float[Tensor, "h _d"],
    *,
    block: int = BLOCK,
) -> Nearness:
    """Search the training images once; arguments and errors are those of `memorisation`."""
    for name, rows in (("samples", samples), ("training images", training)):
        if not len(rows):
            raise DataError(f"memorisation: no {name}; expected features of at least one image")
    alone = len(held_out) == 0
    real = (
        nearest_within(training, block=block) if alone else nearest(held_out, training, block=block)
    )
    return Nearness(nearest(samples, training, block=block), real, alone)


def identical(
    samples: Iterable[UInt8[Tensor, "_b _c _h _w"]],
    training: Iterable[UInt8[Tensor, "_b _c _h _w"]],
) -> tuple[Pair, ...]:
    """Find samples that equal a training image pixel by pixel.

    Args:
        samples, training: batches of images, read once each; of the training images only a digest
            of 32 bytes is kept, of equal ones the first.

    Returns:
        One pair a sample that is a copy, by sample; its length is their number.
    """
    known: dict[bytes, int] = {}
    for row, digest in enumerate(_digests(training)):
        known.setdefault(digest, row)
    return tuple(
        Pair(row, known[digest], 0.0)
        for row, digest in enumerate(_digests(samples))
        if digest in known
    )


def _quantile(values: Float[Tensor, "n"], level: float) -> float:
    """Interpolate between order statistics, as numpy does; torch's own stops at 16 million."""
    ordered = values.sort().values
    place = level * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return torch.lerp(ordered[low], ordered[high], place - low).item()


def _closest(found: Neighbours, count: int) -> tuple[Pair, ...]:
    order = found.distances[:, 0].argsort(stable=True)[:count].tolist()
    return tuple(
        Pair(row, int(found.rows[row, 0]), found.distances[row, 0].item()) for row in order
    )


def _digests(batches: Iterable[UInt8[Tensor, "_b _c _h _w"]]) -> Iterator[bytes]:
    for batch in batches:
        shape = repr(tuple(batch.shape[1:])).encode()
        for image in batch:
            yield sha256(shape + image.cpu().contiguous().numpy().tobytes()).digest()


__all__ = ["Memorisation", "Nearness", "Pair", "identical", "memorisation", "nearness"]
