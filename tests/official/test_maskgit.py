"""MaskGIT's lineages and MAGE: parameters and cost of every published size, names both ways."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mezzotint import config
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.masked.curves import Flat, Ramp, Swell
from mezzotint.official import halton, mage, maskgit, nat, titok
from mezzotint.official.fused import fused, parted
from mezzotint.official.renames import unwrap
from tests.masked_models import tiny

HERE = Path(__file__).parent
SIZES = {
    name: entry
    for system in ("maskgit", "mage", "recap")
    for name, entry in json.loads((HERE / f"{system}_sizes.json").read_text()).items()
    if "vqgan" not in name and entry["params"] is not None
}


def shape_of(name, arguments):
    """Return our config of a published size."""
    if name.startswith("halton"):
        return halton.config_of(arguments)
    if name.startswith("mage"):
        return mage.config_of(arguments, unused=True)
    if name.startswith("maskgit_r"):
        return nat.config_of(arguments)
    if name.startswith("maskgit"):
        return maskgit.config_of(arguments)
    kinds = {"ViT": titok.bert_of, "UViT": titok.uvit_of}
    return kinds[arguments["generator"]["model_type"]](arguments)


def counted(network, group=None):
    """Return PyTorch's count of a pass over one image, a light one if a group is given."""
    tokens = torch.zeros(1, network.length, dtype=torch.int64, device="meta")
    y, masked = tokens[:, 0], tokens > 0
    if group is None:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(tokens, masked, y)
        return counter.get_total_flops()
    every = torch.arange(network.length)[None]
    _, own = network.asked(tokens, every.to("meta"), y, None)
    kept = [(keys[:, :, 1:-group], values[:, :, 1:-group]) for keys, values in own]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.asked(tokens[:, :group], every[:, :group].to("meta"), y, kept)
    return counter.get_total_flops()


def built(shape):
    with torch.device("meta"):
        return shape.build()


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters(name):
    network = built(shape_of(name, SIZES[name]["config"]))
    assert sum(p.numel() for p in network.parameters()) == SIZES[name]["params"]
    if "params_unused_in_forward" in SIZES[name]:
        unused = sum(p.numel() for p in network.unused.parameters())
        assert unused == SIZES[name]["params_unused_in_forward"]


COST = {"halton_tiny_256": 0.02, "titok_generator_b64": 0.02, "maskgit_imagenet256": 0.01}
"""By the counting rules' differences: TiTok's leaves out the head, which is 1.8 % there."""


@pytest.mark.parametrize("name", COST)
def test_a_full_pass_costs_what_the_release_s_does(name):
    network = built(shape_of(name, SIZES[name]["config"]))
    assert counted(network) == pytest.approx(SIZES[name]["flops_or_macs"], rel=COST[name])


def test_full_and_light_passes_of_nat_cost_what_the_release_s_do():
    entry = SIZES["maskgit_r_uvit_768x25"]
    network = built(shape_of("maskgit_r_uvit_768x25", entry["config"]))
    for name, wanted in entry["flops_or_macs"].items():
        group = None if name == "full" else int(name.split("_")[1])
        assert counted(network, group) == pytest.approx(wanted, rel=1e-2), name


def test_presets_are_the_published_sizes():
    for kind, preset, name in (
        ("maskgit", "256", "maskgit_imagenet256"),
        ("maskgit", "512", "maskgit_imagenet512"),
        ("maskgit", "titok-l-32", "titok_generator_l32"),
        ("maskgit", "titok-b-64", "titok_generator_b64"),
        ("uvit-bert", "titok-s-128", "titok_generator_s128"),
        ("nat", "L", "maskgit_r_uvit_768x25"),
        *(
            ("halton", f"{short}-{pixels}", f"halton_{long}_{pixels}")
            for short, long in zip(
                ("T", "S", "B", "L", "XL"),
                ("tiny", "small", "base", "large", "xlarge"),
                strict=True,
            )
            for pixels in (256, 384)
        ),
    ):
        found = config.load("network", {"kind": kind, "preset": preset})
        wanted = shape_of(name, SIZES[name]["config"])
        names = [(n, t.shape) for n, t in built(found).state_dict().items()]
        assert names == [(n, t.shape) for n, t in built(wanted).state_dict().items()], preset
        assert getattr(found, "heads", None) == getattr(wanted, "heads", None)


