"""DiT: the network, its diffusion, whole chains and a step of training (dit.md)."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.diffusion.betas import CosineBetas, LinearBetas
from mezzotint.diffusion.denoiser import Clamped, NetworkDenoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.grids import Respaced
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import (
    X0,
    Eps,
    FixedRange,
    LearnedRange,
    Truth,
    bound,
    varied,
)
from mezzotint.diffusion.samplers import (
    DDIM,
    Ancestral,
    Point,
    Step,
    points,
    pushed,
    transitions,
)
from mezzotint.diffusion.solvers import encode
from mezzotint.diffusion.transition import Transition
from mezzotint.networks.dit import Block, DiT, Head
from mezzotint.nn.embed import ClassEmbedding, TimeEmbedding, grid_positions, time_features
from mezzotint.nn.modulate import modulate
from mezzotint.noise import TapeNoise
from mezzotint.official.dit import config_of, from_official, respacing, to_official
from mezzotint.official.renames import Renames
from tests.golden.case import Case, checks

FORWARD = 2e-5
STEP = 1e-5  # times max(1, |out|)
CHAIN = 1e-5  # of the largest value of the chain
EXACT = 1e-12
TIME = 1e-4  # exp differs by a float32 step between processors; t = 999 makes that 6e-5 of an angle
SCHEDULES: dict[str, Any] = {
    "linear": LinearBetas(),
    "squaredcos_cap_v2": CosineBetas(),
    "cosine": CosineBetas(),  # ADM's name of it
}
NO_LABELS = torch.zeros(1, dtype=torch.long)


# networks ----------------------------------------------------------------------------------------


def network(case: Case, config: dict) -> DiT:
    model = DiT(config_of(config)).eval()
    model.load_state_dict(from_official(case.state))
    return model


@contextmanager
def heard(parts: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect what parts put out while they are run inside."""
    found: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda _module, _inputs, out: found.__setitem__(name, out)

    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    yield found
    for hook in hooks:
        hook.remove()


def tapped(model: DiT, case: Case, x: Tensor, t: Tensor, y: Tensor, *, atol: float) -> Tensor:
    """Run a DiT and compare what passes between its parts."""
    parts = {"patch_embed": model.patches, "t_emb": model.time, "y_emb": model.label}
    parts |= {"final_tokens": model.head}
    parts |= {f"block_{i}": block for i, block in enumerate(model.blocks)}
    with torch.no_grad(), heard(parts) as found:
        out = model(x, t, y)
    for name, tensor in found.items():
        case.expect(f"tap_{name}", tensor, atol=atol)
    return out


@checks("dit", r"models\.py:DiT$", "state/x_embedder.proj.weight", "input/x", "output/out")
def dit_forward(case: Case) -> None:
    model = network(case, case.config)
    x, t, y = (case.input(name) for name in "xty")
    case.expect("out", tapped(model, case, x, t.float(), y, atol=FORWARD), atol=FORWARD)


@checks("dit", r"forward_with_cfg", "state/x_embedder.proj.weight", "output/cfg_*")
def dit_guided(case: Case) -> None:
    guided_forward(case, network(case, case.config), case.input("t").float())


def guided_forward(case: Case, model: Any, time: Tensor) -> None:
    """Compare guidance at several scales: the first half through our guidance, and the second."""
    x, y = case.input("x"), case.input("y")
    half = len(x) // 2
    doubled = torch.cat([x[:half], x[:half]])
    with torch.no_grad():
        plain = model(doubled, time, y)[:, : case.tensors["output/forward_combined"].shape[1]]
    case.expect("forward_combined", plain, atol=FORWARD)
    channels = plain.shape[1]  # three of all of them: of a narrow x variances are guided too
    for scale in case.listed("scales"):
        denoiser = ClassifierFree(Raw(model, channels), scale, null=model.null, channels=3)
        with torch.no_grad():
            upper = denoiser(x[:half], time[:half].double(), y[:half]).eps
        out = plain.clone()
        out[:half] = upper
        out[half:, :3] = upper[:, :3]
        case.expect(f"cfg_{scale}", out, atol=FORWARD)


