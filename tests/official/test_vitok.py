"""ViTok's three forms: parameters, multiply-adds and E of every published size; names both ways."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mezzotint import config, kinds
from mezzotint.errors import CheckpointError, ConfigError, DataError
from mezzotint.official import navae, tokenizers, vitok, vitok2, vitok_dit
from mezzotint.stored import NetworkTokenizer, TokenizerModel
from mezzotint.tokenizers.places import ByAxes, Learned, Mixed, Sines
from mezzotint.tokenizers.vitok import ViTokConfig
from mezzotint.tokenizers.vitok_parts import Half
from tests.tokenizers import HALVES

SIZES = json.loads((Path(__file__).parent / "vitok_sizes.json").read_text())


def parameters(shape) -> int:
    with torch.device("meta"):
        network = shape.build()
    return sum(p.numel() for p in network.parameters())


def cost(shape, size: int) -> dict[str, int]:
    """Return parameters, multiply-adds and E, as `mezzotint show` reports them."""
    model = TokenizerModel(network=shape, size=size)
    with torch.device("meta"):
        return NetworkTokenizer(shape.build(), model, size, "").cost()


def rows(prefix: str) -> list[str]:
    found = [name for name in SIZES if name.startswith(prefix)]
    assert found, f"no size begins with {prefix}"
    return found


def test_every_size_is_looked_at():
    looked_at = [n for p in ("v1 DiT", "paper", "v2", "v3") for n in rows(p)]
    looked_at += [n for n in rows("v1") if "DiT" not in n]
    assert sorted(looked_at) == sorted(SIZES)


@pytest.mark.parametrize("name", [n for n in rows("v1") if "DiT" not in n])
def test_the_first_release(name):
    entry = SIZES[name]
    shape = vitok.config_of(entry["config"])
    found = cost(shape, shape.size)
    assert found["parameters"] == entry["params"]
    assert found["latent_floats"] == shape.floats == entry["E"]
    assert shape.length == entry["tokens"]
    # The release's count of attention and projections; ours is what PyTorch counts.
    assert found["multiply_adds"] == pytest.approx(entry["flops_or_macs"], rel=1e-3)


@pytest.mark.parametrize("name", rows("paper"))
def test_the_pairs_of_the_paper_have_two_widths(name):
    entry = SIZES[name]
    preset = name.split()[1]
    shape = config.load("network", {"kind": "vitok", "preset": preset})
    halves = {half: list(entry["config"][half]) for half in ("encoder", "decoder")}
    assert [shape.encoder.width, shape.encoder.depth] == halves["encoder"]
    assert [shape.decoder.width, shape.decoder.depth] == halves["decoder"]
    found = cost(shape, 256)
    assert found["parameters"] == entry["params"]
    assert found["latent_floats"] == entry["E"]
    assert found["multiply_adds"] == pytest.approx(entry["flops_or_macs"], rel=1e-3)


@pytest.mark.parametrize("name", rows("v1 DiT"))
def test_the_generator(name):
    entry = SIZES[name]
    shape = vitok_dit.config_of(entry["config"])
    assert parameters(shape) == entry["params"]
    preset = kinds.find("network", "token-dit").PRESETS[name.split()[2].split("/")[0]]
    assert {key: getattr(shape, key) for key in preset} == preset


@pytest.mark.parametrize("name", rows("v2"))
def test_the_second_form(name):
    entry = SIZES[name]
    shape = vitok2.config_of_variant(entry["config"]["variant"])
    assert parameters(shape) == entry["params"]
    if name.split()[1] in type(shape).PRESETS:
        preset = {"kind": "vitok2", "preset": name.split()[1]}
        assert config.load("network", preset) == shape
        assert shape.rows(256) ** 2 * shape.latent_channels == entry["E_256"]


@pytest.mark.parametrize("name", rows("v3"))
def test_the_third_form(name):
    entry = SIZES[name]
    shape = navae.config_of(entry["config"])
    assert parameters(shape) == entry["params"]
    assert config.load("network", {"kind": "navae", "preset": name.split()[1]}) == shape


# Names ----------------------------------------------------------------------------------------


def randomised(network):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network.state_dict()


OPTIONS = {
    "plain": {},
    "no kl": {"kl": False},
    "clips": {"frames": 4, "tubelet": 2, "table": {"kind": "sines"}},
    "decoder's table": {"table": {"kind": "learned", "encoded": False}},
    "codes": {"codes": 3, "table": {"kind": "sines", "axes": 1}},
    "mixed": {"rotary": "mixed", "budgets": [1, 2]},
    "swiglu, three axes": {"gate": "silu", "rotary": "by-three-axes"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_names_of_the_first_release_go_both_ways(options):
    halves = {
        "encoder": {"width": 12, "depth": 2, "heads": 1},
        "decoder": {"width": 24, "depth": 1, "heads": 2},
    }
    tree = {"kind": "vitok", "size": 8, "patch": 4, "latent_channels": 3, **halves, **options}
    shape = config.load("network", tree)
    ours = randomised(shape.build())
    official = vitok.to_official(ours)
    again = vitok.from_official(official)
    assert list(again) == list(ours)
    assert all(torch.equal(again[name], ours[name]) for name in ours)
    read = vitok.config_from_official(
        official, heads=(1, 2), size=8, frames=shape.frames, kl=shape.kl
    )
    same = {
        name: value for name, value in shape if name not in {"table", "rotary", "budgets", "gate"}
    }
    assert {name: getattr(read, name) for name in same} == same
    assert list(read.build().state_dict()) == list(ours)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("encoded", [True, False])
def test_a_table_of_sines_is_read_as_one(axes, encoded):
    """A learned one starts as that of three axes, which not every width has: 16 has none."""
    width = 24 if axes == 3 else 16
    half = {"width": width, "depth": 1, "heads": 2}
    table = {"kind": "sines", "axes": axes, "encoded": encoded}
    tree = {"size": 12, "patch": 4, "frames": 4, "tubelet": 2, "latent_channels": 3, "table": table}
    shape = config.load("network", {"kind": "vitok", "encoder": half, "decoder": half, **tree})
    official = vitok.to_official(shape.build().state_dict())
    assert vitok.config_from_official(official, heads=(2, 2), size=12, frames=4) == shape
    if axes == 3:
        official["dec_posemb"] = official["dec_posemb"] + 0.01
        read = vitok.config_from_official(official, heads=(2, 2), size=12, frames=4)
        assert read.table == Learned(encoded)


def test_what_is_no_vitok_is_said_so():
    with pytest.raises(CheckpointError, match="not a ViTok: it has no tensor"):
        vitok.config_from_official({}, heads=(1, 1), size=8)
    with pytest.raises(CheckpointError, match="1 of 1 tensors are not of ViTok: foreign"):
        vitok.from_official({"foreign": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"read encoder\.safetensors and"):
        vitok2.config_from_official({"patch_embed.weight": torch.zeros(4, 12)})
    with pytest.raises(CheckpointError, match="not a NaVAE"):
        navae.config_from_official({}, heads=(1, 1))
    with pytest.raises(CheckpointError, match="not ViTok's DiT"):
        vitok_dit.config_from_official({}, heads=1)


def test_names_of_the_other_forms_go_both_ways():
    second = config.load("network", {"kind": "vitok2", "latent_channels": 2, "patch": 2, **HALVES})
    ours = randomised(second.build())
    official = vitok2.to_official(ours)
    again = vitok2.from_official(official)
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], ours[name]) for name in ours)
    assert vitok2.config_from_official(official) == second
    older = {"groups": 1, "window": None, "gated": False, "resample": "triangle", "canvas": 256}
    for changes in ({}, older, {"groups": 1, "window": None}, {"gated": False, "window": 3}):
        tree = {"kind": "navae", "latent_channels": 2, "patch": 2, "places": 4, **HALVES, **changes}
        third = config.load("network", tree)
        ours = randomised(third.build())
        official = navae.to_official(ours, third)
        again = navae.from_official(official)
        assert again.keys() == ours.keys()
        assert all(torch.equal(again[name], ours[name]) for name in ours)
        read = navae.config_from_official(official, heads=(2, 2), window=third.window)
        assert read == third


@pytest.mark.parametrize("ratio", [2.5, 3.0, 4.0, 4.7, 7.1])
def test_hidden_widths_that_were_rounded_are_read(ratio):
    """An encoder of 8 and a decoder of 12 channels round a ratio to ones that need not agree."""
    shape = vitok2.config_of_variant(f"w8_d1_h2_m{ratio}-w12_d1_h3_m{ratio}/1x2x2")
    read = vitok2.config_from_official(vitok2.to_official(shape.build().state_dict()))
    for half in (shape.encoder, shape.decoder):
        assert read.hidden(half) == shape.hidden(half)
    assert read.model_copy(update={"mlp_ratio": ratio}) == shape


def test_a_half_that_is_of_another_ratio_is_refused():
    shape = vitok2.config_of_variant("w32_d1_h2-w32_d1_h2/1x2x2")
    official = vitok2.to_official(shape.build().state_dict())
    wide = {n: t for n, t in official.items() if "ffn" not in n or not n.startswith("encoder")}
    name = "encoder_blocks.0.ffn.fc1.weight"
    with pytest.raises(CheckpointError, match="are of no ViTok-v2"):
        vitok2.config_from_official({**wide, name: torch.zeros(4 * len(official[name]), 32)})


def test_both_files_of_the_second_form_make_a_tokenizer(tmp_path):
    shape = config.load("network", {"kind": "vitok2", "latent_channels": 2, "patch": 2, **HALVES})
    network = shape.build()
    official = vitok2.to_official(network.state_dict())
    back = ("decoder", "to_pixels")
    for file, wanted in zip(vitok2.FILES, (False, True), strict=True):
        part = {n: t.contiguous() for n, t in official.items() if n.startswith(back) is wanted}
        save_file(part, tmp_path / file)
    made = tokenizers.read("vitok2", tmp_path, {"size": 8})
    assert made.model.network == shape
    assert made.spec.shape == (2, 4, 4)
    again = tokenizers.exported(made)
    assert all(torch.equal(again[name], tensor) for name, tensor in official.items())
    with pytest.raises(CheckpointError, match=r"read encoder\.safetensors and"):
        tokenizers.read("vitok2", tmp_path / vitok2.FILES[0], {})


def towers(**changes):
    tower = {"width": 32, "depth": 1, "num_heads": 4, "nposemb": 4, "kv_groups": 2}
    image = {**tower, "local_ws": [5, 5], "use_t5_mlp": True, **changes}
    return {"patch_size": 2, "channel_dim": 3, "image": image, "decoder_image": dict(image)}


def test_the_third_form_s_options():
    assert navae.config_of(towers()).window == 5
    assert navae.config_of(towers(local_ws=None)).window is None
    unsaid = towers()
    for tower in ("image", "decoder_image"):
        del unsaid[tower]["local_ws"]
    assert navae.config_of(unsaid).window == 128
    with pytest.raises(ConfigError, match="local_ws: 5 and 7; expected the same to both sides"):
        navae.config_of(towers(local_ws=[5, 7]))
    apart = towers()
    apart["decoder_image"]["kv_groups"] = 4
    with pytest.raises(ConfigError, match="kv_groups: 2 and 4; expected the same in both towers"):
        navae.config_of(apart)


def test_older_towers_take_grids_beyond_their_tables():
    older = {**towers(), "image_model": "proj.image_text.naflex_vit"}
    shape = navae.config_of(
        {
            **older,
            "image": towers(use_t5_mlp=False)["image"],
            "decoder_image": towers(use_t5_mlp=False)["decoder_image"],
        }
    )
    made = shape.build()
    row, column = (
        axis.reshape(1, -1)
        for axis in torch.meshgrid(torch.arange(6), torch.arange(3), indexing="ij")
    )
    table = made.encoder.positions.movedim(-1, 0)[None]
    wanted = torch.nn.functional.interpolate(table, (6, 3), mode="bilinear", antialias=True)
    found = made.encoder.placed(row, column)
    torch.testing.assert_close(found, wanted.flatten(2).mT, atol=1e-6, rtol=1e-5)
    with pytest.raises(DataError, match="has 4 places"):
        navae.config_of(towers()).build().encoder.placed(row, column)


def test_the_generator_s_names_go_both_ways():
    tree = {"kind": "token-dit", "channels": 2, "size": [2, 2], "num_classes": 3}
    shape = config.load("network", {**tree, "width": 8, "depth": 2, "heads": 2})
    ours = randomised(shape.build())
    official = vitok_dit.to_official(ours)
    again = vitok_dit.from_official(official)
    assert all(torch.equal(again[name], ours[name]) for name in ours)
    assert vitok_dit.config_from_official(official, heads=2, size=(2, 2)) == shape
    with pytest.raises(ConfigError, match="these tensors are of 4 tokens"):
        vitok_dit.config_from_official(official, heads=2, size=(3, 3))


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("L/1x16x64", "expected ENCODER-DECODER"),
        ("Ld4-L/2x16x64", "expected ENCODER-DECODER"),
        ("Q-L/1x16x64", "'Q' is no half"),
        ("w32_h2-B/1x4x8", "does not say its depth"),
    ],
)
def test_a_variant_that_is_not_understood(variant, said):
    with pytest.raises(ConfigError, match=said) as caught:
        vitok2.config_of_variant(variant)
    assert "\n" not in str(caught.value)


def test_the_release_s_options_have_their_parts():
    common = {"width": 24, "encoder_depth": 1, "decoder_depth": 2, "num_heads": 2}
    common |= {"img_size": 8, "patch_size": 4, "code_width": 3, "code_length": 4}
    styles = {"2d_axial": ByAxes(100.0), "2d_mixed": Mixed(100.0)}
    for style, part in styles.items():
        given = {**common, "rope_style": style, "rope_theta": 100.0}
        assert vitok.config_of(given).rotary == part
    tables = {"sincos1d": Sines(1), "sincos2d": Sines(2), "learned": Learned(), "nope": None}
    for name, table in tables.items():
        assert vitok.config_of({**common, "posemb": name}).table == table
    assert vitok.config_of(common) == ViTokConfig(
        size=8,
        patch=4,
        latent_channels=3,
        encoder=Half(width=24, depth=1, heads=2),
        decoder=Half(width=24, depth=2, heads=2),
    )


def test_a_length_above_the_tokens_is_all_of_them():
    shape = {"width": 16, "encoder_depth": 1, "decoder_depth": 1, "num_heads": 2, "patch_size": 4}
    made = vitok.config_of(shape | {"img_size": 16, "code_width": 4, "lengths": [4, 16, 32]})
    assert made.budgets == (4, 16, 16)
