"""ViTok-v2: ragged batches, the autoencoder and its parts (vitok.md, section 2.5)."""

import torch
from torch import Tensor

from mezzotint.nn.gated import GatedMLP
from mezzotint.official.vitok2 import (
    config_from_official,
    config_of_variant,
    from_official,
    to_official,
)
from mezzotint.tokenizers.ragged import Ragged, canvas, fitted, patchify, pictures_of
from mezzotint.tokenizers.vitok2 import EPS, NormedAttention, ViTok2, ViTok2Config
from mezzotint.tokenizers.vitok_parts import Half
from tests.golden.case import Case, checks

ATOL = 2e-5


def network(case: Case) -> ViTok2:
    config = config_of_variant(case.config["variant"])
    read = config_from_official(case.state)
    # Of the ratio a file tells no more than the hidden widths, which several ratios round to.
    assert read.model_copy(update={"mlp_ratio": config.mlp_ratio}) == config
    halves = (config.encoder, config.decoder)
    assert [read.hidden(half) for half in halves] == [config.hidden(half) for half in halves]
    made = config.build().eval()
    made.load_state_dict(from_official(case.state))
    again = to_official(made.state_dict())
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    return made


def pictures(case: Case) -> list[Tensor]:
    """Return the case's pictures by their numbers, image_10 behind image_9."""
    names = [name for name in case.under("input/") if name.startswith("image_")]
    return [case.input(name) for name in sorted(names, key=lambda name: (len(name), name))]


def batch(case: Case) -> Ragged:
    return patchify(pictures(case), case.config["patch"], case.config["max_tokens"])


@checks("vitok", r"vitok-release vitok/models/ae\.py", "state/patch_embed.weight", "input/image_0")
@torch.no_grad()
def vitok2_autoencoder(case: Case) -> None:
    made, ragged, patch = network(case), batch(case), case.config["patch"]
    case.expect("patches_in", ragged.patches)
    case.expect("patch_mask", ragged.mask)
    case.expect("row_idx", ragged.row)
    case.expect("col_idx", ragged.column)
    rows, columns = zip(*ragged.grids(patch), strict=True)
    heights, widths = zip(*ragged.sizes, strict=True)
    found = {"grid_rows": rows, "grid_cols": columns, "orig_height": heights, "orig_width": widths}
    for name, values in found.items():
        case.expect(name, torch.tensor(values))
    for name, mask in {"": ragged.mask, "_nomask": None}.items():
        z = made.codes_of(ragged.patches, ragged.row, ragged.column, mask)
        case.expect(f"z{name}", z, atol=ATOL)
        out = made.patches_of(z, ragged.row, ragged.column, mask)
        case.expect(f"patches_out{name}", out, atol=ATOL)
        if mask is not None:
            case.expect("canvas", canvas(ragged, out, patch), atol=ATOL)
            for index, picture in enumerate(pictures_of(ragged, out, patch)):
                case.expect(f"recon_{index}", picture, atol=ATOL)
    one_size = len(set(ragged.sizes)) == 1 and bool(ragged.mask.all())
    if one_size and not (heights[0] % patch or widths[0] % patch):
        case.expect("canvas", made(torch.stack(pictures(case))), atol=ATOL)


@checks("vitok", r"vitok-release vitok/models/modules", "state/attn.qkv_proj.weight", "input/x")
@torch.no_grad()
def vitok2_units(case: Case) -> None:
    config, x = case.config, case.input("x")
    half = Half(width=config["dim"], depth=1, heads=config["heads"])
    shape = ViTok2Config(latent_channels=1, encoder=half, decoder=half, theta=config["theta"])
    ours = from_official(
        {f"encoder_blocks.0.{n}": t for n, t in case.state.items() if "rms" not in n}
    )
    parts = {n.removeprefix("encoder.0."): t for n, t in ours.items()}
    attention = NormedAttention(half.width, half.heads)
    attention.load_state_dict(
        {n.removeprefix("attn."): t for n, t in parts.items() if n.startswith("attn.")}
    )
    angles = shape.build().angles(case.input("row"), case.input("col"), half)
    case.expect("cos", angles[:, 0].cos(), atol=ATOL)
    case.expect("sin", angles[:, 0].sin(), atol=ATOL)
    case.expect("attn", attention(x, angles), atol=ATOL)
    case.expect("attn_masked", attention(x, angles, case.input("mask")), atol=ATOL)
    hidden = len(parts["mlp.gate.weight"])
    assert hidden == (config["hidden_requested"] + 8) // 16 * 16 == config["hidden_actual"]
    mlp = GatedMLP(half.width, hidden, gate="silu", bias=False)
    mlp.load_state_dict(
        {n.removeprefix("mlp."): t for n, t in parts.items() if n.startswith("mlp.")}
    )
    case.expect("swiglu", mlp(x), atol=ATOL)
    norm = torch.nn.RMSNorm(half.width, eps=EPS)
    norm.load_state_dict(case.under("state/rms."))
    case.expect("rms", norm(x), atol=ATOL)
    case.expect("ln", torch.nn.functional.layer_norm(x, x.shape[-1:], eps=EPS), atol=ATOL)
    if "token_budget" in case:
        table = case.tensors["output/token_budget"]
        rows = [(*row[:4], *fitted((row[0], row[1]), row[2], row[3])) for row in table.tolist()]
        case.expect("token_budget", torch.tensor(rows))
