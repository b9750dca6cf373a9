"""Vector-quantised autoencoders of others: sizes and costs, four schemes of names, whole files."""

import pytest
import torch
from safetensors.torch import save_file

from mezzotint import card, stored
from mezzotint.config import build, load
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.noise import SeededNoise
from mezzotint.official.kl import Reading
from mezzotint.official.vq import config_from_official, from_official, read_vq, to_official
from mezzotint.official.vq_names import FLAX, LLAMAGEN, OPEN_MUSE, TAMING, USED, names_of

# maskgit.md, section 2.2: parameters of the whole, and FLOPs (2 MACs) of 256 px.
PARAMETERS, ENCODER, DECODER = 54_515_587, 23_775_104, 30_478_339
FLOPS = 128_630_915_072 + 186_545_864_704
SMALL = {"latent_channels": 8, "width": 32, "multipliers": (2, 1, 1), "blocks": 2, "codes": 20}
MASKGIT = {"taming": TAMING, "open-muse": OPEN_MUSE, "flax": FLAX}
SHAPES = [
    ("maskgit-vq", TAMING, {}),
    ("maskgit-vq", OPEN_MUSE, {}),
    ("maskgit-vq", FLAX, {}),
    ("maskgit-vq", TAMING, {"blocks": 1, "middle": 2, "channels": 1}),
    ("maskgit-vq", OPEN_MUSE, {"blocks": 3, "multipliers": (1,)}),
    ("maskgit-vq", FLAX, {"blocks": 1, "multipliers": (1, 2)}),
    ("vq", LLAMAGEN, {"attention": (4,), "decoder_attention": (4,), "inner_channels": 16}),
    ("vq", LLAMAGEN, {"attention": (1, 2), "blocks": 1}),
]
IDS = [f"{kind}-{k}" for k, (kind, _, _) in enumerate(SHAPES)]


def small(kind, more=()):
    return load("network", {"kind": kind, **SMALL, **dict(more)}).build().eval()


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_maskgits_has_its_parameters_and_its_cost():
    """What is counted is PyTorch's; the FLOPs of `how` are those of matmuls and convolutions."""
    with torch.device("meta"):
        model = load("network", {"kind": "maskgit-vq", "preset": "f16-1024"}).build()
        image, codes = torch.zeros(1, 3, 256, 256), torch.zeros(1, 256, 16, 16)
        macs = [card.cost(m, x)["multiply_adds"] for m, x in ((model.encoder, image),)]
        macs += [card.cost(model.decoder, codes)["multiply_adds"]]
    assert parameters(model) == PARAMETERS
    assert (parameters(model.encoder), parameters(model.decoder)) == (ENCODER, DECODER)
    assert 2 * sum(macs) == pytest.approx(FLOPS, rel=1e-9)


def test_llamagens_has_about_the_parameters_that_are_remembered():
    """72 M: from memory of its paper, not from a specification."""
    with torch.device("meta"):
        model = load("network", {"kind": "vq", "preset": "llamagen-16"}).build()
    assert parameters(model) == pytest.approx(72e6, rel=0.01)
    assert (model.config.stride, model.config.vocabulary) == (16, 16_384)


@pytest.mark.parametrize(("kind", "names", "more"), SHAPES, ids=IDS)
def test_names_go_both_ways_bit_for_bit(kind, names, more):
    model = small(kind, more)
    ours = model.state_dict()
    official = to_official(ours, names)
    assert names_of(official) is names
    back = from_official(official)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = to_official(back, names)
    assert again.keys() == official.keys()
    assert all(torch.equal(again[name], official[name]) for name in official)
    assert config_from_official(official) == model.config