@dataclass(frozen=True)
class Raw:
    """A network whose first channels are taken as eps, and whose time is its own clock."""

    network: nn.Module
    channels: int
    path: DiscreteVP = DiscreteVP()

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        out = self.network(x, t.float(), y)[:, : self.channels]
        return Estimate(out, out)


@checks("dit", r"DiTBlock, FinalLayer", "state/block.*", "input/x_small_variance")
def dit_modules(case: Case) -> None:
    config = case.config
    width, heads = config["hidden_size"], config["num_heads"]
    block = Block(width, heads, int(width * config["mlp_ratio"]))
    head = Head(width, config["patch_size"] ** 2 * config["final_out_channels"])
    names = Renames(
        "DiT",
        (
            ("attn.*.*", "attn.*.*"),
            ("mlp.fc1.*", "mlp.0.*"),
            ("mlp.fc2.*", "mlp.2.*"),
            ("adaLN_modulation.1.*", "modulation.linear.*"),
            ("linear.*", "linear.*"),
        ),
    )
    block.load_state_dict(names.to_ours(case.under("state/block.")))
    finals = next(p for p in ("state/final.", "state/final_layer.") if case.under(p))
    head.load_state_dict(names.to_ours(case.under(finals)))
    x, c, small = (case.input(name) for name in ("x", "c", "x_small_variance"))
    shift1, scale1, _, _, _, _ = block.modulation(c)
    case.expect("modulate", modulate(x, c, c.flip(0)), atol=FORWARD)
    case.expect("norm1_small_variance", block.norm1(small), atol=FORWARD)
    case.expect("block", block(x, c), atol=FORWARD)
    case.expect("block_small_variance", block(small, c), atol=FORWARD)
    case.expect("final", head(x, c), atol=FORWARD)
    case.expect("final_small_variance", head(small, c), atol=FORWARD)
    mlp_and_attention(case, block, x, modulate(block.norm1(x), shift1, scale1))


def mlp_and_attention(case: Case, block: Block, x: Tensor, modulated: Tensor) -> None:
    entered = case.tensors.get("output/attn_in")
    if entered is not None:
        near = torch.allclose(entered, modulated, atol=FORWARD)
        case.expect("attn_in", modulated if near else x, atol=FORWARD)
        case.expect("attn_out", block.attn(entered), atol=FORWARD)
    case.expect("mlp", block.mlp(x), atol=FORWARD)


@checks("dit", r"TimestepEmbedder, LabelEmbedder", "output/label_plain", "input/y")
def dit_embedders(case: Case) -> None:
    for name in case.outputs("timestep_*"):
        _, kind, dim = name.split("_")
        case.expect(name, time_features(case.input(f"t_{kind}").float(), int(dim)), atol=TIME)
    for name in case.outputs("pos_embed_d*_g*"):
        width, side = (int(part[1:]) for part in name.removeprefix("pos_embed_").split("_"))
        table = grid_positions(width, (side, side), dtype=torch.float64)
        case.expect(name, table, atol=EXACT)
    time_and_label(case)


def time_and_label(case: Case) -> None:
    spec = case.config["timestep"]
    time = TimeEmbedding(spec["hidden_size"], features=spec["frequency_embedding_size"])
    time.load_state_dict(case.under("state/t_embedder."))
    for kind in ("int", "frac"):
        case.expect(f"t_embedder_{kind}", time(case.input(f"t_{kind}").float()), atol=FORWARD)
    spec = case.config["label"]
    label = ClassEmbedding(spec["num_classes"], spec["hidden_size"], null=spec["dropout_prob"] > 0)
    label.load_state_dict({"table.weight": case.state["embedding_table.weight"]})
    y = case.input("y")
    dropped = torch.where(case.input("force_drop_ids") == 1, spec["num_classes"], y)
    case.expect("label_plain", label(y), atol=0)
    case.expect("label_forced", label(dropped), atol=0)


# schedules ---------------------------------------------------------------------------------------


def chain_of(config: dict) -> DiscreteVP:
    schedule = SCHEDULES[config.get("noise_schedule", "linear")]
    return DiscreteVP(schedule, config.get("diffusion_steps", 1000))


