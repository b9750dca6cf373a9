"""MAR's release: sizes, costs and presets, names both ways bit for bit, and how its files look."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mezzotint import releases
from mezzotint.card import cost
from mezzotint.config import load
from mezzotint.diffusion.betas import CosineBetas
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.mar import MAR, MARConfig
from mezzotint.networks.mar_slots import KeptSlots
from mezzotint.official.mar import (
    config_from_official,
    config_of,
    from_official,
    parts,
    to_official,
)
from mezzotint.official.renames import read_file, unwrap
from tests.tiny import MASKED

SIZES = json.loads((Path(__file__).parent / "mar_sizes.json").read_text())
SIZES.pop("kl16_vae")
PRESETS = {"B": "mar_base", "L": "mar_large", "H": "mar_huge"}


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters(name):
    with torch.device("meta"):
        model = MAR(config_of(SIZES[name]["config"]))
    head = sum(p.numel() for p in model.head.parameters())
    assert head == SIZES[name]["params_head"]
    assert sum(p.numel() for p in model.parameters()) - head == SIZES[name]["params_without_head"]
    assert SIZES[name]["params"] == SIZES[name]["params_head"] + SIZES[name]["params_without_head"]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("mar_base", 256), ("mar_base", 128), ("mar_base", 0), ("mar_large", 128), ("mar_huge", 128)],
)
def test_a_published_size_costs_what_was_counted(name, hidden):
    """The release's figures leave out the projection of the tokens that are known."""
    config = config_of(SIZES[name]["config"])
    with torch.device("meta"):
        model = MAR(config).eval()
        tokens = model.empty(1)
    # What is masked decides shapes, so it has to have values.
    model.look = _on_meta(model, hidden)  # type: ignore[method-assign]
    masked = torch.zeros(1, model.length, dtype=torch.bool, device="meta")
    found = cost(model, tokens, masked, torch.zeros(1, dtype=torch.long, device="meta"))
    entering = (model.length - hidden) * config.values * config.width
    wanted = SIZES[name]["flops_or_macs"][f"backbone_{hidden}_masked"] // 2
    assert found["multiply_adds"] - entering == wanted


def _on_meta(model: MAR, hidden: int):
    """Return `look` with places that are told by their number."""
    inner = model.look

    def look(tokens, masked, where, slots, context):
        visible = torch.zeros(1, model.length - hidden, dtype=torch.long, device="meta")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mezzotint.networks.mar.shown", lambda _hidden: visible)
            return inner(tokens, masked, where, slots, context)

    return look


