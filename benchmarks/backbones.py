"""The table of docs/backbones.md: backbones at equal parameters, images, order, times and noise.

    python benchmarks/backbones.py emoji --train      # trains and measures what is missing
    python benchmarks/backbones.py emoji --write      # and writes the table

Every contestant tries each of RATES for PROBE steps with the first seed; the rate with the lowest
held-out loss is its own in the whole runs. The held-out loss is that of the estimate of the clean
image in velocity space, whatever a network was trained on, at the same images, times and noise.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from kept import kept
from pages import cell, markdown, put
from torch import Tensor
from trials import scored, trained

import mezzotint
from mezzotint import bench, config, recipe
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.predictions import X0
from mezzotint.diffusion.weightings import VelocitySpace
from mezzotint.evaluation.choices import trained_on
from mezzotint.training.objectives import Denoising
from mezzotint.training.plan import DenoisingPlan
from mezzotint.training.watch import HeldOut

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "backbones.md"
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
PROBE, STEPS, BATCH = 300, 1_200, 32
SEEDS = (0, 1)
COUNT = 2_000
LOOKED_AT = 736
"""Held-out images; all there are of the emoji."""

DATA: Mapping[str, dict[str, Any]] = {
    "emoji": {"kind": "emoji", "size": 32},
    "prints": {"kind": "prints", "size": 32, "pose": "tumbled", "count": 20_000},
}
CLEAN = {"kind": "x0", "weighting": "velocity-space"}
NETWORKS: Mapping[str, dict[str, Any]] = {
    "dit": {"width": 64, "depth": 4, "heads": 2, "patch": 4},
    "dico": {"width": 16, "depths": [2, 2, 2, 2, 2]},
    "uvit": {"width": 60, "depth": 6, "heads": 2, "patch": 4},
    "dimr": {
        "branches": [
            {"kind": "transformer", "width": 62, "depth": 5, "heads": 2, "patch": 2},
            {"kind": "convolution", "width": 31, "depth": 3},
        ],
    },
    "lit": {"width": 64, "depth": 4, "heads": 1, "patch": 4},
}
"""Parameters within 5 % of each other: 0.339, 0.341, 0.339, 0.343 and 0.346 million."""
PREDICTIONS: Mapping[str, dict[str, Any]] = {"dimr": {"kind": "multi-scale", "inner": CLEAN}}


@dataclass(frozen=True)
class Entry:
    """One run of one contestant."""

    data: str
    kind: str
    rate: float
    seed: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.kind}-lr-{self.rate:g}-seed-{self.seed}-{self.steps}"

    def folder(self, root: Path) -> Path:
        return root / self.data / self.name

    def tree(self) -> dict[str, Any]:
        """Return the recipe."""
        return {
            "model": {
                "kind": "diffusion",
                "network": {"kind": self.kind, **NETWORKS[self.kind]},
                "path": "linear",
                "prediction": PREDICTIONS.get(self.kind, CLEAN),
            },
            "data": DATA[self.data],
            "train": {
                "steps": self.steps,
                "batch": BATCH,
                "lr": self.rate,
                "warmup": 100,
                "decay": {"kind": "final", "share": 0.25, "last": 0.02},
                "betas": [0.9, 0.99],
                "clip": 1.0,
                "times": {"kind": "logit-normal", "mean": 0.5, "deviation": 1.0},
                "ema": [0.995],
                "precision": "float32",
                "seed": self.seed,
                "validate_every": self.steps,
                "sample_every": self.steps,
            },
            "sampling": {
                "sampler": "dpm-solver-multistep",
                "grid": "even",
                "steps": 10,
                "guidance": {"kind": "interval", "scale": 2.0, "low": 0.05, "high": 0.9},
            },
        }

    def train(self, root: Path) -> Path:
        """Train what is missing; return the folder."""
        return trained(self.tree(), self.folder(root))

    def loss(self, root: Path) -> float:
        """Return the held-out loss at the end."""
        figures = kept(
            f"backbones/{self.data}/{self.name}",
            self.tree(),
            lambda: {"held-out loss": held_out(self.train(root))},
        )
        return float(figures["held-out loss"])

    def scores(self, root: Path) -> dict[str, float]:
        """Return what an evaluation says of samples."""
        return kept(
            f"backbones/{self.data}/{self.name}-samples",
            {"run": self.tree(), "count": COUNT},
            lambda: scored(self.train(root), root, COUNT),
        )


class Estimated(NetworkDenoiser):
    """A denoiser that is scored by its estimate of the clean image, whatever its network says."""

    def __init__(self, inner: NetworkDenoiser) -> None:
        super().__init__(inner.network, inner.path, X0(VelocitySpace()))
        self.inner = inner

    def outputs(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.inner(x, t, y).x0


def held_out(folder: Path) -> float:
    """Return the loss of a run's estimates on held-out images."""
    made = mezzotint.load(folder)
    denoiser = made.denoiser
    assert isinstance(denoiser, NetworkDenoiser)
    plan = recipe.complete(config.read(folder / "config.yaml")).train
    assert isinstance(plan, DenoisingPlan)
    objective = Denoising(Estimated(denoiser), made.tokenizer, plan.times, 0.0, made.null or 0)
    _, images, why = trained_on(made.tree)
    if images is None or images.images is None:
        raise SystemExit(f"{folder}: {why}")
    return float(HeldOut(images.images, LOOKED_AT, 64, 0).loss(objective)["held_out"])