def same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_names_go_both_ways():
    for kind, there, back in (
        ("nat", nat.to_official, nat.from_official),
        ("uvit-bert", titok.uvit_to_official, titok.uvit_from_official),
        ("halton", halton.to_official, halton.from_official),
    ):
        state = tiny(kind).state_dict()
        same(back(there(state)), state)
    state = tiny("maskgit", tied=False).state_dict()
    same(titok.bert_from_official(titok.bert_to_official(state)), state)
    state = tiny("maskgit", null_row=False).state_dict()
    arrays = maskgit.to_official(state, heads=2)
    assert arrays["TransformerLayer_0/Attention_0/self_attention/query/kernel"].shape == (16, 2, 8)
    same(maskgit.from_official(arrays), state)
    same(maskgit.from_official({f"params/{name}": a for name, a in arrays.items()}), state)
    found = maskgit.config_from_official(arrays, codes=11)
    assert found == tiny("maskgit", null_row=False).config


def test_tables_start_as_the_releases_start_them():
    # The cut-off of a normal at 2 deviations is MaskGIT's alone; 5 % of a whole one lie beyond.
    for kind, beyond in (("maskgit", 0.0), ("halton", 0.0455), ("mage", 0.0455)):
        torch.manual_seed(0)
        shape = {"codes": 400, "width": 64, "num_classes": 3}
        words = tiny(kind, **shape).config.build().words.weight
        assert float((words.abs() > 0.04).double().mean()) == pytest.approx(beyond, abs=0.01), kind


def test_mage_s_unused_tensors_have_the_patches_and_channels_that_are_said():
    stated = {"img_size": 48, "patch_size": 8, "in_chans": 1, "embed_dim": 32, "depth": 1}
    stated |= {"num_heads": 2, "decoder_embed_dim": 24, "decoder_depth": 1, "decoder_num_heads": 2}
    made = mage.config_of(stated, unused=True)
    state = made.build().state_dict()
    assert state["unused.patches.weight"].shape == (32, 1, 8, 8)
    assert state["unused.pixels.weight"].shape == (64, 24)
    read = mage.config_from_official(mage.to_official(state, ids=True), heads=2, decoder_heads=2)
    assert (read.unused_patch, read.unused_channels) == (8, 1)


def test_mage_s_checkpoints_come_in_whole_and_go_out_again():
    network = tiny("mage", num_classes=0, unused=True, spare=1000)
    state = network.state_dict()
    official = mage.to_official(state, ids=True)
    assert official["token_emb.position_ids"].shape == (1, 257)
    assert official["mlm_layer.bias"].shape == (1, 1, 1012)
    held = {**official, "vqgan.encoder.conv_in.weight": torch.ones(1)}
    same(mage.from_official(held, unused=True), state)
    assert list(mage.tokenizer_of(held)) == ["encoder.conv_in.weight"]
    found = mage.config_from_official(held, heads=2, decoder_heads=2)
    assert found == network.config
    plain = mage.from_official(held)
    found.model_copy(update={"unused": False}).build().load_state_dict(plain)
    assert network.config.slot == 11 + 76
    assert network.config.mask == 1011


def test_released_halton_files_hold_the_table_twice():
    state = tiny("halton").state_dict()
    official = halton.to_official(state, tied=True)
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in official.items()}
    same(halton.from_official(wrapped), state)
    optimiser = {"state": {}, "param_groups": []}
    held = {"iter": 1, "global_epoch": 0, "model_state_dict": wrapped}
    same(halton.from_official(unwrap({**held, "optimizer_state_dict": optimiser})), state)
    found = halton.config_from_official(wrapped, heads=2)
    assert found.model_copy(update={"mlp": None}) == tiny("halton").config


def test_fused_projections_come_apart_again():
    state = {"a.q.weight": torch.ones(2, 3), "a.k.weight": torch.zeros(2, 3)}
    state |= {"a.v.weight": torch.full((2, 3), 2.0), "b": torch.ones(1)}
    whole = fused(state, (".q.", ".k.", ".v."), ".qkv.")
    assert whole["a.qkv.weight"].shape == (6, 3)
    same(parted(whole, (".q.", ".k.", ".v."), ".qkv."), state)