def grid_of(chain: DiscreteVP, spec: str | list[int] | None) -> Tensor:
    if isinstance(spec, list):
        return Respaced(tuple(spec))(chain, sum(spec))
    made, steps = respacing(spec or "")
    return made(chain, steps or chain.steps)


def indices(chain: DiscreteVP, grid: Tensor) -> Tensor:
    """Return the chain's indices of a grid's times, least noisy first, without the clean end."""
    return (grid[:-1].flip(0) * chain.steps).round().long() - 1


def tables(chain: DiscreteVP, grid: Tensor) -> dict[str, Tensor]:
    """Return the release's tables of a shortened chain, least noisy first."""
    kept = chain.signal[indices(chain, grid) + 1]
    betas = 1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])
    # The release works everything out from the new betas, whose 1 - beta has lost digits.
    signal = (1 - betas).cumprod(0)
    before = torch.cat([signal.new_ones(1), signal[:-1]])
    floor = Transition.floor(signal[0], signal[1]) if len(signal) > 1 else 0.0
    step = Transition.between(signal, before, floor)
    return {
        "timestep_map": indices(chain, grid),
        "betas": betas,
        "alphas_cumprod": signal,
        "alphas_cumprod_prev": before,
        "alphas_cumprod_next": torch.cat([signal[1:], signal.new_zeros(1)]),
        "sqrt_alphas_cumprod": signal.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - signal).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - signal).log(),
        "sqrt_recip_alphas_cumprod": signal.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / signal - 1).sqrt(),
        "posterior_variance": step.posterior,
        # The release leaves it empty for a chain of one step.
        "posterior_log_variance_clipped": step.log_posterior[
            : len(signal) if len(signal) > 1 else 0
        ],
        "posterior_mean_coef1": step.coef_x0,
        "posterior_mean_coef2": step.coef_x,
    }


@checks("dit", r"respace\.py|GaussianDiffusion$", "output/*/betas", "output/*/alphas_cumprod")
def dit_schedules(case: Case) -> None:
    for label, config in case.config.items():
        chain = chain_of(config)
        grid = grid_of(chain, config.get("timestep_respacing"))
        for name, table in tables(chain, grid).items():
            case.expect(f"{label}/{name}", table, rtol=EXACT, atol=1e-300)
        if f"{label}/betas" in case and len(grid) == chain.steps + 1:
            case.expect(f"{label}/betas", chain.schedule.betas(chain.steps), rtol=EXACT)


# single steps ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """A variance and a mean of the release: how outputs are read, and the sampler's variance."""

    prediction: Any
    mix: float
    learned: bool

    @classmethod
    def of(cls, config: dict) -> "Variant":
        mean = X0() if config.get("predict_xstart") else Eps()
        learned = config.get("learn_sigma", True)
        mix = 0.0 if config.get("sigma_small") else 1.0
        return cls(LearnedRange(mean=mean) if learned else mean, mix, learned)


@checks("dit", r"GaussianDiffusion \(\+", "output/*/q_sample", "input/model_output")
def dit_steps(case: Case) -> None:
    for label, spec in case.config["respacing"].items():
        chain = chain_of(case.config)
        grid = grid_of(chain, spec)
        places = case.input(f"{label}/t")
        case_time = case.input(f"{label}/t_seen_by_model")
        assert torch.equal(indices(chain, grid)[places], case_time)
        forward_process(case, label, chain, grid, places)
        for name, config in case.config["variants"].items():
            one_steps(case, f"{label}/{name}", Variant.of(config), chain, grid, places)


def close(case: Case, name: str, actual: Tensor) -> None:
    if name in case:
        wanted = case.tensors[f"output/{name}"]
        case.expect(name, actual, atol=STEP * max(1.0, float(wanted.abs().max())))


