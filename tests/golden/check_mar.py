"""MAR: its KL autoencoder (mar.md, section 5)."""

import torch

from mezzotint.noise import TapeNoise
from mezzotint.official.kl import config_of
from mezzotint.official.kl_names import from_official, to_official
from mezzotint.stored import NetworkTokenizer, TokenizerModel
from mezzotint.tokenizers.kl import SCALES, divergence, moments
from tests.golden.case import Case, checks

ATOL = 2e-5


def tokenizer(case: Case) -> NetworkTokenizer:
    """Return the case's autoencoder; the half that it does not hold stays fresh."""
    config = case.config
    encoder = config.get("encoder", config.get("decoder"))
    shape = config_of(encoder, config.get("decoder", {"attn_resolutions": []}), config["embed_dim"])
    assert config.get("use_variational", True), "a second moment that is not learned is not ours"
    model = TokenizerModel(network=shape, size=encoder["resolution"], scale=SCALES["f16"])
    ours = from_official(case.state)
    fresh = model.build().state_dict()
    halves = {"encoder.": ("encoder.", "quant."), "decoder.": ("decoder.", "post_quant.")}
    held = tuple(n for half, names in halves.items() if half[:-1] in config for n in names)
    assert ours.keys() == {name for name in fresh if name.startswith(held)}
    again = to_official(ours)
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    return model.open({}, fresh | ours, case.path)


@checks("mar", r"vae\.py:AutoencoderKL\.encode", "state/quant_conv.weight", "input/image")
def mar_kl_encode(case: Case) -> None:
    made = tokenizer(case)
    with torch.no_grad():
        codes = made.network.encode(case.input("image"))
    mean, log_variance = moments(codes)
    case.expect("moments", codes, atol=ATOL)
    case.expect("mean", mean, atol=ATOL)
    case.expect("logvar", log_variance, atol=ATOL)
    case.expect("std", (0.5 * log_variance).exp(), atol=ATOL)
    # A sum near a thousand: MAR's 1e-4, and where float32 itself is coarser, two of its steps.
    case.expect("kl", divergence(codes), atol=1e-4, rtol=2.4e-7)
    if "input/eps" in case.tensors:
        draws = case.input("eps")
        z = made.network.draw(codes, TapeNoise([draws]))
        case.expect("sample", z, atol=ATOL)
        case.expect("scaled_sample", made.latents(codes, TapeNoise([draws])), atol=ATOL)
    case.expect("mode", mean, atol=ATOL)


@checks("mar", r"vae\.py:AutoencoderKL\.decode", "state/post_quant_conv.weight", "input/z")
def mar_kl_decode(case: Case) -> None:
    network = tokenizer(case).network
    with torch.no_grad():
        case.expect("image", network.decode(case.input("z")), atol=ATOL)
