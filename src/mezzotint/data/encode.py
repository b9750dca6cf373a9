"""Filling a latent cache: shard by shard, so that a killed job goes on and processes share it.

Shard s holds images s * per_shard to (s + 1) * per_shard. It appears under its name when it is
whole, and is a function of the job alone: whoever writes it, whenever, writes the same bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Int64, Shaped
from safetensors.torch import save_file
from torch import Tensor

from mezzotint import config
from mezzotint.data.cache import (
    FLIP,
    INDEX,
    LABEL,
    MANIFEST,
    Manifest,
    Shard,
    check,
    read_manifest,
)
from mezzotint.data.images import Images
from mezzotint.data.mapped import DTYPES, layout, mapped, note
from mezzotint.digest import digest_of_file
from mezzotint.errors import DataError, OutputError
from mezzotint.files import remove_drafts, replace_file, write_text
from mezzotint.noise import SeededNoise, mix
from mezzotint.tokenizers.base import Tokenizer
from mezzotint.tokenizers.vq import use

Told = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""

PRECISIONS: Final = {"fp16": torch.float16, "fp32": torch.float32}
BATCH: Final = 32
"""Images that are encoded together; part of what the bytes depend on, hence no setting."""


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """What is encoded, by what, and how.

    Attributes:
        images: pictures.
        tokenizer: encodes them.
        made_by: config tree of the tokenizer.
        data: config tree of the pictures.
        precision: of codes that are real numbers: "fp16" or "fp32".
        flips: encode the mirror images too.
        per_shard: images in every shard but the last.
        device: where the tokenizer works.
    """

    images: Images
    tokenizer: Tokenizer
    made_by: Mapping[str, Any]
    data: Mapping[str, Any]
    precision: str = "fp16"
    flips: bool = False
    per_shard: int = 4096
    device: str = "cpu"
    told: Told = field(default=_silent, repr=False)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return ceil(len(self.images) / self.per_shard)

    def name(self, shard: int) -> str:
        """Return the name of a shard's file."""
        return f"latents-{shard:05d}-of-{self.shards:05d}.safetensors"

    def rows(self, shard: int) -> Int64[Tensor, "n"]:
        """Return the rows of the images in a shard."""
        first = shard * self.per_shard
        return torch.arange(first, min(first + self.per_shard, len(self.images)))

    @cached_property
    def key(self) -> str:
        """What the bytes of the shards depend on, as a digest."""
        content = [
            self.tokenizer.spec.model_dump(mode="json"),
            self.images.digest,
            len(self.images),
            self.precision,
            self.flips,
            self.per_shard,
        ]
        return sha256(json.dumps(content).encode()).hexdigest()

    @property
    def codes(self) -> str:
        """What the tensor of codes is called."""
        return "tokens" if self.tokenizer.spec.vocabulary else "codes"

    def encode(self, rows: Int64[Tensor, "b"], *, flip: bool) -> Shaped[Tensor, "b ..."]:
        """Return the codes of some images, as they are stored.

        Raises:
            DataError: a code is beyond what the precision can hold.
        """
        images = self.images.read(rows)
        codes = self.tokenizer.encode((images.flip(3) if flip else images).to(self.device)).cpu()
        if not codes.is_floating_point():
            vocabulary = self.tokenizer.spec.vocabulary
            narrow = torch.int16 if vocabulary <= 2**15 else torch.int32
            return codes.to(narrow) if vocabulary else codes
        stored = codes.to(PRECISIONS[self.precision])
        if not bool(stored.isfinite().all()):
            raise DataError(
                f"images {int(rows[0])} to {int(rows[-1])}: a code is beyond {self.precision}; "
                "encode with --precision fp32, and look whether the tokenizer is sound"
            )
        return stored


def start(job: Job, folder: Path) -> None:
    """Look whether a folder can take a job's shards: it is new, or holds some of the same job.

    Raises:
        OutputError: it holds something else, or shards of another job.
        DataError: there are no images.
    """
    if not len(job.images):
        raise DataError("no images to encode")
    if folder.is_file():
        raise OutputError(f"{folder}: is a file; choose another --out")
    if not folder.is_dir():
        return
    remove_drafts(folder)
    known = {MANIFEST, "held_out", *map(job.name, range(job.shards))}
    foreign = [each.name for each in sorted(folder.iterdir()) if each.name not in known]
    if foreign:
        raise OutputError(
            f"{folder}: holds something else ({foreign[0]}); choose another --out, or --force to "
            "move it aside"
        )
    for shard in range(job.shards):
        path = folder / job.name(shard)
        if path.exists() and note(path).get("key") != job.key:
            raise OutputError(
                f"{folder}: holds latents of another job (other images, tokenizer, precision, "
                "flips or shards); choose another --out, or --force to move them aside"
            )


def missing(job: Job, folder: Path) -> list[int]:
    """Return the shards that are not there, or not as the manifest says.

    A damaged file that a manifest speaks of is encoded again.
    """
    said = {}
    if (folder / MANIFEST).exists():
        said = {shard.file: shard for shard in read_manifest(folder).shards}
    return [
        shard
        for shard in range(job.shards)
        if not _whole(folder, job.name(shard), said.get(job.name(shard)))
    ]