def forward_process(case: Case, label: str, chain: DiscreteVP, grid: Tensor, t: Tensor) -> None:
    """Compare q(x_t | x0), the posterior, and the conversions."""
    x, x0, noise = (case.input(name) for name in ("x", "x_start", "noise"))
    times = (indices(chain, grid)[t] + 1) / chain.steps
    scales = chain.at(times.double(), x)
    step = transitions(chain, grid)
    step = Transition(*(getattr(step, f)[-1 - t] for f in Transition.__dataclass_fields__)).like(x)
    channels = x.shape[1]
    guess = case.input("model_output")[:, :channels]
    as_eps, as_x0 = Eps().estimate(guess, x, scales), X0().estimate(guess, x, scales)
    found = {
        "q_sample": scales.alpha * x0 + scales.sigma * noise,
        "q_mean": scales.alpha * x0,
        "q_variance": scales.sigma**2,
        "q_log_variance": (scales.sigma**2).log(),
        "posterior_mean": step.mean(x0, x),
        "posterior_variance": step.posterior,
        "posterior_log_variance_clipped": step.log_posterior,
        "pred_xstart_from_eps": as_eps.x0,
        "eps_from_xstart": X0().estimate(x0, x, scales).eps,
    }
    for name, value in found.items():
        key = f"{label}/{name}"
        if key in case:
            wanted = case.tensors[f"output/{key}"]
            if name == "eps_from_xstart" and not near(wanted, value):
                value = as_x0.eps
            if name == "pred_xstart_from_eps" and not near(wanted, value):
                value = Eps().estimate(noise, x, scales).x0
            close(case, key, value.expand(wanted.shape))


def near(wanted: Tensor, value: Tensor) -> bool:
    return torch.allclose(wanted, value, atol=STEP * max(1.0, float(wanted.abs().max())))


def one_steps(
    case: Case, label: str, variant: Variant, chain: DiscreteVP, grid: Tensor, t: Tensor
) -> None:
    """Compare every one-step formula, image by image: each has a time of its own."""
    starred = (name.rpartition("ddim_eta") for name in case.outputs(f"{label}/*ddim_eta*"))
    etas = sorted({eta for _, _, eta in starred})
    rows = [
        single(case, variant, chain, grid, (int(place), row), etas) for row, place in enumerate(t)
    ]
    for name in rows[0]:
        close(case, f"{label}/{name}", torch.cat([row[name] for row in rows]))


def single(
    case: Case,
    variant: Variant,
    chain: DiscreteVP,
    grid: Tensor,
    where: tuple[int, int],
    etas: list[str],
) -> dict[str, Tensor]:
    place, row = where
    x, noise = (case.input(name)[row : row + 1] for name in ("x", "noise"))
    gradient = case.input("cond_grad")[row : row + 1]
    channels = x.shape[1] * (2 if variant.learned else 1)
    out = case.input("model_output")[row : row + 1, :channels]
    inner = NetworkDenoiser(lambda x, time, y: out, chain, variant.prediction)
    column = len(grid) - 2 - place
    ends = grid[column : column + 2]
    here, there = points(chain, ends)
    step = transitions(chain, grid)[column]
    found: dict[str, Tensor] = {}
    denoisers: dict[str, Any] = {"clip0": inner, "clip1": Clamped(inner)}
    for clip, denoiser in denoisers.items():
        estimate = denoiser(x, ends[:1], NO_LABELS)
        sampler = Ancestral(variant.mix)
        mean, deviation = sampler.reverse(x, estimate, here, there, step)
        found[f"{clip}/p_sample"] = mean if place == 0 else mean + deviation * noise
        found[f"{clip}/pmv_mean"] = mean
        found[f"{clip}/pmv_pred_xstart"] = estimate.x0
        found[f"{clip}/pmv_variance"] = sampler.spread(estimate, step)[0].expand_as(x)
        found[f"{clip}/pmv_log_variance"] = log_variance(variant, estimate, step).expand_as(x)
        for eta in etas:
            (last,) = DDIM(float(eta), single=True)(
                denoiser, x, NO_LABELS, ends, TapeNoise([noise])
            )
            found[f"{clip}/ddim_eta{eta}"] = last.x
    return found | conditioned(variant, inner, x, noise, gradient, place, chain, grid)


