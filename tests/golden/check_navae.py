"""NaVAE: both kinds of towers, on ragged batches (vitok.md, section 2.6)."""

import torch
from torch import Tensor

from mezzotint.official.navae import config_from_official, config_of, from_official, to_official
from mezzotint.tokenizers.navae import NaVAE, pooled
from tests.golden.case import Case, checks

ATOL = 2e-5


def network(case: Case) -> NaVAE:
    config = config_of(case.config)
    config = config.model_copy(update={"bias": "b" in case.state})
    heads = (config.encoder.heads, config.decoder.heads)
    assert config_from_official(case.state, heads=heads, window=config.window) == config
    made = config.build().eval()
    made.load_state_dict(from_official(case.state))
    again = to_official(made.state_dict(), config)
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    return made


@checks("vitok", r"naflex_vit_vae\.py:Model", "state/img/embedding/kernel", "input/patches")
@torch.no_grad()
def navae(case: Case) -> None:
    made, mask = network(case), case.input("type").bool()
    places = (case.input("yidx").long(), case.input("xidx").long())
    patches = case.input("patches")

    def expect(name: str, rows: Tensor) -> None:
        """Compare tokens that are there; what the release puts in the others is not read."""
        if name in case:
            wanted = case.tensors[f"output/{name}"]
            case.expect(name, torch.where(mask[..., None], rows, wanted), atol=ATOL)

    stem = made.encoder.embed(patches)
    expect("stem", stem)
    expect("with_posemb", stem + made.encoder.placed(*places))
    encoded = made.encoder(patches, *places, mask)
    expect("encoded", encoded)
    mean, log_variance = made.codes_of(patches, *places, mask).chunk(2, dim=2)
    expect("mu", mean)
    expect("logvar", log_variance)
    for name, vector in zip(("pooled", "zimg"), pooled(encoded, mask), strict=True):
        case.expect(name, vector, atol=ATOL)
    out = made.patches_of(mean, *places, mask)
    expect("patches", out)
    if "canvas_nhwc" in case:
        wanted = case.tensors["output/canvas_nhwc"]
        patch = made.config.patch
        canvas = torch.zeros_like(wanted)
        for k, n in mask.nonzero().tolist():
            y, x = (int(axis[k, n]) * patch for axis in places)
            canvas[k, y : y + patch, x : x + patch] = out[k, n].view(patch, patch, -1)
        case.expect("canvas_nhwc", canvas, atol=ATOL)
