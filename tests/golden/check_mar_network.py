"""MAR: its network, the denoiser of its head, the loss and single steps (mar.md, 2)."""

import torch
from torch import Tensor

from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.samplers import Ancestral, points, transitions
from mezzotint.networks.mar import MAR
from mezzotint.nn.embed import time_features
from mezzotint.official.mar import (
    config_from_official,
    config_of,
    from_official,
    parts,
    to_official,
)
from tests.golden.case import Case, checks
from tests.golden.check_dit import Raw, grid_of, split_loss, tables, truth_of

FORWARD = 2e-5
LOSS = 1e-4
BOUND = 1e-3  # relative, of the variational bound
STEP = 2e-5  # of the largest: x0 is 2e4 times the noise, rounding and all, at the noisy end
EXACT = 1e-12


def network(case: Case) -> MAR:
    """Return the case's network, once its names are seen to go both ways."""
    config = config_of(case.config)
    model = MAR(config).eval()
    model.load_state_dict(from_official(case.state))
    again = to_official(model.state_dict())
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    heads = config.encoder[2], config.decoder[2]
    read = config_from_official(case.state, patch=config.patch, heads=heads)
    assert MAR(read).load_state_dict(model.state_dict())
    return model


@checks("mar", r"mar\.py:MAR$", "state/z_proj.weight", "output/decoder_z", "input/latents")
def mar_forward(case: Case) -> None:
    model = network(case)
    with torch.no_grad():
        tokens = model.tokens(case.input("latents"))
        backbone(case, model, tokens)
        head(case, model, tokens)
        single_steps(case, model)


def backbone(case: Case, model: MAR, tokens: Tensor) -> None:
    case.expect("tokens", tokens)
    case.expect("unpatchified", model.latents(tokens))
    masked, y = case.input("mask").bool(), case.input("labels")
    none, every = torch.zeros_like(masked), torch.ones_like(masked)
    null = torch.full_like(y, model.null)
    found: dict[str, Tensor] = {}
    for name, classes in {"encoder": y, "encoder_uncond": null}.items():
        hook = model.encoder_norm.register_forward_hook(
            lambda _module, _inputs, out, name=name: found.__setitem__(name, out)
        )
        found[name.replace("encoder", "decoder_z")] = model(tokens, masked, classes)
        hook.remove()
    found["decoder_z_all_masked"] = model(tokens, every, y)
    found["decoder_z_none_masked"] = model(tokens, none, y)
    for name, tensor in found.items():
        case.expect(name, tensor, atol=FORWARD)


def head(case: Case, model: MAR, tokens: Tensor) -> None:
    """Compare the head's outputs, alone and guided, and the loss of every token."""
    masked, y, t = case.input("mask").bool(), case.input("labels"), case.input("diff_t")
    repeats = case.config["diffusion_batch_mul"]
    z = model(tokens, masked, y).flatten(0, 1).repeat(repeats, 1)
    chain, prediction = parts()
    grid = grid_of(chain, "")
    x0 = tokens.flatten(0, 1).repeat(repeats, 1)
    truth = truth_of(chain, grid, t, x0, case.input("diff_noise"))
    out = model.head(truth.x, t.float(), z)
    case.expect("diff_x_t", truth.x, atol=FORWARD)
    case.expect("diff_net", out, atol=FORWARD)
    mse, bits = split_loss(prediction, out, truth)
    each = prediction.loss(out, truth)
    case.expect("diff_mse", mse, atol=LOSS)
    case.expect("diff_vb", bits, atol=LOSS, rtol=BOUND)
    case.expect("diff_loss_per_row", each, atol=LOSS, rtol=BOUND)
    weight = masked.flatten().repeat(repeats).float()
    mean = (each * weight).sum() / weight.sum()
    case.expect("loss", mean.view(-1), atol=LOSS, rtol=BOUND)
    features = time_features(case.input("emb_t").float(), 256)
    case.expect("timestep_embedding_256", features, atol=LOSS)  # of angles near 1000, in float32
    for name in case.outputs("diff_net_cfg_*"):
        scale = told(name.removeprefix("diff_net_cfg_"))
        case.expect(name, guided(model, truth.x, t, z, scale), atol=FORWARD * max(1.0, scale))


def told(text: str) -> float:
    """Read a number in a name, such as 2p5."""
    return float(text.replace("p", "."))


