"""Many samples of one generator in a folder, shard by shard, so that a killed run goes on.

Image k has seed `first + k`, and its class follows from k and the shares of the classes alone. A
shard is an .npz as ADM's evaluator reads it, and stands in the folder when it is whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mezzotint import config
from mezzotint.data.shards import MANIFEST, shard_name
from mezzotint.data.write import npz_stream
from mezzotint.errors import ConfigError, OutputError
from mezzotint.files import remove_drafts
from mezzotint.generator import Generator

SHARD: Final = 256
"""Images a shard; small, so that little is lost, and whole batches for every usual batch size."""
POLICIES: Final = ("balanced", "as the reference")


def apportioned(shares: Sequence[int], count: int) -> list[int]:
    """Return the class of each image: always the one that is furthest behind its share.

        argmax_c of (k + 1) share_c / sum(share) - drawn_c, the lowest c of several

    So the first n are the same whatever the count, and no class is ever a whole image ahead.

    Args:
        shares: weights of the classes, not all 0.
        count: number of images.
    """
    total, drawn, found = sum(shares), [0] * len(shares), []
    for k in range(1, count + 1):
        behind = [k * share - total * n for share, n in zip(shares, drawn, strict=True)]
        chosen = behind.index(max(behind))
        drawn[chosen] += 1
        found.append(chosen)
    return found


@dataclass(frozen=True)
class Draws:
    """Samples to be drawn into a folder.

    Args:
        generator: what draws.
        name: of the model, for the manifest.
        folder: where; made if it is missing.
        count: number of images.
        seed: of the first image.
        batch: images at a time.
        shares: how often each class is drawn, such as its number of training images; () means
            equally often. Distances compare whole sets, so a reference with frequent and rare
            classes wants samples of the same shares.
    """

    generator: Generator
    name: str
    folder: Path
    count: int
    seed: int = 0
    batch: int = 64
    shares: tuple[int, ...] = ()

    def open(self) -> int:
        """Prepare the folder, or take up what it holds; return how many images are there already.

        Raises:
            ConfigError: the folder holds samples of another model, recipe or seed.
            OutputError: it holds something else.
        """
        path = self.folder / MANIFEST
        wanted = config.dump(self.manifest())
        if path.exists():
            held = self._filled(config.read(path))
            keys = sorted(k for k in wanted if k != "count" and held.get(k) != wanted[k])
            if keys:
                raise ConfigError(
                    f"{self.folder} holds samples made with another {', '.join(keys)}; choose "
                    "another --out, or --force to move them aside"
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise OutputError(f"{self.folder}: holds something else; choose another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_drafts(self.folder)
        config.write_json(path, wanted)
        return self.count - self.missing()

    def _filled(self, held: dict[str, Any]) -> dict[str, Any]:
        """Return a manifest with the defaults of settings that its sampling did not have yet."""
        now = self.generator.sampling
        tree = {k: v for k, v in held.get("sampling", {}).items() if k != "kind"}
        try:
            return {**held, "sampling": config.dump(config.build(type(now), tree))}
        except ConfigError:
            return held

    def missing(self, *, rank: int = 0, ranks: int = 1) -> int:
        """Return how many images of this rank's shards are not there yet."""
        return sum(len(rows) for rows in self._mine(rank, ranks))

    def manifest(self) -> dict[str, Any]:
        """Return what the samples are made from."""
        made = self.generator
        return {
            "model": self.name,
            "weights_digest": made.digest,
            "sampling": made.sampling,
            "classes": list(made.classes),
            "label_policy": POLICIES[bool(self.shares)],
            "class_shares": list(self.shares),
            "seed": self.seed,
            "count": self.count,
            "dtype": str(getattr(made.denoiser, "autocast", None) or "float32"),
            "provenance": made.tree.get("provenance", {}),
        }

    def _labels(self) -> list[int]:
        shares = self.shares or (1,) * max(len(self.generator.classes), 1)
        return apportioned(shares, self.count)

    def draw(self, *, rank: int = 0, ranks: int = 1) -> Iterator[int]:
        """Draw what is missing of this rank's shards, yielding how many images each added.

        Args:
            rank, ranks: this process among all; shard k belongs to rank k mod `ranks`.
        """
        labels = self._labels()
        for rows in self._mine(rank, ranks):
            self._write(rows, labels[rows.start : rows.stop])
            yield len(rows)

    def _write(self, rows: range, labels: Sequence[int]) -> None:
        made = self.generator
        seeds = [self.seed + k for k in rows]
        path, size = self.folder / self._file(rows), made.tokenizer.spec.image
        with npz_stream(path, len(rows), size) as write:
            done = 0
            for images in made.stream(labels, seeds, batch=self.batch):
                part = slice(done, done + len(images))
                write(images, labels[part], seeds[part])
                done = part.stop

    def _mine(self, rank: int, ranks: int) -> list[range]:
        starts = range(0, self.count, SHARD)[rank::ranks]
        shards = [range(first, min(first + SHARD, self.count)) for first in starts]
        return [rows for rows in shards if not (self.folder / self._file(rows)).exists()]

    @staticmethod
    def _file(rows: range) -> str:
        # The size stands in the name: a shard that a smaller count cut short is made anew.
        return shard_name(rows.start, len(rows))


__all__ = ["SHARD", "Draws", "apportioned"]
