"""What the published classifier costs: parameters, and multiply-adds of an image."""

import json
from pathlib import Path

import pytest
import torch

from mezzotint.card import cost
from mezzotint.classify.schedules import Exhaustive
from mezzotint.classify.times import Strided
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.official.dit import config_of

SIZES = json.loads(Path(__file__).with_name("diffusion_classifier_sizes.json").read_text())
CLASSES = 1000


@pytest.mark.parametrize("name", SIZES)
def test_the_published_models_cost_what_is_published(name):
    entry = SIZES[name]
    with torch.device("meta"):
        network = config_of(entry["config"]).build()
        side = entry["config"]["input_size"]
        x = torch.zeros(1, 4, side, side)
        found = cost(network, x, x.new_zeros(1), x.new_zeros(1, dtype=torch.int64))
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    assert found["multiply_adds"] == entry["macs"]
    evaluations = CLASSES * len(Exhaustive(Strided(4)).plan(DiscreteVP()).t)
    assert evaluations == entry["evaluations_per_image"]
    whole = entry["macs_per_image_1000_classes_250_timesteps"]
    assert evaluations * found["multiply_adds"] == whole
