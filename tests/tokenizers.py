"""Autoencoders so small that tests may train on them: random weights, 2 x 2 pixels a place."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mezzotint import config, stored

KL: dict[str, Any] = {"latent_channels": 4, "width": 32, "multipliers": [1, 1], "blocks": 1}
VQ: dict[str, Any] = {**KL, "codes": 16}
HALVES: dict[str, Any] = {
    "encoder": {"width": 8, "depth": 1, "heads": 2},
    "decoder": {"width": 16, "depth": 1, "heads": 2},
}
VITOK: dict[str, Any] = {**HALVES, "latent_channels": 2, "size": 8, "patch": 4}
EVERY: dict[str, dict[str, Any]] = {
    "kl": {"kind": "kl", **KL},
    "vq": {"kind": "vq", **VQ},
    "vitok": {"kind": "vitok", **HALVES, "latent_channels": 2, "size": 8, "patch": 4},
    "vitok, plain": {
        "kind": "vitok",
        **HALVES,
        "latent_channels": 2,
        "size": 8,
        "patch": 4,
        "kl": False,
    },
    "vitok2": {
        "kind": "vitok2",
        "encoder": {"width": 8, "depth": 1, "heads": 1},
        "decoder": {"width": 8, "depth": 1, "heads": 1},
        "latent_channels": 2,
        "patch": 2,
    },
    "navae": {"kind": "navae", **HALVES, "latent_channels": 2, "patch": 2, "places": 4},
}
"""Networks of every kind."""
STRIDE = 2


def write_kl(folder: Path, *, seed: int = 0, stride: int = STRIDE, scale: float = 1.0) -> Path:
    """Write a model folder of a fresh autoencoder, and return it."""
    shape = {**KL, "multipliers": [1] * stride.bit_length()}
    tree = {"kind": "tokenizer", "network": {"kind": "kl", **shape}, "size": 8, "scale": scale}
    return _write(folder, tree, seed)


def write_vq(folder: Path, *, seed: int = 0, kind: str = "vq", stride: int = STRIDE) -> Path:
    """Write a model folder of a fresh autoencoder with a codebook, and return it."""
    network = {"kind": kind, **VQ, "multipliers": [1] * stride.bit_length()}
    return _write(folder, {"kind": "tokenizer", "network": network, "size": 4 * stride}, seed)


def write_of(folder: Path, network: dict[str, Any], *, seed: int = 0) -> Path:
    """Write a model folder of a fresh autoencoder of any kind for 8 px, and return it."""
    return _write(folder, {"kind": "tokenizer", "network": network, "size": 8}, seed)


def _write(folder: Path, tree: dict[str, Any], seed: int) -> Path:
    model: stored.TokenizerModel = config.load("model", tree)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        state = model.build().state_dict()
    model.open({"model": model}, state, folder).save(folder)
    return folder


_KEPT = tempfile.TemporaryDirectory(prefix="mezzotint-")


@cache
def tiny_kl(stride: int = STRIDE) -> Path:
    """Return the folder of one that is written once a process, and removed with it."""
    return write_kl(Path(_KEPT.name) / str(stride), stride=stride)


@cache
def tiny_vq(kind: str = "vq", stride: int = STRIDE) -> Path:
    """Return the folder of one with a codebook, kept in the same way."""
    return write_vq(Path(_KEPT.name) / f"{kind}-{stride}", kind=kind, stride=stride)