def test_foreign_tensors_and_settings_are_refused():
    for reader, what in (
        (maskgit.config_from_official, "not a MaskGIT checkpoint"),
        (halton.config_from_official, "not a Halton-MaskGIT checkpoint"),
        (mage.config_from_official, "not a MAGE checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=what):
            reader({"x": torch.ones(1)})
    with pytest.raises(CheckpointError, match="1 of 1 tensors are not of NAT's U-ViT: x"):
        nat.from_official({"x": torch.ones(1)})
    with pytest.raises(ConfigError, match="sched_mode 'odd': expected one of arccos"):
        halton.confident({"sched_mode": "odd"})
    with pytest.raises(ConfigError, match=r"randomize 'warm_up': of the .* only 'linear' is known"):
        halton.confident({"randomize": "warm_up"})
    with pytest.raises(ConfigError, match="guidance_decay 'odd': expected one of constant"):
        titok.parts({"guidance_decay": "odd"})
    with pytest.raises(ConfigError, match="proj 2: the release runs with 1 alone"):
        halton.config_of({"proj": 2})


def test_published_settings_in_our_terms():
    reveal, order, head, scale = titok.parts({"guidance_scale": 4.5, "guidance_decay": "linear"})
    assert isinstance(scale, Ramp)
    assert (scale.start, scale.end) == (1.0, 5.5)
    assert isinstance(titok.parts({"guidance_decay": "power-cosine"})[3], Swell)
    assert halton.visiting({"w": 2.0}, (4, 4))[3] == Flat(3.0)
    assert halton.visiting({"top_k": 5}, (4, 4))[2].top == 5
    assert nat.parts()[3] == Flat(1.0)
    assert sum(maskgit.parts()[0](256, 8)) == 256
    assert reveal(32, 8)[0] > 0
    assert order.temperature == head.spread == mage.parts(temperature=4.5)[1].temperature


def test_maskgit_s_schedules_are_reckoned_in_float32():
    def left(schedule, total, steps, start=0):
        counts = maskgit.parts(schedule=schedule, start=start)[0](total, steps)
        assert len(counts) == steps
        assert sum(counts) == total
        return [total - sum(counts[: step + 1]) for step in range(steps)]

    # 1 - 1/3 and 1 - 2/3 are a bit short of 24 and 12 of 36 tokens; in float64 they are not.
    assert left("uniform", 36, 6) == [30, 23, 18, 11, 6, 0]
    assert left("cosine", 256, 8) == [251, 236, 212, 181, 142, 97, 49, 0]
    assert left("cosine", 16, 6) == [15, 13, 11, 7, 4, 0]
    assert left("pow2", 36, 3) == [32, 19, 0]
    assert left("log", 36, 6) == [17, 11, 6, 4, 1, 0]
    assert left("exp", 36, 4)[1] == 30
    # Editing starts with the third of 12 iterations; few tokens leave iterations empty.
    assert left("cosine", 5, 12, start=2) == [5, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 0]
    with pytest.raises(ConfigError, match="start 12: expected 0 to 11, of 12 steps"):
        left("cosine", 5, 12, start=12)
    with pytest.raises(ConfigError, match=r"schedule 'odd': expected one of uniform, cosine"):
        maskgit.parts(schedule="odd")


@pytest.mark.parametrize(
    ("mode", "known"),
    [
        # 4/6 is a bit short of two thirds in float32, and 5/6 of 36 comes out as 30 after all.
        ("linear", [0, 6, 12, 18, 23, 30, 36]),
        ("square", [0, 1, 4, 9, 15, 25, 36]),
        ("root", [0, 14, 20, 25, 29, 32, 36]),
        ("cosine", [0, 1, 4, 10, 17, 26, 36]),
        ("arccos", [0, 3, 7, 11, 16, 22, 36]),
    ],
)
def test_halton_s_confidence_schedules_are_reckoned_in_float32(mode, known):
    reveal = halton.confident({"sched_mode": mode})[0]
    assert reveal.known(36, 7) == known
    assert sum(reveal(36, 7)) == 36