def _whole(folder: Path, name: str, said: Shard | None) -> bool:
    if not (folder / name).exists():
        return False
    try:
        if said is not None:
            check(folder, said, verify=True)
        mapped(folder / name)
    except DataError:
        return False
    return True


def fill(job: Job, folder: Path, shards: Sequence[int]) -> None:
    """Write some shards.

    Args:
        job: what is encoded.
        folder: where; made if it is missing.
        shards: which; this process's share of the missing ones.
    """
    total, done = sum(len(job.rows(shard)) for shard in shards), 0
    for shard in shards:
        tensors: dict[str, list[Tensor]] = {}
        sums = _Sums()
        for rows in job.rows(shard).split(BATCH):
            for name, flip in ((job.codes, False), (job.codes + FLIP, True))[: 1 + job.flips]:
                codes = job.encode(rows, flip=flip)
                tensors.setdefault(name, []).append(codes)
                sums.add(job.tokenizer, codes, rows)
            done += len(rows)
            job.told(done, total)
        rows = job.rows(shard)
        # Codes may be views of other layouts, which `cat` keeps and a file cannot hold.
        ready = {name: torch.cat(blocks).contiguous() for name, blocks in tensors.items()}
        ready |= {LABEL: job.images.labels[rows].clone(), INDEX: rows}
        # One entry: safetensors writes several in no fixed order.
        header = {"mezzotint": json.dumps({"key": job.key, "sums": sums.plain()})}
        _save(folder / job.name(shard), ready, header)


def _save(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    replace_file(path, lambda draft: save_file(dict(tensors), draft, metadata=header))


def finish(job: Job, folder: Path) -> Manifest:
    """Write the manifest over all shards, and return it."""
    shards, notes = [], []
    for shard in range(job.shards):
        path = folder / job.name(shard)
        size = path.stat().st_size
        rows = len(job.rows(shard))
        shards.append(Shard(file=path.name, rows=rows, bytes=size, digest=digest_of_file(path)))
        notes.append(note(path)["sums"])
    entry = layout(folder / shards[0].file)[0][job.codes]
    spec, images = job.tokenizer.spec, job.images
    made = Manifest(
        tokenizer=dict(job.made_by),
        fingerprint=spec.fingerprint,
        vocabulary=spec.vocabulary,
        size=images.size,
        name=job.codes,
        shape=tuple(entry["shape"][1:]),
        dtype=entry["dtype"],
        flips=job.flips,
        classes=images.classes,
        counts=tuple(torch.bincount(images.labels, minlength=len(images.classes)).tolist()),
        per_shard=job.per_shard,
        shards=tuple(shards),
        statistics=_used(job, folder) if spec.vocabulary else _channels(notes),
        data=dict(job.data),
        data_digest=images.digest,
    )
    assert made.dtype in DTYPES, f"a cache cannot hold {made.dtype}"
    text = json.dumps(config.dump(made), indent=1, ensure_ascii=False) + "\n"
    write_text(folder / MANIFEST, text)
    return made


class _Sums:
    """Sums of the latents of a shard and of their squares, for each channel, in float64."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()).double(), torch.zeros(()).double()

    def add(self, tokenizer: Tokenizer, codes: Tensor, rows: Int64[Tensor, "b"]) -> None:
        """Take in a block: latents are drawn as a generator will see them, from fixed seeds."""
        if tokenizer.spec.vocabulary:
            return
        plain = codes.float() if codes.is_floating_point() else codes
        noise = SeededNoise([mix(8, row) for row in rows.tolist()])
        x = tokenizer.latents(plain, noise).double().movedim(1, 0).flatten(1)
        self.count += x.shape[1]
        self.first = self.first + x.sum(1)
        self.second = self.second + x.square().sum(1)

    def plain(self) -> dict[str, Any]:
        """Return them as JSON; floats survive it exactly."""
        return {"n": self.count, "first": self.first.tolist(), "second": self.second.tolist()}


def _channels(notes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation of each channel over all items."""
    count = sum(each["n"] for each in notes)
    first, second = (
        sum(torch.tensor(each[key], dtype=torch.float64) for each in notes) / count
        for key in ("first", "second")
    )
    deviation = (second - first.square()).clamp(min=0).sqrt()
    return {"mean": first.tolist(), "deviation": deviation.tolist()}


def _used(job: Job, folder: Path) -> dict[str, Any]:
    """Return how many codes are used, and exp of the entropy of their use, over all tokens."""
    parts = [
        torch.from_numpy(mapped(folder / job.name(shard))[name].ravel().copy())
        for shard in range(job.shards)
        for name in (job.codes, job.codes + FLIP)[: 1 + job.flips]
    ]
    return use(torch.cat(parts), job.tokenizer.spec.vocabulary)


__all__ = ["BATCH", "PRECISIONS", "Job", "fill", "finish", "missing", "start"]
