"""DESIGN 4.7, law 12: load(dump(c)) == c for every kind; building twice gives the same names."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mezzotint import config, kinds
from tests.tokenizers import HALVES, KL, VITOK, VQ, tiny_kl

KINDS = [(role, kind) for role in kinds.KINDS for kind in kinds.names(role)]
NETWORK = {"kind": "dit", "width": 16, "depth": 1, "heads": 2, "patch": 2, "channels": 3}
NETWORK |= {"size": [4, 4], "num_classes": 2}
CLASSIFIER = {"channels": 3, "size": [8, 8], "num_classes": 2, "widths": [8], "blocks": 1}
COARSE = {"width": 8, "depth": 3, "heads": 2}
MAR = {name: NETWORK[name] for name in ("channels", "size", "num_classes")} | COARSE
MAR |= {"head": {"kind": "token-mlp", "width": 4, "depth": 1}}
CODES = {"codes": 5, "size": [2, 2], "num_classes": 2, "depth": 1, "width": 8, "heads": 2}
NOISY = {"channels": 3, "size": [4, 4], "num_classes": 2, "width": 32, "multipliers": [1]}
PLAYERS = {
    "channels": 3,
    "size": [4, 4],
    "code": 2,
    "generator": "upconvolution",
    "discriminator": "strided-discriminator",
    "autoencoder": "code-autoencoder",
}
# What has no default; a kind that is new here and needs something fails until it is listed.
NEEDS: dict[tuple[str, str], dict[str, Any]] = {
    ("network", "dit"): NETWORK,
    ("network", "lit"): {**NETWORK, "kind": "lit"},
    ("network", "dico"): {
        **{name: NETWORK[name] for name in ("channels", "size", "num_classes")},
        "width": 2,
        "depths": [1, 1, 1, 1, 1],
    },
    ("network", "uvit"): {**NETWORK, "kind": "uvit", "depth": 3},
    ("network", "dimr"): {
        **{name: NETWORK[name] for name in ("channels", "size", "num_classes")},
        "branches": [
            {"kind": "transformer", **COARSE, "patch": 2},
            {"kind": "convolution", "width": 4, "depth": 1, "kernel": 3},
        ],
    },
    ("network", "mar"): MAR,
    ("network", "token-mlp"): {"channels": 3, "condition": 8, "width": 4, "depth": 1},
    ("branch", "transformer"): COARSE,
    ("branch", "convolution"): {"width": 4, "depth": 1},
    ("network", "maskgit"): {**CODES, "hidden": 8},
    ("network", "nat"): {**CODES, "hidden": 8},
    ("network", "uvit-bert"): {**CODES, "hidden": 8},
    ("network", "halton"): CODES,
    ("network", "mage"): {**CODES, "decoder_depth": 1, "decoder_width": 8, "decoder_heads": 2},
    ("network", "adm"): NOISY,
    ("network", "adm-classifier"): NOISY,
    ("network", "residual"): CLASSIFIER,
    ("network", "depthwise"): CLASSIFIER,
    ("network", "committee"): {
        **{name: CLASSIFIER[name] for name in ("channels", "size", "num_classes")},
        "members": [{"kind": "residual", **CLASSIFIER}, {"kind": "depthwise", **CLASSIFIER}],
    },
    ("model", "diffusion"): {"network": NETWORK},
    ("model", "masked"): {"network": {"kind": "mar", **MAR}, "head": "diffusion"},
    ("along", "ramp"): {"start": 1.0, "end": 3.0},
    ("along", "swell"): {"end": 3.0},
    ("along", "inverse"): {"inner": "flat"},
    ("order", "halton"): {"size": [4, 4]},
    ("model", "classifier"): {"network": {"kind": "residual", **CLASSIFIER}, "mirrored": True},
    ("model", "stitched"): {
        "models": [{"kind": "diffusion", "network": NETWORK}] * 2,
        "fractions": [0.25, 0.75],
    },
    ("network", "timm"): {
        **{name: CLASSIFIER[name] for name in ("channels", "num_classes")},
        "size": [32, 32],
        "name": "resnet10t",
    },
    ("model", "noisy-classifier"): {"network": {"kind": "adm-classifier", **NOISY}},
    ("network", "kl"): KL,
    ("network", "caffenet"): {
        **{name: CLASSIFIER[name] for name in ("channels", "size", "num_classes")},
        "convolutions": [{"width": 2, "pool": True}],
        "hidden": [3],
    },
    ("network", "upconvolution"): {"size": [4, 4], "code": 2},
    ("network", "code-autoencoder"): {"code": 2},
    ("network", "strided-discriminator"): {"size": [4, 4]},
    ("network", "ppgn"): PLAYERS,
    ("model", "ppgn"): {"network": {"kind": "ppgn", **PLAYERS}, "encoder": {"source": "digits"}},
    ("network", "vq"): VQ,
    ("network", "maskgit-vq"): VQ,
    ("network", "vitok"): VITOK,
    ("network", "vitok2"): {**HALVES, "latent_channels": 2, "patch": 2},
    ("network", "navae"): {**HALVES, "latent_channels": 2, "patch": 2, "places": 4},
    ("network", "token-dit"): {n: NETWORK[n] for n in NETWORK if n not in {"kind", "patch"}},
    ("model", "tokenizer"): {"network": {"kind": "kl", **KL}, "size": 4},
    ("tokenizer", "pixels"): {"size": 4},
    ("tokenizer", "stored"): {"source": str(tiny_kl()), "size": 4},
    ("prediction", "leading"): {"inner": "velocity"},
    ("data", "folder"): {"path": "pictures"},
    ("data", "clips"): {"path": "clips"},
    ("data", "latents"): {"path": "latents"},
    ("data", "unlabelled"): {"inner": "digits"},
    ("data", "torchvision"): {"name": "CIFAR10", "root": "pictures"},
    ("data", "hugging-face"): {"name": "someone/pictures"},
}
FULL = [
    ("path", {"kind": "discrete-vp", "schedule": "cosine", "steps": 50, "clock_shift": 1.0}),
    ("prediction", {"kind": "learned-range", "mean": {"kind": "x0", "weighting": "min-snr"}}),
    ("grid", {"kind": "nested", "outer": {"kind": "log-snr", "end": 0.01}, "plan": "uniform"}),
    ("grid", {"kind": "respaced", "sections": [10, 15, 20]}),
    ("sampler", {"kind": "euler-maruyama", "diffusion": {"kind": "sbdm", "norm": 0.5}}),
    ("sampler", {"kind": "dpm-solver", "plan": {"kind": "fast", "order": 2}, "target": "noise"}),
    ("sampler", {"kind": "runge-kutta", "rule": "heun3", "land": False}),
    ("walk", {"kind": "langevin", "preset": "denoiser", "restart": {"every": 3}}),
    ("order", {"kind": "raster", "inner": {"kind": "halton", "size": [2, 2], "roll": True}}),
    ("reveal", {"kind": "revealed", "curve": {"kind": "power", "power": 2.5}, "early": True}),
    ("head", {"kind": "perturbed", "spread": {"kind": "swell", "end": 2.0}, "top": 3}),
    ("scale", {"kind": "interval", "scale": 3.0, "low": 0.2, "high": 0.8}),
]


def smallest(role: str, kind: str) -> Any:
    return config.load(role, {"kind": kind, **NEEDS.get((role, kind), {})})


@pytest.mark.parametrize(("role", "kind"), KINDS, ids=map("-".join, KINDS))
def test_law_12_a_part_survives_being_written(role, kind):
    part = smallest(role, kind)
    written = config.dump(part)
    assert written["kind"] == kind
    again = config.load(role, written)
    assert again == part
    assert type(again) is type(part)
    assert config.dump(again) == written


@pytest.mark.parametrize(("role", "kind"), KINDS, ids=map("-".join, KINDS))
@settings(max_examples=4)
@given(data=st.data())
def test_law_12_numbers_survive_being_written(role, kind, data):
    """Any whole or real numbers in place of the defaults, as far as the part accepts them."""
    tree = config.dump(smallest(role, kind))
    for name, value in tree.items():
        if isinstance(value, float):
            tree[name] = data.draw(st.floats(1e-9, 1e9), label=name)
        elif isinstance(value, int) and not isinstance(value, bool) and (role, kind) not in NEEDS:
            tree[name] = data.draw(st.integers(1, 2000), label=name)
    try:
        part = config.load(role, tree)
    except config.ConfigError:
        return
    assert config.load(role, config.dump(part)) == part
    assert config.dump(part) == tree


@pytest.mark.parametrize(("role", "tree"), FULL)
def test_law_12_a_tree_survives_being_written(role, tree):
    part = config.load(role, tree)
    assert config.load(role, config.dump(part)) == part
    assert part != config.load(role, {"kind": tree["kind"]})


def names(module: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]


BUILT = [(role, kind) for role, kind in KINDS if hasattr(kinds.find(role, kind), "build")]


@pytest.mark.parametrize(("role", "kind"), BUILT, ids=map("-".join, BUILT))
def test_law_12_building_twice_gives_the_same_names(role, kind):
    part = smallest(role, kind)
    with torch.device("meta"):
        first, second = part.build(), part.build()
        again = config.load(role, config.dump(part)).build()
    assert type(first) is type(second) is type(again)
    if isinstance(first, nn.Module):
        assert names(first) == names(second) == names(again) != []


def test_what_is_built_are_the_networks_the_models_and_the_tokenizers():
    assert {role for role, _ in BUILT} == {"network", "model", "tokenizer"}
