"""What a tokenizer gives back of images, in the numbers that a run and a card tell."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from mezzotint.data.images import Images, held_out_of, spread
from mezzotint.errors import ConfigError, DataError
from mezzotint.evaluation.paired import PSNR
from mezzotint.evaluation.reconstruction import standard
from mezzotint.stored import NetworkTokenizer
from mezzotint.tokenizers.vq import use

_AT_A_TIME: Final = 64
EXAMPLES: Final = 16
"""Images that the sheet of a tokenizer shows."""
_MEASURED: Final = 2000

Pictures = UInt8[Tensor, "b 3 H W"]


@dataclass(frozen=True)
class Restoration:
    """What came back of some images.

    Attributes:
        each: metric to a value an image.
        codebook: how many codes were used, and how evenly; empty where there is no codebook.
    """

    each: dict[str, Float64[Tensor, "n"]]
    codebook: dict[str, float]

    @classmethod
    def of(
        cls,
        restored: Callable[[Pictures], Pictures],
        encoded: Callable[[Pictures], Tensor],
        images: Images,
        rows: Int64[Tensor, "n"],
        vocabulary: int,
    ) -> "Restoration":
        """Pass images through a tokenizer, nothing being drawn.

        Args:
            restored: what comes back of images.
            encoded: their codes; asked where there is a codebook.
            images: a set of them.
            rows: which of it.
            vocabulary: size of the codebook, 0 without one.
        """
        metrics = standard(images.size)
        found: dict[str, list[Tensor]] = {metric.name: [] for metric in metrics}
        codes = []
        for part in rows.split(_AT_A_TIME):
            given = images.read(part)
            back = restored(given).cpu()
            codes += [encoded(given).flatten().cpu()] if vocabulary else []
            for metric in metrics:
                found[metric.name].append(metric(back, given))
        each = {name: torch.cat(parts) for name, parts in found.items()}
        return cls(each, use(torch.cat(codes), vocabulary) if codes else {})

    @property
    def psnr(self) -> Float64[Tensor, "n"]:
        """In dB, of each image."""
        return self.each[PSNR().name]

    def tree(self, prefix: str = "") -> dict[str, float]:
        """Return the means over the images, and the use of the codebook."""
        means = {f"{prefix}{name.lower()}": float(each.mean()) for name, each in self.each.items()}
        return means | {f"{prefix}codes_{name}": value for name, value in self.codebook.items()}


def measured(tokenizer: NetworkTokenizer) -> NetworkTokenizer:
    """Return a tokenizer with how its data's held-out images come back, 2,000 at most, in its tree.

    It has some of them as examples too. Where the data, or held-out images, are not at hand here,
    it is returned as it is.
    """
    try:
        images = held_out_of(tokenizer.tree)
    except (ConfigError, DataError):
        return tokenizer
    if not len(images):
        return tokenizer
    rows, count = spread(len(images), _MEASURED), tokenizer.spec.vocabulary
    found = Restoration.of(tokenizer.restored, tokenizer.encode, images, rows, count)
    shown = images.labels[rows]
    classes = {
        name: float(found.psnr[shown == label].mean())
        for label, name in enumerate(images.classes)
        if bool((shown == label).any())
    }
    told: dict[str, Any] = {"images": len(rows), **found.tree(), "psnr_by_class": classes}
    examples = images.read(spread(len(images), EXAMPLES))
    return replace(tokenizer, tree={**tokenizer.tree, "held_out": told}, examples=examples)


__all__ = ["EXAMPLES", "Restoration", "measured"]