def probes(data: str, kind: str) -> list[Entry]:
    return [Entry(data, kind, rate, SEEDS[0], PROBE) for rate in RATES]


def chosen_rate(root: Path, data: str, kind: str) -> float:
    """Return the rate whose probe ends lowest."""
    return min(probes(data, kind), key=lambda each: each.loss(root)).rate


def whole(root: Path, data: str, kind: str) -> list[Entry]:
    rate = chosen_rate(root, data, kind)
    return [Entry(data, kind, rate, seed, STEPS) for seed in SEEDS]


def speeds(root: Path, entries: Mapping[str, Entry]) -> dict[str, tuple[float, float]]:
    """Return training and sampling images a second of each contestant, measured in turn.

    Weights do not matter here: two steps make a run that can be sampled.
    """
    short = {kind: replace(each, steps=2) for kind, each in entries.items()}
    runs = [str(each.train(root)) for each in short.values()]
    sampled = bench.sampling(runs, dtypes=["fp32"], batch=32, rounds=3, device="cpu")
    recipes = []
    for kind, each in entries.items():
        recipes.append(root / f"{kind}-speed.yaml")
        recipes[-1].write_text(yaml.safe_dump(each.tree()))
    trained = bench.training(
        [str(path) for path in recipes], dtypes=["fp32"], steps=5, rounds=3, device="cpu"
    )
    pairs = zip(short, trained, sampled, strict=True)
    return {kind: (t["images/s"], s["images/s"]) for kind, t, s in pairs}


def rows(root: Path, data: str) -> Iterator[list[str]]:
    """Yield the table of a data set, line by line."""
    runs = {kind: whole(root, data, kind) for kind in NETWORKS}
    fast = speeds(root, {kind: each[0] for kind, each in runs.items()})
    for kind, entries in runs.items():
        scores = [each.scores(root) for each in entries]
        names = [n for n in scores[0] if n.startswith("FD") or n == "class accuracy"]
        if kind == next(iter(runs)):
            yield ["", "parameters", "multiply-adds", "rate", "held-out loss", *names,
                   "training images/s", "sampling images/s"]  # fmt: skip
        cost = mezzotint.load(replace(entries[0], steps=2).folder(root)).cost()
        yield [
            kind,
            f"{cost['parameters']:,}",
            f"{cost['multiply_adds'] / 1e6:.1f} M",
            f"{entries[0].rate:g}",
            cell([each.loss(root) for each in entries]),
            *(cell([each[name] for each in scores]) for name in names),
            *(f"{each:.0f}" for each in fast[kind]),
        ]


def main() -> None:
    """Train what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--train", action="store_true", help="only train and measure")
    parser.add_argument("--only", choices=NETWORKS, help="one contestant")
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "backbones")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    kinds = [asked.only] if asked.only else list(NETWORKS)
    for kind in kinds:
        for entry in whole(asked.root, asked.data, kind):
            entry.loss(asked.root)
            entry.scores(asked.root)
    if asked.train:
        return
    table = f"Speeds: {bench.machine()}\n\n{markdown(list(rows(asked.root, asked.data)))}"
    print(table)
    if asked.write:
        put(PAGE, asked.data, table)


if __name__ == "__main__":
    main()
