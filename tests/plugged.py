"""PPGN runs so small that a step takes milliseconds, and the tiny classifier that encodes."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mezzotint import config
from mezzotint.classifier import ClassifierConfig
from tests.tiny import TREE

CAFFENET: dict[str, Any] = {
    "kind": "caffenet",
    "channels": 3,
    "size": [8, 8],
    "num_classes": 10,
    "convolutions": [{"width": 6, "pool": True}, {"width": 8, "pool": True}],
    "hidden": [12],
}
NAMES = [str(k) for k in range(10)]
PLAYERS: dict[str, Any] = {
    "kind": "ppgn",
    "generator": {"kind": "upconvolution", "hidden": [16], "first": 8, "stages": [[8, 8], [0, 0]]},
    "discriminator": {"kind": "strided-discriminator", "widths": [8, 8]},
    "autoencoder": {"kind": "code-autoencoder", "hidden": [16, 8, 16]},
}


def write_encoder(folder: Path, *, seed: int = 0, network: dict[str, Any] = CAFFENET) -> Path:
    """Write a model folder of a fresh classifier of 8 px digits, and return it."""
    model: ClassifierConfig = config.load("model", {"kind": "classifier", "network": network})
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        state = model.build().state_dict()
    tokenizer = {"kind": "pixels", "size": 8}
    tree = {"model": model, "tokenizer": tokenizer, "classes": NAMES}
    model.open(tree, state, folder).save(folder)
    return folder


_KEPT = tempfile.TemporaryDirectory(prefix="mezzotint-")


@cache
def tiny_encoder() -> Path:
    """Return the folder of one that is written once a process, and removed with it."""
    return write_encoder(Path(_KEPT.name) / "encoder")


def plugged() -> dict[str, Any]:
    """Return the tree of a tiny recipe."""
    train = {name: value for name, value in TREE["train"].items() if name != "clip"}
    return {
        "model": {"kind": "ppgn", "encoder": {"source": str(tiny_encoder())}, "network": PLAYERS},
        "data": TREE["data"],
        "train": {**train, "betas": [0.5, 0.9]},
        "sampling": {"kind": "langevin", "preset": "gate", "steps": 2},
    }
