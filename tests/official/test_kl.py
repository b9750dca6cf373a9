"""KL autoencoders of others: sizes and costs, names in three ways and back, and whole files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mezzotint import card, stored
from mezzotint.config import load
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.official.kl import (
    Reading,
    autoencoder_of,
    config_from_official,
    config_of,
    read_kl,
    scale_of,
)
from mezzotint.official.kl_names import (
    DIFFUSERS,
    LATENT_DIFFUSION,
    OLDER_DIFFUSERS,
    from_official,
    names_of,
    to_official,
)
from mezzotint.tokenizers.kl import SCALES, KLConfig

PUBLISHED = json.loads((Path(__file__).parent / "mar_sizes.json").read_text())["kl16_vae"]
DIALECTS = {
    "latent-diffusion": LATENT_DIFFUSION,
    "diffusers": DIFFUSERS,
    "older-diffusers": OLDER_DIFFUSERS,
}
SMALL = {"latent_channels": 4, "width": 32, "multipliers": (1, 2, 1), "blocks": 1}
SHAPES = [
    {},
    {"attention": (4,), "decoder_attention": (2, 4), "channels": 1},
    {"inner_channels": 6, "attention": (1, 2), "blocks": 2},
    {"quantisation": False, "multipliers": (2,)},
]


def preset(name):
    return load("network", {"kind": "kl", "preset": name})


def small(more):
    return load("network", {"kind": "kl", **SMALL, **more}).build()


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_f16_has_its_parameters_and_its_cost():
    """The rule of `how`: matrix products and convolutions of one image; FLOPs are 2 MACs.

    What is counted is PyTorch's; attention is spelt out, for the counter knows no fused one.
    """
    with torch.device("meta"):
        model = preset("f16").build()
        macs = card.cost(model, torch.zeros(1, 3, 256, 256))["multiply_adds"]
    assert parameters(model) == PUBLISHED["params"]
    assert parameters(model.encoder, model.quant) == PUBLISHED["params_encoder"]
    assert parameters(model.decoder, model.post_quant) == PUBLISHED["params_decoder"]
    flops = PUBLISHED["flops_or_macs"]
    assert 2 * macs == pytest.approx(flops["encode_256"] + flops["decode_256"], rel=0.005)


def test_f16_is_the_published_shape():
    given = PUBLISHED["config"]
    sides = {"resolution": 256, "z_channels": given["embed_dim"], **given}
    encoder, decoder = sides | {"attn_resolutions": [16]}, sides | {"attn_resolutions": []}
    assert config_of(encoder, decoder, given["embed_dim"]) == preset("f16")
    assert config_of({**encoder, "in_channels": 1}, decoder, given["embed_dim"]).channels == 1


def test_f8_has_the_parameters_that_are_remembered():
    """83,653,863: from memory, not from a specification, which says 84 M."""
    with torch.device("meta"):
        model = preset("f8").build()
    assert parameters(model) == 83_653_863
    assert (model.config.stride, model.config.latent_channels) == (8, 4)


@pytest.mark.parametrize("more", SHAPES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_names_go_both_ways_bit_for_bit(dialect, more):
    model, names = small(more), DIALECTS[dialect]
    ours = model.state_dict()
    official = to_official(ours, names)
    back = from_official(official)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = to_official(back, names)
    assert list(again) == list(official)
    assert all(torch.equal(again[name], official[name]) for name in official)
    assert config_from_official(official) == model.config


def test_names_and_shapes_are_the_releases_own():
    state = small(SHAPES[1]).state_dict()
    first = to_official(state)
    assert first["encoder.down.2.attn.0.q.weight"].shape == (32, 32, 1, 1)
    assert first["encoder.mid.attn_1.proj_out.weight"].shape == (32, 32, 1, 1)
    assert first["decoder.up.2.upsample.conv.weight"].shape == (32, 32, 3, 3)
    assert "encoder.down.1.block.0.nin_shortcut.bias" in first
    second = to_official(state, DIFFUSERS)
    assert second["encoder.mid_block.attentions.0.to_q.weight"].shape == (32, 32)
    assert second["encoder.mid_block.attentions.0.to_out.0.bias"].shape == (32,)
    upper = "decoder.up_blocks.0.upsamplers.0.conv.weight"  # the level of least resolution
    assert torch.equal(second[upper], first["decoder.up.2.upsample.conv.weight"])
    assert "decoder.up_blocks.2.upsamplers.0.conv.weight" not in second
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in to_official(state, OLDER_DIFFUSERS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_foreign_and_missing_tensors_are_named(dialect):
    names = DIALECTS[dialect]
    official = to_official(small({}).state_dict(), names)
    assert names_of(official) is names
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* encoder\.mid\.odd\.weight"):
        from_official({**official, "encoder.mid.odd.weight": torch.ones(1)})
    key = next(name for name in official if f".{names.projections[1]}.weight" in name)
    with pytest.raises(CheckpointError, match=rf"but not {key}"):
        from_official({name: tensor for name, tensor in official.items() if name != key})
    lone = {name: t for name, t in official.items() if name != "encoder.conv_in.weight"}
    with pytest.raises(CheckpointError, match=r"not a KL autoencoder: .*encoder\.conv_in"):
        config_from_official(lone)


def test_scales_are_those_of_the_published_shapes():
    assert {name: scale_of(preset(name)) for name in KLConfig.PRESETS} == SCALES
    with pytest.raises(ConfigError, match=r"stride 4, 4 channels.*say its scale"):
        scale_of(small({}).config)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"width": 48}, "width 48 must be a multiple of 32"),
        ({"attention": (16,)}, r"attention at stride 16: the levels' strides are 1, 2, 4"),
        ({"decoder_attention": (3,)}, "attention at stride 3"),
        ({"quantisation": False, "inner_channels": 8}, "inner_channels 8 must be latent_channels"),
    ],
)
def test_shapes_that_cannot_be_are_refused_in_a_line(more, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load("network", {"kind": "kl", **SMALL, **more})
    assert "\n" not in str(caught.value)


def test_a_fresh_network_has_no_branch_at_zero():
    model = small({"attention": (2,)})
    assert all(p.any() for name, p in model.named_parameters() if name.endswith("weight"))
    assert model(torch.rand(2, 3, 8, 12)).shape == (2, 3, 8, 12)


def test_a_file_of_a_whole_model_becomes_a_folder(tmp_path):
    model = small({})
    official = to_official(model.state_dict())
    whole = {f"first_stage_model.{name}": tensor for name, tensor in official.items()}
    whole |= {"model.diffusion_model.out.weight": torch.ones(1)}
    torch.save({"state_dict": whole, "global_step": 3}, tmp_path / "whole.ckpt")
    made = read_kl(tmp_path / "whole.ckpt", Reading(scale=0.5, shift=0.1, size=16))
    made.save(tmp_path / "kl")
    again = stored.load(tmp_path / "kl")
    assert made.spec == again.spec
    assert (again.model.scale, again.model.shift, again.size) == (0.5, 0.1, 16)
    assert again.model.network == model.config
    origin = again.tree["provenance"]
    assert (origin["imported"], origin["tensors_left_out"]) == ("whole.ckpt", 1)
    state = again.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_diffusers_file_becomes_the_same_tokenizer(tmp_path):
    state = small({}).state_dict()
    save_file(to_official(state, DIFFUSERS), tmp_path / "d.safetensors")
    alone = to_official(state) | {"loss.logvar": torch.zeros(())}
    torch.save(alone, tmp_path / "l.pt")
    made = [read_kl(tmp_path / name, Reading(scale=1.0)) for name in ("d.safetensors", "l.pt")]
    assert made[0].fingerprint == made[1].fingerprint
    assert autoencoder_of(alone).keys() == alone.keys() - {"loss.logvar"}
    with pytest.raises(ConfigError, match="say its scale"):
        read_kl(tmp_path / "l.pt")
    torch.save({"weight": torch.ones(1)}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="not of latent diffusion's KL autoencoder: weight"):
        read_kl(tmp_path / "odd.pt")
