"""Tiny token networks with weights that matter, for tests of masked generation."""

from typing import Any

import torch

from mezzotint import config
from mezzotint.networks.tokens import TokenTransformer

SHAPE = {"codes": 11, "size": (4, 4), "num_classes": 3, "width": 16, "heads": 2}
KINDS: dict[str, dict[str, Any]] = {
    "maskgit": {**SHAPE, "depth": 2, "hidden": 24, "null_row": True},
    "nat": {**SHAPE, "depth": 2, "hidden": 24},
    "uvit-bert": {**SHAPE, "depth": 2, "hidden": 24},
    "halton": {**SHAPE, "depth": 2},
    "mage": {**SHAPE, "depth": 2, "decoder_depth": 1, "decoder_width": 12, "decoder_heads": 2},
}


def tiny(kind: str, **changes: Any) -> TokenTransformer:
    """Return a network whose weights are all random, those that start at zero too."""
    network = config.load("network", {"kind": kind, **KINDS[kind], **changes}).build().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network.requires_grad_(requires_grad=False)
