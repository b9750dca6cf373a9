"""MAGE's released files go in and out by the command line's way, with what nothing uses."""

import torch
from safetensors.torch import save_file

from mezzotint import config, recipe
from mezzotint.official import mage
from mezzotint.releases import exported, imported
from tests.tokenizers import tiny_vq


def test_a_whole_mage_goes_in_and_out_by_the_command_line_s_way(tmp_path):
    """What nothing uses came in as missing, or was lost on the way out."""
    tree = recipe.find("mage-b")
    small = {"width": 32, "depth": 1, "heads": 2, "hidden_ratio": 1.0}
    small |= {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2, "unused": True}
    network = {"kind": "mage", **small}
    shape = {"size": [4, 4], "codes": 16, "num_classes": 0}
    built = config.load("network", {**network, **shape}).build()
    state = mage.to_official(built.state_dict(), ids=True)
    path = tmp_path / "mage.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    tokens = {"kind": "stored", "source": str(tiny_vq()), "size": 8}
    data = {"kind": "unlabelled", "inner": {"kind": "digits"}}
    model = {**tree["model"], "network": network}
    made = imported(path, {**tree, "model": model, "tokenizer": tokens, "data": data})
    found = exported(made)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