def log_variance(variant: Variant, estimate: Estimate, step: Transition) -> Tensor:
    """Return the log variance of the noise: at the last step not that of the variance."""
    if estimate.var_mix is not None:
        return step.log_variance(estimate.var_mix)
    upper = torch.where(step.last, step.log_posterior, step.log_beta)
    return (upper if variant.mix else step.log_posterior).float()


def conditioned(variant, inner, x, noise, gradient, place, chain, grid) -> dict[str, Tensor]:
    """Compare classifier guidance, and the reverse of DDIM."""

    @dataclass(frozen=True)
    class Steered:
        path: Any = chain

        def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Estimate:
            plain = inner(x, t, y)
            return Estimate(plain.x0, plain.eps, plain.var_mix, gradient)

    column = len(grid) - 2 - place
    ends = grid[column : column + 2]
    here, there = points(chain, ends)
    step = transitions(chain, grid)[column]
    estimate = Steered()(x, ends[:1], NO_LABELS)
    mean, deviation = Ancestral(variant.mix).reverse(x, estimate, here, there, step)
    (last,) = DDIM(single=True)(Steered(), x, NO_LABELS, ends, TapeNoise([noise]))
    plain = inner(x, ends[:1], NO_LABELS)
    if column > 0:
        (back,) = encode(
            inner, x, NO_LABELS, grid[column - 1 : column + 1], sampler=DDIM(single=True)
        )
        reverse = back.x
    else:  # the release's chain ends in a time without signal
        reverse = pushed(plain, Point(1.0, 0.0, 1.0, 0.0, 0.0)).eps
    return {
        "p_sample_cond": mean if place == 0 else mean + deviation * noise,
        "ddim_cond": last.x,
        "ddim_reverse": reverse,
    }


# losses ------------------------------------------------------------------------------------------


def truth_of(chain: DiscreteVP, grid: Tensor, t: Tensor, x0: Tensor, eps: Tensor) -> Truth:
    """Noise images at indices of a respaced chain."""
    times = ((indices(chain, grid)[t] + 1) / chain.steps).double()
    scales = chain.at(times, x0)
    every = transitions(chain, grid)
    step = Transition(*(getattr(every, f)[-1 - t] for f in Transition.__dataclass_fields__))
    return Truth(x0, eps, scales.alpha * x0 + scales.sigma * eps, scales, step.like(x0))


def prediction_of(config: dict, steps: int):
    """Return the prediction whose loss is that of a configuration of the release."""
    mean = X0() if config.get("predict_xstart") else Eps()
    learned, kl = config.get("learn_sigma", True), config.get("use_kl", False)
    if kl:  # N times the bound of everything, in bits
        if learned:
            return LearnedRange(mean, simple=0.0, bound=float(steps), bound_mean=True)
        mix = 0.0 if config.get("sigma_small") else 1.0
        return FixedRange(mean, mix=mix, bound=float(steps))
    if not learned:
        return mean
    return LearnedRange(mean, bound=steps / 1000 if config.get("rescale_learned_sigmas") else 1.0)


def prior_bits(chain: DiscreteVP, t: float, x0: Tensor) -> Tensor:
    """Return KL(q(x_t | x0) || N(0, 1)) in bits a dimension."""
    last = chain.at(torch.full((len(x0),), t, dtype=torch.float64), x0)
    variance, mean = last.sigma**2, last.alpha * x0
    kl = 0.5 * (-1 - variance.log() + variance + mean**2)
    return kl.flatten(1).mean(1) / math.log(2)


@checks("dit", r"training_losses", "output/*/loss", "input/model_output")
def dit_losses(case: Case) -> None:
    x0, eps, t = (case.input(name) for name in ("x_start", "noise", "t"))
    for label, config in case.config.items():
        chain = chain_of(config)
        grid = grid_of(chain, config.get("timestep_respacing"))
        truth = truth_of(chain, grid, t, x0, eps)
        channels = x0.shape[1] * (2 if config.get("learn_sigma", True) else 1)
        out = case.input("model_output")[:, :channels].clone().requires_grad_()
        prediction = prediction_of(config, len(grid) - 1)
        loss = prediction.loss(out, truth)
        (gradient,) = torch.autograd.grad(loss.mean(), out)
        close(case, f"{label}/loss", loss)
        close_gradient(case, f"{label}/grad_model_output", gradient)
        if isinstance(prediction, LearnedRange):
            mean, vb = split_loss(prediction, out, truth)
            close(case, f"{label}/mse", mean)
            close(case, f"{label}/vb", prediction.bound * vb)
        else:
            close(case, f"{label}/mse", loss)
    chain = chain_of(next(iter(case.config.values())))
    close(case, "prior_bpd", prior_bits(chain, 1.0, x0))
    clipped(case, truth_of(chain, grid_of(chain, ""), t, x0, eps), chain)


