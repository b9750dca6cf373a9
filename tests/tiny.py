"""Training runs so small that a step takes milliseconds: 8 x 8 digits, some thousand weights."""

from pathlib import Path
from typing import Any

import torch

from mezzotint import config, recipe
from mezzotint.run import Run
from mezzotint.training.distributed import Ranks

TREE: dict[str, Any] = {
    "model": {
        "kind": "diffusion",
        "network": {"kind": "dit", "width": 16, "depth": 2, "heads": 2, "patch": 4},
        "path": "linear",
        "prediction": {"kind": "x0", "weighting": "velocity-space"},
    },
    "data": {"kind": "digits", "balanced": True},
    "train": {
        "steps": 12,
        "batch": 8,
        "lr": 1e-3,
        "warmup": 3,
        "decay": {"kind": "cosine"},
        "clip": 1.0,
        "ema": [0.9, 0.99],
        "precision": "float32",
        "log_every": 3,
        "validate_every": 5,
        "validate_images": 16,
        "sample_every": 7,
    },
    "sampling": {"sampler": "ddim", "steps": 2, "guidance": {"kind": "constant", "scale": 1.5}},
}
CLASSIFIER: dict[str, Any] = {
    "model": {
        "kind": "classifier",
        "network": {"kind": "residual", "widths": [8, 16], "blocks": 1, "stride": 1},
        "mirrored": True,
    },
    "data": TREE["data"],
    "train": {
        **{name: value for name, value in TREE["train"].items() if name != "sample_every"},
        "smoothing": 0.1,
        "augmentations": ["mirrored", "affine", "colour", {"kind": "cutout", "side": 0.3}],
    },
}
TOKENIZER: dict[str, Any] = {
    "model": {
        "kind": "tokenizer",
        "network": {
            "kind": "vitok",
            "patch": 2,
            "latent_channels": 4,
            "encoder": {"width": 16, "depth": 1, "heads": 2},
            "decoder": {"width": 16, "depth": 1, "heads": 2},
        },
    },
    "data": TREE["data"],
    "train": {**TREE["train"], "augmentations": ["mirrored"], "measured": 64},
}
"""16 tokens of 4 floats for 8 x 8 digits."""
RIVAL: dict[str, Any] = {"share": 0.02, "lecam": 0.1, "warmup": 4, "starts": 2, "ramp": 5}
MASKED: dict[str, Any] = {
    "model": {
        "kind": "masked",
        "network": {
            "kind": "mar",
            "width": 16,
            "depth": 1,
            "heads": 2,
            "patch": 2,
            "buffer": 2,
            "head": {"kind": "token-mlp", "width": 8, "depth": 1},
        },
        "head": {"kind": "diffusion", "steps": 4, "repeats": 2},
    },
    "data": TREE["data"],
    "train": {
        **TREE["train"],
        "masking": {"kind": "truncated-normal", "mean": 1.0, "low": 0.7, "shared": True},
    },
    "sampling": {
        "steps": 4,
        "order": "raster",
        "guidance": {"kind": "ramp", "start": 1.0, "end": 2.0, "clock": "known"},
    },
}
ALONE = Ranks(0, 1, torch.device("cpu"))


def resolved(*settings: str, tree: dict[str, Any] = TREE) -> recipe.Recipe:
    """Return the recipe, with settings such as "train.steps=5" laid over it."""
    return recipe.resolve(config.override(tree, settings))


def tiny(
    folder: Path,
    *settings: str,
    tree: dict[str, Any] = TREE,
    ranks: Ranks = ALONE,
    **options: Any,
) -> Run:
    """Return a run in a folder; it is not opened."""
    return Run(resolved(*settings, tree=tree), folder, ranks, **options)


def finish(run: Run) -> Run:
    """Open a run and train it to its end."""
    run.open()
    for _ in run.fit():
        pass
    return run
