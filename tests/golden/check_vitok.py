"""ViTok, first release: the autoencoder and its losses (vitok.md, section 2)."""

import torch
from torch import Tensor

from mezzotint.noise import TapeNoise
from mezzotint.official.vitok import config_of, from_official, to_official
from mezzotint.tokenizers.kl import moments
from mezzotint.tokenizers.vitok import ViTok
from tests.golden.case import Case, checks
from tests.golden.check_dit import heard

ATOL = 2e-5


def network(case: Case) -> ViTok:
    made = config_of(case.config).build().eval()
    made.load_state_dict(from_official(case.state))
    again = to_official(made.state_dict())
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    return made


def as_strip(clips: Tensor) -> Tensor:
    return clips.flatten(2, 3)


def as_tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


@checks("vitok", r"models/ae\.py:AE", "state/tubelet_embed.proj.weight", "input/x")
@torch.no_grad()
def vitok_autoencoder(case: Case) -> None:
    made, x = network(case), as_strip(case.input("x"))
    frames, rows, columns = made.config.grid(made.config.size)
    case.expect("grid", torch.tensor([frames, rows, columns]))
    with heard(
        {"patches": made.patches, "block": made.encoder.blocks[0], "encoder": made.encoder}
    ) as found:
        codes = made.encode(x)
    found["patches"] = found["patches"].flatten(2).transpose(1, 2)
    case.expect("tokens_embed", found["patches"], atol=ATOL)
    case.expect("encoder_block0", found["block"], atol=ATOL)
    count = made.config.codes or found["encoder"].shape[1]
    for name in case.outputs("encoder_out"):
        whole = case.tensors[f"output/{name}"].shape[1] > count
        case.expect(name, found["encoder"] if whole else found["encoder"][:, :count], atol=ATOL)
    tokens = as_tokens(codes)
    case.expect("moments", tokens, atol=ATOL)
    mean, log_variance = moments(codes) if made.config.kl else (codes, torch.zeros_like(codes))
    deviation = (0.5 * log_variance).exp() * made.config.kl
    case.expect("mean", as_tokens(mean), atol=ATOL)
    case.expect("mode", as_tokens(mean), atol=ATOL)
    case.expect("logvar", as_tokens(log_variance), atol=ATOL)
    case.expect("std", as_tokens(deviation), atol=ATOL)
    each = mean.square() + deviation.square() - 1 - log_variance
    case.expect("kl", made.config.kl * 0.5 * each.flatten(1).mean(1), atol=ATOL)
    eps = case.input("eps").transpose(1, 2).view_as(mean)
    sample = made.draw(codes, TapeNoise([eps]))
    case.expect("sample", as_tokens(sample), atol=ATOL)
    left = case.config.get("_token_count")
    # The release's mode is cut to the budget, its sample in these cases is not.
    short = as_tokens(mean) if left is None else made.shortened(as_tokens(mean), left)
    case.expect("code_compressed", short, atol=ATOL)
    grid = (frames, rows, columns)
    case.expect("recon_mode", made.clips_of(short, grid), atol=ATOL)
    clips = made.clips_of(as_tokens(sample), grid)
    case.expect("recon_sample", clips, atol=ATOL)
    assert torch.equal(made.decode(sample), as_strip(clips))
