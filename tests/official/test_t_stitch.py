"""T-Stitch: parameters and multiply-adds of the DiTs it stitches; its U-Nets are not here."""

import json
from pathlib import Path

import pytest
import torch

from mezzotint.card import cost
from mezzotint.networks.dit import DiT
from mezzotint.official.dit import config_of

SIZES = json.loads((Path(__file__).parent / "t_stitch_sizes.json").read_text())
DITS = [name for name in SIZES if name.startswith("DiT")]


@pytest.mark.parametrize("name", DITS)
def test_a_published_size_has_its_parameters_and_its_cost(name):
    entry = SIZES[name]
    shape = config_of(entry["config"])
    costs = []
    for depth in (1, 2):  # all blocks are alike, so two of them tell what each adds
        with torch.device("meta"):
            model = DiT(shape.model_copy(update={"depth": depth}))
            x = torch.zeros(1, *model.latent)
            costs.append(cost(model, x, x.new_zeros(1), x.new_zeros(1, dtype=torch.int64)))
    for key, ours in (("params", "parameters"), ("macs", "multiply_adds")):
        first, second = (each[ours] for each in costs)
        assert first + (shape.depth - 1) * (second - first) == entry[key]
