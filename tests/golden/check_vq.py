"""Vector-quantised autoencoders: MaskGIT's by three names, and LlamaGen's (maskgit.md, 2.2)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mezzotint.official.vq import config_from_official, from_official, to_official
from mezzotint.official.vq_names import FLAX, LLAMAGEN, OPEN_MUSE, TAMING, USED, VQNames, names_of
from mezzotint.tokenizers.maskgit_vq import MaskGITVQConfig
from mezzotint.tokenizers.vq import VectorQuantised, VQConfig
from tests.golden.case import Case, checks

ATOL = 2e-5
COMMITMENT = 0.25


def taming(case: Case) -> MaskGITVQConfig:
    config = case.config
    inside = config["ddconfig"]
    return maskgit(
        inside["ch"], inside["ch_mult"], inside, config["embed_dim"], config["n_embed"], middle=2
    )


def open_muse(case: Case) -> MaskGITVQConfig:
    c = case.config
    return maskgit(c["hidden_channels"], c["channel_mult"], c, c["z_channels"], c["codebook_size"])


def flax(case: Case) -> MaskGITVQConfig:
    c = case.config
    assert (c["conv_downsample"], c["norm_type"], c["quantizer"]) == (False, "GN", "vq")
    return maskgit(
        c["filters"], c["channel_multipliers"], c, c["embedding_dim"], c["codebook_size"]
    )


def maskgit(
    width: int,
    multipliers: list[int],
    rest: Any,
    latent: int,
    codes: int,
    middle: int | None = None,
) -> MaskGITVQConfig:
    channels = rest.get("num_channels", rest.get("in_channels", 3))
    return MaskGITVQConfig(
        channels=channels,
        width=width,
        multipliers=tuple(multipliers),
        blocks=rest["num_res_blocks"],
        latent_channels=latent,
        codes=codes,
        middle=middle,
    )


def llamagen(case: Case) -> VQConfig:
    c = case.config
    lowest = (2 ** (len(c["ch_mult"]) - 1),)
    inner, latent = c["z_channels"], c["codebook_embed_dim"]
    return VQConfig(
        width=c["ch"],
        multipliers=tuple(c["ch_mult"]),
        blocks=c["num_res_blocks"],
        attention=lowest,
        decoder_attention=lowest,
        inner_channels=inner,
        latent_channels=latent,
        codes=c["codebook_size"],
        spherical=c["codebook_l2_norm"],
    )


def filled(
    case: Case, config: MaskGITVQConfig | VQConfig, names: VQNames, held: tuple[str, ...]
) -> Any:
    """Return the case's autoencoder; the half that it does not hold stays fresh."""
    assert names_of(case.state) is names
    ours = from_official(case.state)
    network = config.build().eval()
    fresh = network.state_dict()
    assert ours.keys() == {name for name in fresh if name.startswith((*held, "codebook."))}
    network.load_state_dict(fresh | ours)
    again = to_official(network.state_dict(), names)
    assert again.keys() - {USED} == to_official(fresh, names).keys() - {USED}
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    return network


def whole(network: VectorQuantised, names: VQNames) -> None:
    """Compare the shape that is read off tensors with the one that made them."""
    read = config_from_official(to_official(network.state_dict(), names))
    assert read.model_dump(exclude={"middle", "inner_channels", "spherical"}) == (
        network.config.model_dump(exclude={"middle", "inner_channels", "spherical"})
    )


def encoded(case: Case, network: VectorQuantised, encoder: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        found = encoder(case.input("image"))
        made = network.codebook(found)
    case.expect("features", found, atol=ATOL)
    case.expect("quantized", made.codes, atol=ATOL)
    wanted = case.tensors["output/indices"].shape
    case.expect("indices", made.indices.reshape(wanted))
    loss = (made.codebook() + COMMITMENT * made.commitment()).mean()
    case.expect("commit_loss", loss.reshape(1), atol=ATOL)


def decoded(case: Case, network: VectorQuantised, decoder: Callable[[Tensor], Tensor]) -> None:
    rows, columns = case.tensors["output/embedded"].shape[-2:]
    indices = case.input("codes").reshape(-1, rows, columns)
    with torch.no_grad():
        embedded = network.codebook.lookup(indices)
        case.expect("embedded", embedded, atol=ATOL)
        case.expect("image", decoder(embedded), atol=ATOL)


ENCODER, DECODER = ("encoder.", "quant."), ("decoder.", "post_quant.")


@checks("mage", r"VQModel\.encode", "state/encoder.down.*", "input/image")
def mage_vqgan_encode(case: Case) -> None:
    network = filled(case, taming(case), TAMING, ENCODER)
    whole(network, TAMING)
    encoded(case, network, network.encoder)


@checks("mage", r"VQModel\.decode", "state/decoder.up.*", "input/codes")
def mage_vqgan_decode(case: Case) -> None:
    network = filled(case, taming(case), TAMING, DECODER)
    decoded(case, network, network.decoder)


@checks("maskgit", r"maskgit_vqgan\.py:Encoder", "state/encoder.down.*", "input/image")
def open_muse_encode(case: Case) -> None:
    network = filled(case, open_muse(case), OPEN_MUSE, ENCODER)
    whole(network, OPEN_MUSE)
    encoded(case, network, network.encoder)


@checks("maskgit", r"maskgit_vqgan\.py:Decoder", "state/decoder.up.*", "input/codes")
def open_muse_decode(case: Case) -> None:
    network = filled(case, open_muse(case), OPEN_MUSE, DECODER)
    decoded(case, network, network.decoder)


@checks("maskgit", r"vq_model\.py:VQModel\.encode", "state/encoder.conv_blocks.*", "input/image")
def llamagen_encode(case: Case) -> None:
    network = filled(case, llamagen(case), LLAMAGEN, ENCODER)
    whole(network, LLAMAGEN)
    encoded(case, network, network.features)


@checks("maskgit", r"vq_model\.py:VQModel\.decode", "state/decoder.conv_blocks.*", "input/codes")
def llamagen_decode(case: Case) -> None:
    network = filled(case, llamagen(case), LLAMAGEN, DECODER)
    decoded(case, network, network.restored)


@checks("maskgit", r"vqgan_tokenizer\.py:VQVAE", "state/encoder/Conv_0/kernel", "input/image")
def maskgit_flax(case: Case) -> None:
    network = filled(case, flax(case), FLAX, ("encoder.", "decoder."))
    whole(network, FLAX)
    with torch.no_grad():
        made = network.codebook(network.encoder(case.input("image").movedim(-1, 1)))
        case.expect("features", made.features.movedim(1, -1), atol=ATOL)
        case.expect("indices", made.indices)
        image = network.decoder(network.codebook.lookup(case.input("codes")))
        case.expect("decoded", image.movedim(1, -1), atol=ATOL)