# Twice the multiply-adds at stage 48 of 64, where 159 tokens are known and a group of 5 and 6 comes
# (recap.md; each image, and each branch of guidance): full pass, light one, the slots kept.
PASSES = {
    "mar_base": (98_110_181_376, 26_007_257_088, 2_895_593_472),
    "mar_large": (229_078_269_952, 60_730_638_336, 6_758_334_464),
    "mar_huge": (443_341_312_000, 117_540_864_000, 13_076_480_000),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_light_pass_costs_the_share_of_a_full_one_that_is_predicted(name, monkeypatch):
    def places(hidden):
        return torch.zeros(1, {256: 159, 159: 159, 11: 5}[hidden.shape[1]], dtype=torch.long)

    monkeypatch.setattr("mezzotint.networks.mar.shown", places)
    monkeypatch.setattr("mezzotint.networks.mar_context.shown", places)
    monkeypatch.setattr(
        "mezzotint.networks.mar_context.outside", lambda where, length: where[:, :0]
    )
    config = config_of(SIZES[name]["config"])
    with torch.device("meta"):
        model = MAR(config).eval()
        tokens, masked = model.empty(1), torch.ones(1, model.length, dtype=torch.bool)
        where, y = torch.zeros(1, 11, dtype=torch.long), torch.zeros(1, dtype=torch.long)
        _, context = model.prefill(tokens, masked, y)
        # All are kept but those of the group, so 245 stand for what `outside` would name.
        others = torch.zeros(1, 245, dtype=torch.long)
        monkeypatch.setattr("mezzotint.networks.mar_context.outside", lambda where, length: others)
        found = [
            cost(_Pass(model, network), tokens, masked, where, context, y)["multiply_adds"]
            for network in (None, model, KeptSlots(model))
        ]
    entering = [159, 5, 5]  # the specification leaves out the projection of known tokens
    width = config.values * config.width
    counted = [2 * (n - known * width) for n, known in zip(found, entering, strict=True)]
    assert counted == list(PASSES[name])
    assert counted[1] / counted[0] <= 0.266


class _Pass(torch.nn.Module):
    """A full pass where there is no network for a light one."""

    def __init__(self, model: MAR, network: MAR | KeptSlots | None) -> None:
        super().__init__()
        self.model, self.network = model, network

    def forward(self, tokens, masked, where, context, y):
        if self.network is None:
            return self.model(tokens, masked, y)
        return self.network.extend(tokens, masked, where, context, y)


def test_official_weights_come_in_by_a_recipe_and_go_out(tmp_path):
    tree = {**MASKED, "model": {**MASKED["model"], "head": "diffusion"}}
    shape = {"channels": 3, "size": (8, 8), "num_classes": 7}
    config = load("network", {**MASKED["model"]["network"], **shape})
    network = config.build()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    official = to_official(network.state_dict())
    save_file(official, tmp_path / "mar.safetensors")
    made = releases.imported(tmp_path / "mar.safetensors", tree)
    assert made.classes == tuple("0123456")
    assert made.sample("3", seeds=1).shape == (1, 3, 8, 8)
    again = releases.exported(made)
    assert again.keys() == official.keys()
    assert all(torch.equal(again[name], official[name]) for name in official)


@pytest.mark.parametrize("name", SIZES)
def test_the_head_costs_what_was_counted(name):
    with torch.device("meta"):
        head = config_of(SIZES[name]["config"]).head.build()
        one = torch.zeros(1)
        x, z = torch.zeros(1, head.config.channels), torch.zeros(1, head.config.condition)
        found = cost(head, x, one, z)
    wanted = SIZES[name]["flops_or_macs"]["diffusion_head_per_token_per_step"]
    assert 2 * found["multiply_adds"] == wanted


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_the_published_shape(preset):
    published = config_of(SIZES[PRESETS[preset]]["config"])
    shared = {"channels": 16, "size": (16, 16), "num_classes": 1000}
    ours = MARConfig(**shared, **MARConfig.PRESETS[preset])
    assert (ours.encoder, ours.decoder) == (published.encoder, published.decoder)
    plain = {"decoder_width", "decoder_depth", "decoder_heads"}
    assert ours.model_dump(exclude=plain) == published.model_dump(exclude=plain)


def small(**changes) -> MAR:
    shape = {
        "img_size": 64,
        "patch_size": 1,
        "vae_embed_dim": 3,
        "class_num": 5,
        "encoder_embed_dim": 16,
        "encoder_depth": 2,
        "encoder_num_heads": 2,
        "decoder_embed_dim": 12,
        "decoder_depth": 1,
        "decoder_num_heads": 3,
        "buffer_size": 3,
        "diffloss_w": 8,
        "diffloss_d": 2,
    }
    model = MAR(config_of({**shape, **changes}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("changes", [{}, {"patch_size": 2, "mlp_ratio": 2.5}, {"buffer_size": 1}])
def test_names_go_both_ways_bit_for_bit(changes):
    model = small(**changes)
    ours = model.state_dict()
    official = to_official(ours)
    assert official["class_emb.weight"].shape == (5, 16)
    assert official["fake_latent"].shape == (1, 16)
    assert "decoder_blocks.0.mlp.fc2.weight" in official
    assert "diffloss.net.res_blocks.1.adaLN_modulation.1.bias" in official
    back = from_official(official)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    again = to_official(back)
    assert all(torch.equal(again[name], official[name]) for name in official)
    config = model.config
    heads = (config.heads, config.decoder[2])
    assert config_from_official(official, patch=config.patch, heads=heads) == config


def test_a_ratio_read_off_makes_mlps_as_wide_as_they_are():
    model = small(encoder_embed_dim=28, decoder_embed_dim=28, decoder_num_heads=2, mlp_ratio=4.36)
    assert int(28 * (122 / 28)) != 122  # what is read off must not be the bare quotient
    official = to_official(model.state_dict())
    read = config_from_official(official, patch=1, heads=(2, 2))
    MAR(read).load_state_dict(from_official(official))


def test_a_training_file_gives_its_average(tmp_path):
    official = to_official(small().state_dict())
    plain = {name: torch.zeros_like(tensor) for name, tensor in official.items()}
    held = {"model": plain, "model_ema": official, "epoch": 3}
    path = tmp_path / "checkpoint-last.pth"
    torch.save(held, path)
    for found in (unwrap(held), read_file(path)):
        assert all(torch.equal(found[name], official[name]) for name in official)


def test_foreign_tensors_and_unknown_widths_are_said():
    official = to_official(small().state_dict())
    with pytest.raises(CheckpointError, match=r"1 of .* are not of MAR: odd"):
        from_official({**official, "odd": torch.zeros(1)})
    lacking = {name: t for name, t in official.items() if name != "fake_latent"}
    with pytest.raises(CheckpointError, match="no tensor fake_latent"):
        from_official(lacking)
    with pytest.raises(ConfigError, match=r"width 16, of the decoder 12.*how many heads"):
        config_from_official(official)
    with pytest.raises(CheckpointError, match="not a MAR checkpoint"):
        config_from_official({"z_proj.weight": torch.zeros(2, 2)})


def test_the_head_is_a_chain_of_a_thousand_cosine_steps():
    path, prediction = parts()
    assert path.steps == 1000
    assert path.schedule == CosineBetas()
    assert prediction.bound == 1.0
    assert not prediction.bound_mean
