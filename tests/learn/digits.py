"""Train the recipe `digits`, load what it has written, and let a classifier judge the samples.

Prints one JSON object. A process of its own, so that nothing but the training takes its time.
"""

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mezzotint import load, recipe
from mezzotint.data.images import Images
from mezzotint.run import Run
from mezzotint.training.distributed import ranks

EACH = 50
"""Samples a class."""


def main(folder: Path) -> None:
    """Train in `folder`, and report."""
    torch.set_num_threads(1)
    with ranks("cpu") as alone:
        run = Run(recipe.resolve(recipe.find("digits")), folder, alone)
        run.open()
        for _ in run.fit():
            pass
    judge = classifier(run.images)
    images = load(folder).sample(seeds=range(EACH))
    asked = torch.arange(10).repeat_interleave(EACH)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    report = {
        "held_out": lines[-1]["held_out"],
        "judge": accuracy(judge, run.held_out.read(all_of(run.held_out)), run.held_out.labels),
        "accuracy": accuracy(judge, images, asked),
        "distinct": len(images.flatten(1).unique(dim=0)),
        "seconds": time.process_time(),
    }
    print(json.dumps(report))


def all_of(images: Images) -> torch.Tensor:
    """Return the numbers of all rows."""
    return torch.arange(len(images))


def classifier(images: Images) -> nn.Module:
    """Train a small classifier on real digits."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    pixels = flat(images.read(all_of(images)))
    for _ in range(400):
        rows = torch.randint(len(images), (128,))
        optimiser.zero_grad()
        cross_entropy(network(pixels[rows]), images.labels[rows]).backward()
        optimiser.step()
    return network


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images that are read as their label."""
    return (network(flat(images)).argmax(1) == labels).float().mean().item()


def flat(images: torch.Tensor) -> torch.Tensor:
    """Return the grey values as rows of numbers."""
    return images[:, 0].flatten(1).float() / 255


if __name__ == "__main__":
    main(Path(sys.argv[1]))
