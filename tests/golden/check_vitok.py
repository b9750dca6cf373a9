"""ViTok, first release: the autoencoder, its losses and discriminators (vitok.md, section 2)."""

import math

import torch
from torch import Tensor

from mezzotint.nn.adversarial import (
    LEAK,
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
from mezzotint.tokenizers.kl import LOG_VARIANCES, mean_divergence, moments
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


def as_row(tokens: Tensor) -> Tensor:
    return tokens.transpose(1, 2)[:, :, None]


def as_tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


@checks("vitok", r"models/ae\.py:AE", "state/tubelet_embed.proj.weight", "input/x")
@torch.no_grad()
def vitok_autoencoder(case: Case) -> None:
    made, clips = network(case), case.input("x")
    with heard(
        {"patches": made.patches, "block": made.encoder.blocks[0], "encoder": made.encoder}
    ) as found:
        codes = as_row(made.codes_of(clips))
    # Clips may be longer or less square than those the config names, where there is no table.
    frames, rows, columns = found["patches"].shape[2:]
    grid = (frames, rows, columns)
    case.expect("grid", torch.tensor(grid))
    usual = grid == made.config.grid(made.config.size)
    assert not usual or torch.equal(made.encode(as_strip(clips)).flatten(2), codes.flatten(2))
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
    case.expect("recon_mode", made.clips_of(short, grid), atol=ATOL)
    restored = made.clips_of(as_tokens(sample), grid)
    case.expect("recon_sample", restored, atol=ATOL)
    if usual:
        _, *places = made.config.latent(made.config.size)
        latent = sample.flatten(2).unflatten(2, places)
        assert torch.equal(made.decode(latent), as_strip(restored))


@checks("vitok", r"run_ae\.py losses", "input/moments", "input/pred")
def vitok_losses(case: Case) -> None:
    config = case.config
    assert tuple(config.get("clamp", LOG_VARIANCES)) == LOG_VARIANCES
    dim = config.get("dim", 2)
    given = case.input("moments").movedim(dim, 1)
    codes = given.flatten(2)[..., None]
    mean, log_variance = (
        each.unflatten(2, given.shape[2:]).squeeze(-1).movedim(1, dim) for each in moments(codes)
    )
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
        assert block.get("blur_resample", True), "halving by anything but a blur is not ours"
        made = StyleBlock(block["input_dim"], block["output_dim"], leak=block.get("leaky", LEAK))
        made.load_state_dict(critic_from_official(case.under("state/resblock.")))
        case.expect("resblock", made(case.input("x")), atol=ATOL)
    for name in case.outputs("patch*"):
        clips, actnorm = name.startswith("patch3d"), name.endswith("actnorm")
        kind = name.split("_")[0]
        given = next(config[key] for key in (name, kind, "patch") if key in config)
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
    shape = vitok_dit_release.config_of(case.config)
    rows = len(case.state["y_embedder.embedding_table.weight"])
    made = shape.model_copy(update={"null_row": rows > shape.num_classes}).build().eval()
    made.load_state_dict(vitok_dit_release.from_official(case.state))
    again = vitok_dit_release.to_official(made.state_dict())
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    x, t, y = as_row(case.input("x")), case.input("t").float(), case.input("y")
    case.expect("t_emb", made.time(t), atol=ATOL)
    case.expect("out", as_tokens(made(x, t, y)), atol=ATOL)
    if not made.config.null_row:
        return
    free = made(x, t, torch.full_like(y, made.null))
    case.expect("out_null", as_tokens(free), atol=ATOL)
    if "cfg_out" in case:
        scale = case.input("cfg_scale")
        case.expect("cfg_out", as_tokens(free + scale * (made(x, t, y) - free)), atol=ATOL)
