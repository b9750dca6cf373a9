"""ViTok, first release: the autoencoder, its losses and discriminators (vitok.md, section 2)."""

import math

import torch
from torch import Tensor

from mezzotint.nn.adversarial import (
    BlurPool,
    PatchDiscriminator,
    StyleBlock,
    discriminator_loss,
    lecam,
)
from mezzotint.noise import TapeNoise
from mezzotint.official import vitok_dit as vitok_dit_release
from mezzotint.official.vitok import config_of, from_official, to_official
from mezzotint.official.vitok_critic import from_official as critic_from_official
from mezzotint.tokenizers.kl import mean_divergence, moments
from mezzotint.tokenizers.vitok import ViTok
from mezzotint.training.pixel_losses import Charbonnier, Huber, Squared
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


@checks("vitok", r"run_ae\.py losses", "input/moments", "input/pred")
def vitok_losses(case: Case) -> None:
    config = case.config
    codes = case.input("moments").transpose(1, 2)[..., None]
    mean, log_variance = (as_tokens(each) for each in moments(codes))
    case.expect("mean", mean, atol=ATOL)
    case.expect("logvar", log_variance, atol=ATOL)
    # A code of the cases is at the clamp, where a deviation is 22026 and a divergence 6e6.
    case.expect("std", (0.5 * log_variance).exp(), atol=ATOL, rtol=1e-6)
    kl = mean_divergence(codes)
    case.expect("kl", kl, atol=ATOL, rtol=1e-6)
    case.expect("kl_mean", kl.mean(), atol=ATOL, rtol=1e-6)
    # Of a sample at 0, a mean over tokens and channels.
    nll = 0.5 * (math.log(2 * math.pi) + log_variance + mean.square() / log_variance.exp())
    case.expect("nll", nll.flatten(1).mean(1), atol=ATOL, rtol=1e-6)
    pred, target = case.input("pred"), case.input("target")
    case.expect("l2", Squared()(pred, target).mean(), atol=ATOL)
    case.expect("huber", Huber(config["beta"])(pred, target).mean(), atol=ATOL)
    case.expect("charbonnier", Charbonnier()(pred, target).mean(), atol=ATOL)
    real, fake = case.input("logits_real"), case.input("logits_fake")
    case.expect("hinge_d", discriminator_loss(real, fake), atol=ATOL)
    case.expect("gen", -fake.mean(), atol=ATOL)
    case.expect("lecam", lecam(*case.input("lecam_args")), atol=ATOL)


@checks("vitok", r"discriminator\.py", "state/*", "output/*")
@torch.no_grad()
def vitok_discriminators(case: Case) -> None:
    config, state = case.config, case.state
    for name in case.outputs("blurpool_*"):
        case.expect(name, BlurPool(int(name.split("_")[1]))(case.input("x")), atol=ATOL)
    block = config.get("resblock", {})
    if block:
        made = StyleBlock(block["input_dim"], block["output_dim"])
        made.load_state_dict(critic_from_official(case.under("state/resblock.")))
        case.expect("resblock", made(case.input("x")), atol=ATOL)
    for name in case.outputs("patch*"):
        clips, actnorm = name.startswith("patch3d"), name.endswith("actnorm")
        given = config.get(name, config.get("patch", {}))
        shape = {"channels": given["input_nc"], "width": given["ndf"], "layers": given["n_layers"]}
        patch = PatchDiscriminator(**shape, actnorm=actnorm, clips=clips).eval()
        patch.load_state_dict(
            {
                n.removeprefix(f"{name}.main."): t
                for n, t in state.items()
                if n.startswith(f"{name}.")
            }
        )
        case.expect(name, patch(case.input("video" if clips else "image")), atol=ATOL)


@checks("vitok", r"models/dit\.py:DiT", "state/input_width_to_width.weight", "input/x")
@torch.no_grad()
def vitok_dit(case: Case) -> None:
    made = vitok_dit_release.config_of(case.config).build().eval()
    made.load_state_dict(vitok_dit_release.from_official(case.state))
    again = vitok_dit_release.to_official(made.state_dict())
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    x, t, y = as_maps(case.input("x")), case.input("t").float(), case.input("y")
    null = torch.full_like(y, made.null)
    case.expect("t_emb", made.time(t), atol=ATOL)
    case.expect("out", as_tokens(made(x, t, y)), atol=ATOL)
    case.expect("out_null", as_tokens(made(x, t, null)), atol=ATOL)
    if "cfg_out" in case:
        scale = case.input("cfg_scale")
        free = made(x, t, null)
        case.expect("cfg_out", as_tokens(free + scale * (made(x, t, y) - free)), atol=ATOL)


def as_maps(tokens: Tensor) -> Tensor:
    return tokens.transpose(1, 2)[:, :, None]