def close_gradient(case: Case, name: str, actual: Tensor) -> None:
    wanted = case.tensors[f"output/{name}"]
    case.expect(name, actual, atol=1e-6 * max(1.0, float(wanted.abs().max())), of_max=STEP)


def split_loss(prediction: LearnedRange, out: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    mean, _ = out.chunk(2, dim=1)
    return prediction.mean.loss(mean, truth), bound(
        prediction.estimate(out, truth.x, truth.scales), truth
    )


def clipped(case: Case, truth: Truth, chain: DiscreteVP) -> None:
    """Compare the bound of a clamped estimate."""
    out = case.input("model_output")
    estimate = LearnedRange().estimate(out, truth.x, truth.scales)
    estimate = Estimate(estimate.x0.clamp(-1, 1), estimate.eps, estimate.var_mix)
    close(case, "vb_clip/pred_xstart", estimate.x0)
    close(case, "vb_clip/output", bound(estimate, truth))


# chains ------------------------------------------------------------------------------------------


class Analytic:
    """eps = 0.7 x + 0.3 w cos(t / 250) at the original index t; variance values sin(x), if any."""

    def __init__(self, w: Tensor, *, learned: bool) -> None:
        self.w, self.learned = w, learned

    def __call__(self, x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        eps = 0.7 * x + 0.3 * self.w * torch.cos(time / 250).view(-1, 1, 1, 1)
        return torch.cat([eps, torch.sin(x)], dim=1) if self.learned else eps


def analytic(case: Case, variant: Variant, *, clip: bool) -> Any:
    network = Analytic(case.input("w"), learned=variant.learned)
    denoiser = NetworkDenoiser(network, chain_of(case.config), variant.prediction)
    return Clamped(denoiser) if case.config.get("clip_denoised", clip) else denoiser


def stacked(steps: list[Step]) -> Tensor:
    return torch.stack([step.x for step in steps])


@checks("dit", r"p_sample_loop_progressive", "output/*/ddpm", "input/noise_init", "input/w")
def dit_loops(case: Case) -> None:
    chain, variant = chain_of(case.config), Variant.of(case.config)
    denoiser = analytic(case, variant, clip=False)
    x = case.input("noise_init")
    y = torch.zeros(len(x), dtype=torch.long)
    for label, spec in case.config["respacing"].items():
        grid, draws = grid_of(chain, spec), case.input(f"{label}/noises")
        for name in case.outputs(f"{label}/*"):
            kind = name.removeprefix(f"{label}/")
            sampler = (
                DDIM(float(kind[8:]), single=True)
                if kind.startswith("ddim_eta")
                else Ancestral(variant.mix)
            )
            steps = list(sampler(denoiser, x, y, grid, TapeNoise(draws)))
            case.expect(name, stacked(steps), of_max=CHAIN)


@checks("dit", r"calc_bpd_loop", "output/total_bpd", "input/noises")
def dit_bits(case: Case) -> None:
    chain, variant = chain_of(case.config), Variant.of(case.config)
    grid = grid_of(chain, case.config.get("timestep_respacing"))
    x0, draws = case.input("x_start"), case.input("noises")
    denoiser = analytic(case, variant, clip=True)
    terms = []
    for place, eps in zip(reversed(range(len(grid) - 1)), draws, strict=True):
        t = torch.full((len(x0),), place)
        truth = truth_of(chain, grid, t, x0, eps)
        times = ((indices(chain, grid)[t] + 1) / chain.steps).double()
        estimate = denoiser(truth.x, times, torch.zeros(len(x0), dtype=torch.long))
        if not variant.learned:
            estimate = varied(estimate, variant.mix, truth)
        square = ((estimate.x0 - x0) ** 2, (estimate.eps - eps) ** 2)
        terms.append((bound(estimate, truth), *(s.flatten(1).mean(1) for s in square)))
    found = [torch.stack(term, dim=1) for term in zip(*terms, strict=True)]
    for name, value in zip(("vb", "xstart_mse", "mse"), found, strict=True):
        close(case, name, value)
    prior = prior_bits(chain, float(grid[0]), x0)
    close(case, "prior_bpd", prior)
    close(case, "total_bpd", found[0].sum(1) + prior)


@checks("dit", r"sample_ddp\.py", "state/x_embedder.proj.weight", "output/samples", "input/noises")
def dit_guided_chain(case: Case) -> None:
    guided_chain(case, network(case, case.config))


def guided_chain(case: Case, model: Any) -> None:
    """Walk the release's guided chains with a network, and compare every state."""
    config = case.config
    chain, variant = chain_of(config), Variant.of(config)
    inner: Any = NetworkDenoiser(model, chain, variant.prediction)
    inner = Clamped(inner) if config.get("clip_denoised") else inner
    grid = grid_of(chain, config["timestep_respacing"])
    z, y, draws = case.input("z"), case.input("y"), case.input("noises")
    half = len(case.tensors["output/samples"])
    # The release doubles the batch to guide it, and guides only above scale 1.
    scale = config["cfg_scale"] if half < len(z) else 1.0
    guided = ClassifierFree(inner, scale, null=model.null, channels=3)
    samplers: dict[str, Any] = {"chain": Ancestral(variant.mix), "chain_ddim": DDIM(single=True)}
    for name, sampler in samplers.items():
        with torch.no_grad():
            steps = list(sampler(guided, z[:half], y[:half], grid, TapeNoise(draws[:, :half])))
        if name not in case:
            continue
        wanted = case.tensors[f"output/{name}"]
        case.compared.add(name)
        # Ours has no second half: the unconditional rows' own walk is nobody's picture.
        gap = (stacked(steps) - wanted[:, :half]).abs().max()
        assert gap <= CHAIN * wanted.abs().max(), f"{name}: off by {gap:.3g}"
        if name == "chain":
            case.expect("samples", steps[-1].x, atol=CHAIN * float(wanted.abs().max()))


# training ----------------------------------------------------------------------------------------


@checks("dit", r"train\.py", "output/terms_loss", "output/after_step/*", "output/grad/*")
def dit_train_step(case: Case) -> None:
    train_step(case, network(case, case.config), to_official, gradient=1e-6)


def train_step(
    case: Case,
    model: nn.Module,
    to_official: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    *,
    gradient: float,
) -> None:
    """Take one step of the release's training; `gradient` is the tolerance of the gradients."""
    config = case.config
    model.train()
    chain = chain_of(config)
    x0, eps, t, y = (case.input(name) for name in ("x_start", "noise", "t", "y"))
    truth = truth_of(chain, grid_of(chain, ""), t, x0, eps)
    prediction = prediction_of(config, chain.steps)
    out = model(truth.x, t.float(), y)
    each = prediction.loss(out, truth)
    close(case, "terms_loss", each)
    close(case, "loss", each.mean())
    if isinstance(prediction, LearnedRange):
        mse, vb = split_loss(prediction, out, truth)
        close(case, "terms_mse", mse)
        close(case, "terms_vb", prediction.bound * vb)
    else:
        close(case, "terms_mse", each)
    each.mean().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    for name, value in to_official(gradients).items():
        case.expect(f"grad/{name}", value, atol=gradient, of_max=2e-5)  # see TIME
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0).step()
    after = {name: p.detach() for name, p in model.named_parameters()}
    average = {n: 0.9999 * before[n] + 0.0001 * after[n] for n in after}
    for name, value in to_official(after).items():
        case.expect(f"after_step/{name}", value, atol=4e-5)
    for name, value in to_official(average).items():
        case.expect(f"ema/{name}", value, atol=1e-6)