def guided(model: MAR, x: Tensor, t: Tensor, z: Tensor, scale: float) -> Tensor:
    """Return both halves of the release's guided batch, through our guidance."""
    half, values = len(x) // 2, x.shape[1]
    t = torch.cat([t[:half], t[:half]])
    denoiser = ClassifierFree(Raw(model.head, values), scale, null=z[half:])
    eps = denoiser(x[:half], t[:half].double(), z[:half]).eps
    variance = model.head(torch.cat([x[:half], x[:half]]), t.float(), z)[:, values:]
    return torch.cat([torch.cat([eps, eps]), variance], dim=1)


def single_steps(case: Case, model: MAR) -> None:
    """Compare steps of the shortened chain, row by row: each has a time of its own."""
    chain, prediction = parts()
    grid = grid_of(chain, case.config["num_sampling_steps"])
    denoiser = NetworkDenoiser(model.head, chain, prediction)
    x, z, noise = (case.input(f"p_{name}") for name in ("x", "c", "noise"))
    rows = []
    for row, place in enumerate(case.input("p_t").tolist()):
        column = len(grid) - 2 - place
        ends, one = grid[column : column + 2], slice(row, row + 1)
        estimate = denoiser(x[one], ends[:1], z[one])
        here, there = points(chain, ends)
        step = transitions(chain, grid)[column]
        mean, deviation = Ancestral().reverse(x[one], estimate, here, there, step)
        added = deviation * noise[one] if place else torch.zeros_like(mean)
        assert estimate.var_mix is not None
        rows.append(
            {
                "p_mean": mean,
                "p_log_variance": step.log_variance(estimate.var_mix),
                "p_pred_xstart": estimate.x0,
                "p_sample": mean + added,
            }
        )
        for name in case.outputs("p_temp*_sample"):
            rows[-1][name] = mean + told(name.split("_")[1].removeprefix("temp")) * added
        for name in case.outputs("p_temp*_pred_xstart"):
            rows[-1][name] = estimate.x0
    for name in rows[0]:
        case.expect(name, torch.cat([row[name] for row in rows]), atol=LOSS, of_max=STEP)
    for name in case.outputs("p_cfg*_sample"):
        guided_steps(case, name, denoiser, grid)


def guided_steps(case: Case, name: str, denoiser: NetworkDenoiser, grid: Tensor) -> None:
    """Compare guided steps; both halves of the release's batch, each with its own variance."""
    x, z, noise = (case.input(f"p_{name}") for name in ("x", "c", "noise"))
    half, scale = len(x) // 2, told(name.split("_")[1].removeprefix("cfg"))
    places = case.input("p_t_cfg").tolist()
    steps = transitions(denoiser.path, grid)
    found = torch.empty_like(x)
    for row in range(half):
        column = len(grid) - 2 - places[row]
        ends = grid[column : column + 2]
        here, there = points(denoiser.path, ends)
        one, other = slice(row, row + 1), slice(half + row, half + row + 1)
        # The second half guides the same way, and keeps the variance of its own condition.
        for place, own in ((one, z[one]), (other, z[other])):
            estimate = ClassifierFree(denoiser, scale, null=z[other])(x[one], ends[:1], z[one])
            variance = denoiser(x[one], ends[:1], own).var_mix
            estimate = type(estimate)(estimate.x0, estimate.eps, variance)
            # The release mixes eps of x in the first half, and takes x0 of x in each.
            start = x[place]
            scales = denoiser.path.at(ends[:1], start)
            x0 = (start - scales.sigma * estimate.eps) / scales.alpha
            estimate = type(estimate)(x0, estimate.eps, variance)
            mean, deviation = Ancestral().reverse(start, estimate, here, there, steps[column])
            added = deviation * noise[place] if places[row] else torch.zeros_like(mean)
            found[place] = mean + added
    case.expect(name, found, atol=LOSS, of_max=STEP)


@checks("mar", r"create_diffusion", "output/*/betas", "output/*/timestep_map")
def mar_tables(case: Case) -> None:
    chain, _ = parts()
    for count in {name.split("/")[0] for name in case.outputs()}:
        grid = grid_of(chain, count)
        for name, table in tables(chain, grid).items():
            case.expect(f"{count}/{name}", table, rtol=EXACT, atol=1e-300)
