"""The tables of docs/tokenizers.md on the law of ViTok, at small scale.

    python benchmarks/bottlenecks.py --steps 20 --count 32    # tries it; prints, writes nothing
    python benchmarks/bottlenecks.py                          # trains what is missing; restartable
    python benchmarks/bottlenecks.py --write                  # the same, into docs/

PSNR of held-out 32 px emoji against log2 E, E = tokens x channels, at fixed networks; then the same
bottleneck with a deeper encoder and with a deeper decoder. A point counts for the line where the
network can carry it, 3 p^2 <= width and 6 c <= width (vitok.md, section 9). The paper's line is of
256 px photographs, so slopes are not to be compared number by number.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kept import RESULTS, kept
from pages import markdown, put
from trials import trained

from mezzotint import stored
from mezzotint.config import load
from mezzotint.data.images import spread
from mezzotint.evaluation.paired import PSNR, SSIM

PAGE = Path(__file__).parents[1] / "docs" / "tokenizers.md"
DATA = {"kind": "emoji", "size": 32}
SIZE, WIDTH, HEADS = 32, 192, 3
STEPS, BATCH, RATE, SEED = 4000, 32, 1e-3, 0
COUNT = 736
"""All held-out images."""


@dataclass(frozen=True)
class Arm:
    """One bottleneck between an encoder and a decoder."""

    patch: int
    channels: int
    encoder: int = 1
    decoder: int = 2
    steps: int = STEPS

    @property
    def name(self) -> str:
        return f"p{self.patch}-c{self.channels}-e{self.encoder}-d{self.decoder}-{self.steps}"

    @property
    def floats(self) -> int:
        """E, the floats of a latent."""
        return (SIZE // self.patch) ** 2 * self.channels

    @property
    def admissible(self) -> bool:
        """Whether the network is wide enough for the bottleneck and the patch."""
        return 3 * self.patch**2 <= WIDTH and 6 * self.channels <= WIDTH

    def tree(self) -> dict[str, Any]:
        """Return the recipe."""
        halves = {"encoder": self.encoder, "decoder": self.decoder}
        blocks = {
            half: {"width": WIDTH, "depth": depth, "heads": HEADS} for half, depth in halves.items()
        }
        return {
            "model": {
                "kind": "tokenizer",
                "network": {
                    "kind": "vitok",
                    "patch": self.patch,
                    "latent_channels": self.channels,
                    **blocks,
                },
            },
            "data": DATA,
            "train": {
                "steps": self.steps,
                "batch": BATCH,
                "lr": RATE,
                "warmup": min(200, self.steps // 10),
                "decay": {"kind": "cosine"},
                "betas": [0.9, 0.95],
                "weight_decay": 1e-2,
                "clip": 1.0,
                "weights": {"pixel": 1.0, "penalty": 1e-4},
                "augmentations": ["mirrored", {"kind": "shifted", "pixels": 3}],
                "ema": [0.999],
                "precision": "bf16",
                "seed": SEED,
                "validate_every": max(1, self.steps // 10),
                "sample_every": self.steps,
            },
        }

    def scores(self, root: Path, count: int) -> dict[str, float]:
        """Return PSNR and SSIM of held-out images, trained for what is missing."""
        wanted = {"run": self.tree(), "images": count}
        # What is only tried stays out of git.
        results = RESULTS if (self.steps, count) == (STEPS, COUNT) else root / "results"
        name = f"bottlenecks/{self.name}-{count}"
        return kept(name, wanted, lambda: restored(self.train(root), count), results)

    def train(self, root: Path) -> Path:
        """Train what is missing; return the folder."""
        return trained(self.tree(), root / self.name)


def restored(folder: Path, count: int) -> dict[str, float]:
    """Return how held-out images come back from a run."""
    images = load("data", DATA).held_out()
    given = images.read(spread(len(images), count))
    back = stored.load(folder).restored(given)
    return {each.name: float(each(back, given).mean()) for each in (PSNR(), SSIM())}


def arms(steps: int) -> list[Arm]:
    """Return the bottlenecks of the line, then those of depth."""
    pairs = [(8, c) for c in (4, 8, 16, 32)] + [(4, c) for c in (1, 2, 4, 8, 16)]
    return [Arm(*pair, steps=steps) for pair in pairs]


def deeper(steps: int) -> list[Arm]:
    """Return the arms of depth, all at one bottleneck."""
    depths = ((1, 2), (3, 2), (1, 4), (3, 4))
    return [Arm(4, 4, *depth, steps=steps) for depth in depths]


def fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return intercept, slope and R² of the least-squares line through points."""
    x, y = np.array(points, dtype=float).T
    slope, intercept = np.polyfit(x, y, 1)
    left = ((y - intercept - slope * x) ** 2).sum()
    whole = ((y - y.mean()) ** 2).sum()
    return float(intercept), float(slope), float(1 - left / whole)


def spreads(found: Sequence[tuple[Arm, float]]) -> float:
    """Return the largest difference of PSNR between bottlenecks of equal E."""
    by_floats: dict[int, list[float]] = {}
    for arm, psnr in found:
        by_floats.setdefault(arm.floats, []).append(psnr)
    return max(max(each) - min(each) for each in by_floats.values())


def tables(root: Path, steps: int, count: int) -> tuple[str, str]:
    """Return the table of the line with what follows from it, and that of the depths."""
    scores = [(arm, arm.scores(root, count)) for arm in arms(steps)]
    head = ["patch", "channels", "tokens", "E", "PSNR, dB", "SSIM", "in the line"]
    body = [
        [
            str(arm.patch),
            str(arm.channels),
            str((SIZE // arm.patch) ** 2),
            str(arm.floats),
            f"{score['PSNR']:.2f}",
            f"{score['SSIM']:.3f}",
            "yes" if arm.admissible else "no",
        ]
        for arm, score in sorted(scores, key=lambda each: (each[0].floats, each[0].patch))
    ]
    inside = [(arm, score["PSNR"]) for arm, score in scores if arm.admissible]
    intercept, slope, fit = fitted([(math.log2(arm.floats), psnr) for arm, psnr in inside])
    said = (
        f"\nPSNR = {intercept:.2f} + {slope:.2f} log2 E, R² {fit:.3f}, over {len(inside)} "
        f"bottlenecks; equal E differs by at most {spreads(inside):.2f} dB, and E x 4 brings "
        f"{2 * slope:.2f} dB, of which a third is {2 * slope / 3:.2f}. {steps:,} steps of {BATCH}, "
        "one seed.\n"
    )
    depth = [["encoder blocks", "decoder blocks", "PSNR, dB", "SSIM"]]
    found = [(arm, arm.scores(root, count)) for arm in deeper(steps)]
    for arm, score in found:
        depth.append(
            [str(arm.encoder), str(arm.decoder), f"{score['PSNR']:.2f}", f"{score['SSIM']:.3f}"]
        )
    first, encoder, decoder, both = (score["PSNR"] for _, score in found)
    gained = (
        f"\nA deeper encoder brings {encoder - first:.2f} dB, a deeper decoder "
        f"{decoder - first:.2f} dB, both {both - first:.2f} dB.\n"
    )
    return markdown([head, *body]) + said, markdown(depth) + gained


def main() -> None:
    """Train what is missing, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=PAGE.parents[1] / "runs" / "bottlenecks")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    line, depth = tables(given.root, given.steps, given.count)
    print(line, depth, sep="\n")
    if given.write:
        put(PAGE, "bottlenecks", line)
        put(PAGE, "bottleneck-depths", depth)


if __name__ == "__main__":
    main()
