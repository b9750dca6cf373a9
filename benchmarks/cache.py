"""Items of a latent cache read in random order, against other layouts of the same latents.

    python benchmarks/cache.py [--items 4000] [--docs docs/data.md]

Everything is written by this run, read once to warm the page cache, and then read in one order that
is the same for all. Time is CPU time of the process, so a busy machine counts for little; the best
of some rounds is taken. With --docs the table is put into a page.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pages import markdown, put
from safetensors import safe_open
from safetensors.numpy import save_file

from mezzotint.data.cache import open_cache
from mezzotint.data.encode import Job, fill, finish, missing
from mezzotint.data.images import InMemory
from mezzotint.tokenizers.base import LatentSpec

SHAPE = (8, 32, 32)  # of float16: 16 kB, a latent of 256 px of the f8 autoencoder with its moments
BATCH = 256
Read = Callable[[np.ndarray], object]


class Random:
    """A tokenizer that makes what is stored here out of nothing: the numbers do not matter."""

    spec = LatentSpec(shape=(4, 32, 32), image=(8, 8), fingerprint="benchmark")

    def encode(self, images):
        return torch.randn(len(images), *SHAPE)

    def latents(self, codes, noise):  # noqa: ARG002
        return codes[:, :4]


def prepare(folder: Path, items: int) -> dict[str, Read]:
    """Write the same latents in every layout, and return what reads rows of each."""
    pixels = torch.zeros(items, 3, 8, 8, dtype=torch.uint8)
    images = InMemory(pixels, torch.arange(items) % 10, tuple("0123456789"), "")
    job = Job(images, Random(), {}, {}, per_shard=1000)
    fill(job, folder / "cache", missing(job, folder / "cache"))
    finish(job, folder / "cache")
    cache = open_cache(folder / "cache")
    latents = cache.read(torch.arange(items))[:, 0].numpy()
    for name in ("npy", "npz"):
        (folder / name).mkdir()
    for row, each in enumerate(latents):
        np.save(folder / "npy" / f"{row}.npy", each)
        np.savez(folder / "npz" / f"{row}.npz", moments=each, moments_flip=each)
    save_file({"latents": latents}, folder / "one.safetensors")

    def npz(rows):
        return [np.load(folder / "npz" / f"{row}.npz")["moments"] for row in rows]

    def reopened(rows):
        found = []
        for row in rows:
            with safe_open(folder / "one.safetensors", "np") as file:
                found.append(file.get_slice("latents")[row])
        return found

    return {
        "one .npz an image (MAR's)": npz,
        "one .npy an image (fast-DiT's)": lambda rows: [
            np.load(folder / "npy" / f"{row}.npy") for row in rows
        ],
        "safetensors reopened for each item (LightningDiT's)": reopened,
        "**mezzotint's cache**": lambda rows: cache.read(torch.from_numpy(rows)),
    }


def rate(read: Read, order: np.ndarray, rounds: int) -> float:
    """Return items a CPU second of the best round."""
    best = 0.0
    for _ in range(rounds):
        started = time.process_time()
        for first in range(0, len(order), BATCH):
            read(order[first : first + BATCH])
        best = max(best, len(order) / (time.process_time() - started))
    return best


def table(rates: dict[str, float], items: int) -> str:
    """Return the rows of a page."""
    ours = rates["**mezzotint's cache**"]
    rows = [[name, f"{r:,.0f}", f"{ours / r:.1f}"] for name, r in rates.items()]
    head = ["layout", "items a CPU second", "ours over it"]
    about = (
        f"{items:,} items of {' x '.join(map(str, SHAPE))} float16 (16 kB), random order, batches "
        f"of {BATCH}, page cache warm, one run on {platform.machine()}, one thread"
    )
    return f"{markdown([head, *rows])}\n{about}.\n"


def main() -> None:
    """Measure, print, and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--docs", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    order = np.random.default_rng(0).permutation(chosen.items)
    with tempfile.TemporaryDirectory() as folder:
        layouts = prepare(Path(folder), chosen.items)
        rates = {name: rate(read, order, chosen.rounds) for name, read in layouts.items()}
    text = table(rates, chosen.items)
    print(text)
    if chosen.docs is not None:
        put(chosen.docs, "cache", text)


if __name__ == "__main__":
    main()