def test_one_set_of_numbers_has_three_schemes():
    model = small("maskgit-vq")
    states = {name: to_official(model.state_dict(), names) for name, names in MASKGIT.items()}
    assert "decoder.up.2.upsample.conv.bias" in states["taming"]
    assert "decoder.up.2.upsample_conv.bias" in states["open-muse"]
    assert "encoder.mid.block_2.norm1.weight" in states["taming"]
    assert "encoder.mid.1.norm1.weight" in states["open-muse"]
    kernel = states["flax"]["decoder/ResBlock_0/Conv_0/kernel"]  # the middle comes first
    assert torch.equal(kernel.permute(3, 2, 0, 1), model.decoder.middle[0].conv1.weight)
    up = states["flax"]["decoder/Conv_1/kernel"]  # the lowest level's
    assert torch.equal(up.permute(3, 2, 0, 1), model.decoder.levels[2].resample.conv.weight)
    back = [from_official(state) for state in states.values()]
    assert all(torch.equal(b[name], t) for b in back for name, t in model.state_dict().items())
    rooted = {f"params/{name}": tensor for name, tensor in states["flax"].items()}
    assert from_official(rooted).keys() == back[0].keys()


def test_foreign_and_missing_tensors_are_named():
    for kind, names in (("maskgit-vq", TAMING), ("maskgit-vq", FLAX), ("vq", LLAMAGEN)):
        official = to_official(small(kind).state_dict(), names)
        odd = "encoder/odd" if names is FLAX else "encoder.mid.odd.weight"
        with pytest.raises(CheckpointError, match=rf"1 of \d+ .*{odd}"):
            from_official({**official, odd: torch.ones(1)})
    lone = {n: t for n, t in official.items() if n != "quantize.embedding.weight"}
    with pytest.raises(CheckpointError, match=r"not a vector-quantised autoencoder: .*codebook"):
        config_from_official(lone)
    uneven = small("maskgit-vq", {"middle": 3}).state_dict()
    with pytest.raises(CheckpointError, match="as many blocks in the middle"):
        to_official(uneven, FLAX)


def test_files_become_tokenizers(tmp_path):
    model = small("maskgit-vq", {"middle": 2})
    official = to_official(model.state_dict(), TAMING)
    whole = {f"vqgan.{name}": tensor for name, tensor in official.items()}
    torch.save({"model": {**whole, "cls_token": torch.ones(1)}}, tmp_path / "mage.pth")
    arrays = to_official(model.state_dict(), FLAX)
    save_file(arrays, tmp_path / "flax.safetensors")
    made = read_vq(tmp_path / "mage.pth", Reading(size=16))
    made.save(tmp_path / "vq")
    again = stored.load(tmp_path / "vq")
    assert made.spec == again.spec
    assert again.tree["provenance"]["tensors_left_out"] == 1
    assert read_vq(tmp_path / "flax.safetensors").fingerprint == made.fingerprint
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    tokens = again.latents(again.encode(images), SeededNoise(range(2)))
    assert torch.equal(tokens, model.encode(images.float() / 127.5 - 1).flatten(1))
    with pytest.raises(ConfigError, match="tokens are not scaled"):
        read_vq(tmp_path / "mage.pth", Reading(scale=0.5))


def test_llamagens_record_of_use_is_written_and_not_read(tmp_path):
    model = small("vq")
    official = to_official(model.state_dict(), LLAMAGEN)
    assert official[USED].shape == (65_536,)
    torch.save({"model": official}, tmp_path / "vq_ds.pt")
    made = read_vq(tmp_path / "vq_ds.pt", Reading(size=8))
    assert made.network.state_dict().keys() == model.state_dict().keys()
    torch.save({"weight": torch.ones(1)}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="not of MaskGIT's VQGAN"):
        read_vq(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("vq", {"width": 48}, "width 48 must be a multiple of 32"),
        ("vq", {"codes": 0}, "codes"),
        ("maskgit-vq", {"middle": 0}, "middle"),
        ("vq", {"attention": (64,)}, "attention at stride 64"),
    ],
)
def test_shapes_that_cannot_be_are_refused_in_a_line(kind, more, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load("network", {"kind": kind, **SMALL, **more})
    assert "\n" not in str(caught.value)


def test_a_shape_of_the_wrong_kind_is_not_taken():
    with pytest.raises(ConfigError, match="inner_channels"):
        build(type(small("maskgit-vq").config), {**SMALL, "inner_channels": 4})
