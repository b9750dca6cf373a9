"""The samples that `mezzotint evaluate --model` draws before it measures them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mezzotint.cli import shared
from mezzotint.errors import DataError

if TYPE_CHECKING:
    from mezzotint.draws import Draws
    from mezzotint.evaluation.sources import Source
    from mezzotint.generator import Generator
    from mezzotint.training.distributed import Ranks


@dataclass(frozen=True)
class Wish:
    """Samples that are to be drawn from a model."""

    model: str
    folder: Path
    count: int
    seed: int
    batch: int

    def check(self, made: "Generator", real: "Source") -> None:
        """Refuse a reference whose size is another, before anything is drawn."""
        size = made.tokenizer.spec.image[0]
        if real.images is not None and real.images.size != size:
            raise DataError(
                f"{self.model} draws {size} px and {real.name} is {real.images.size} px; give a "
                f"reference of that size, or --size {size} to crop a folder there"
            )

    def drawn(self, made: "Generator", group: "Ranks", like: "Source | None") -> Path:
        """Draw what is missing, each process its shards; return the folder.

        Args:
            made: what draws.
            group: the processes.
            like: whose shares of the classes the samples get; None means equally often.
        """
        from mezzotint.draws import Draws
        from mezzotint.evaluation.choices import class_shares

        shares = () if like is None else class_shares(like, made.classes)
        draws = Draws(made, self.model, self.folder, self.count, self.seed, self.batch, shares)
        if group.first and (there := draws.open()):
            shared.say(f"{there:,} of {self.count:,} samples are there already")
        group.wait()
        _draw(draws, group)
        group.wait()
        return self.folder


def _draw(draws: "Draws", group: "Ranks") -> None:
    import time

    missing = draws.missing(rank=group.rank, ranks=group.count)
    if not missing:
        return
    started, done = time.monotonic(), 0
    with shared.progress("sampling", missing if group.first else 0) as bar:
        for drawn in draws.draw(rank=group.rank, ranks=group.count):
            done += drawn
            if group.first:
                bar.at(done, f"{done / (time.monotonic() - started):.1f} images/s")
