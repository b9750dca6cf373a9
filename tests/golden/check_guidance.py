"""Guidance: ADM's two forms, conventions, directions, schedules, training-free (guidance.md)."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mezzotint.diffusion.critics import ClassifierCritic, NoisyCritic
from mezzotint.diffusion.denoiser import Clamped, NetworkDenoiser
from mezzotint.diffusion.directions import (
    Damped,
    Plain,
    Projected,
    Rescaled,
    Tangential,
    ZeroStar,
)
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.guidance import Autoguided, ClassifierFree
from mezzotint.diffusion.mixture import Mixture
from mezzotint.diffusion.paths import DiscreteVP, Linear, Scaled, Scales
from mezzotint.diffusion.predictions import X0, Eps, LearnedRange, Velocity
from mezzotint.diffusion.samplers import DDIM, Ancestral, Heun, points, pushed, transitions
from mezzotint.diffusion.scales import WEIGHT, Interval, LinearRise, PowerCosine, Weighted
from mezzotint.diffusion.steering import AtNoisy, Steered
from mezzotint.diffusion.training_free import Decreasing, Increasing, Level, TrainingFree
from mezzotint.diffusion.training_free_methods import DPS, LGD, MPGD, TFG, UGD, FreeDoM
from mezzotint.noise import TapeNoise
from tests.golden.case import Case, broadcast, checks
from tests.golden.check_dit import chain_of, grid_of, stacked, tables

STEP = 1e-5  # of the largest value, float32
EXACT = 1e-10  # of the largest value, float64


# ADM's classifier guidance -----------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """A chain whose network reads the release's clock: the index, or 0 to 1000 if rescaled."""

    chain: DiscreteVP
    rescaled: bool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)

    def network_time(self, t: Tensor) -> Tensor:
        index = self.chain.network_time(t)
        return index * (1000 / self.chain.steps) if self.rescaled else index


class Model:
    """The toy denoiser of these cases: a convolution, and a time term."""

    def __init__(self, case: Case, steps: float = 1000.0) -> None:
        self.state, self.steps = case.under("state/model."), steps

    def __call__(self, x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        out = torch.conv2d(x, self.state["weight"], self.state.get("bias"), padding=1)
        if "tvec" not in self.state:
            return out
        share = broadcast((time / self.steps).to(x), x)
        return out + share * self.state["tvec"].view(1, -1, 1, 1)


class Judge:
    """The toy classifier: one hidden layer of tanh, told the time or not."""

    def __init__(self, case: Case) -> None:
        self.state = case.under("state/classifier.")

    def __call__(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        hidden = x.flatten(1) @ self.state["W1"].T + self.state["b1"]
        if time is not None:
            hidden = hidden + (time / 1000).to(x)[:, None] * self.state["u"]
        out = torch.tanh(hidden) @ self.state["W2"].T
        return out + self.state["b2"] if "b2" in self.state else out


@dataclass(frozen=True)
class Setting:
    """A guided process of the release."""

    chain: Any
    grid: Tensor
    plain: Any
    steered: Steered
    mix: float
    learned: bool

    @classmethod
    def of(cls, case: Case) -> "Setting":
        config, given = case.config, case.config["diffusion"]
        names = {"diffusion_steps": given.get("steps", 1000)}
        chain = chain_of(given | names)
        path: Any = Clock(chain, given.get("rescale_timesteps", False))
        learned = given.get("learn_sigma", False)
        mean = X0() if given.get("predict_xstart") else Eps()
        read = LearnedRange(mean=mean) if learned else mean
        plain: Any = NetworkDenoiser(Model(case), path, read)
        if config.get("clip_denoised", True):
            plain = Clamped(plain)
        critic = NoisyCritic(Judge(case), path)
        steered = Steered(plain, critic, config["classifier_scale"])
        mix = 0.0 if given.get("sigma_small") else 1.0
        return cls(
            path, grid_of(chain, given.get("timestep_respacing")), plain, steered, mix, learned
        )

    def sampler(self, case: Case) -> Any:
        eta = case.config.get("eta", 0.0)
        kinds = {"ddim": DDIM(eta, single=True), "ddpm": Ancestral(self.mix)}
        return kinds[case.config["sampler"]]


def near(case: Case, name: str, actual: Tensor) -> None:
    case.expect(name, actual, of_max=STEP, atol=1e-6)


@checks("guidance", r"guided_diffusion/gaussian_diffusion", "input/t_index", "output/guided_mean")
def adm_guided_step(case: Case) -> None:
    setting = Setting.of(case)
    schedule(case, setting)
    rows = [one(case, setting, row) for row in range(len(case.input("x")))]
    # x0 = (x - sigma eps) / alpha loses the digits of what cancels, before it is clamped.
    largest = max(float(row["unclamped"].abs().max()) for row in rows)
    for name in rows[0]:
        bound = STEP * largest if "pred_xstart" in name else 1e-6
        value = torch.cat([row[name] for row in rows])
        case.expect(name, value, of_max=STEP, atol=bound)


def schedule(case: Case, setting: Setting) -> None:
    for name, table in tables(setting.chain, setting.grid).items():
        case.expect(name, table, rtol=1e-10)


def one(case: Case, setting: Setting, row: int) -> dict[str, Tensor]:
    """Return all that the release computes of one image at one index."""
    x, y, noise = (case.input(name)[row : row + 1] for name in ("x", "y", "noise"))
    place = int(case.input("t_index")[row])
    column = len(setting.grid) - 2 - place
    t = setting.grid[column : column + 1]
    here, there = points(setting.chain, setting.grid[column : column + 2])
    step = transitions(setting.chain, setting.grid)[column]
    time = setting.chain.network_time(t)
    ancestral = Ancestral(setting.mix)
    plain, steered = setting.plain(x, t, y), setting.steered(x, t, y)
    variance = ancestral.spread(plain, step)[0].expand_as(x).to(x)
    mean, _ = ancestral.reverse(x, plain, here, there, step)
    guided, deviation = ancestral.reverse(x, steered, here, there, step)
    (last,) = setting.sampler(case)(
        setting.steered, x, y, setting.grid[column : column + 2], TapeNoise([noise])
    )
    moved = pushed(steered, here)
    ancestral_sample = guided if there.sigma == 0 else guided + deviation * noise
    implicit = case.config["sampler"] == "ddim"
    if implicit:  # there the mean is that of the guided clean image
        guided, _ = ancestral.reverse(x, replace(moved, push=None), here, there, step)
    else:
        last = last._replace(x=ancestral_sample)
    inner = getattr(setting.plain, "inner", setting.plain)
    return {
        "unclamped": inner(x, t, y).x0,
        "model_out": Model(case)(x, time, y),
        "model_t": time,
        "classifier_t": time,
        "logits": Judge(case)(x, time),
        "cond_grad": steered.push if steered.push is not None else torch.zeros_like(x),
        "uncond_mean": mean,
        "uncond_variance": variance,
        "uncond_log_variance": log_variance(setting, plain, step).expand_as(x),
        "uncond_pred_xstart": plain.x0,
        "guided_mean": guided,
        "eps_before": plain.eps,
        "eps_after": moved.eps,
        "guided_pred_xstart": moved.x0,
        "sample": last.x,
        "sample_pred_xstart": moved.x0 if implicit else plain.x0,
    }


def log_variance(setting: Setting, plain: Estimate, step: Any) -> Tensor:
    if plain.var_mix is not None:
        return step.log_variance(plain.var_mix)
    upper = torch.where(step.last, step.log_posterior, step.log_beta)
    return (upper if setting.mix else step.log_posterior).float()


@checks("guidance", r"guided_diffusion/gaussian_diffusion", "input/x_T", "output/samples")
def adm_guided_loop(case: Case) -> None:
    setting = Setting.of(case)
    schedule(case, setting)
    x, y = case.input("x_T"), case.input("y")
    walk = setting.sampler(case)
    steps = list(walk(setting.steered, x, y, setting.grid, TapeNoise(case.input("noises"))))
    near(case, "samples", stacked(steps))
    near(case, "pred_xstarts", torch.stack([step.estimate.x0 for step in steps]))
    # At scale 0 the critic is not asked, where the release multiplies by 0.
    asked = [step.estimate.push for step in steps]
    pushes = [torch.zeros_like(x) if each is None else each for each in asked]
    near(case, "cond_grads", torch.stack(pushes))
    times = setting.chain.network_time(setting.grid[:-1])
    near(case, "classifier_t", times[:, None].expand(-1, len(x)))


# conventions and directions ----------------------------------------------------------------------


@checks("guidance", r"guiders", "input/cond", "input/uncond")
def conventions(case: Case) -> None:
    c, u, config = case.input("cond"), case.input("uncond"), case.config
    s, w = config["scale"], config["w"]
    assert WEIGHT.scale(w) == WEIGHT.to(WEIGHT, w) + 1

    def guided(direction: Any, scale: float = s) -> Tensor:
        return direction(c, u, c - u, torch.full((len(c), *(1,) * (c.dim() - 1)), scale))

    found = {
        "cfg_scale": guided(Plain()),
        "edm_lerp": guided(Plain()),
        "cfg_original_w": guided(Plain(), WEIGHT.scale(w)),
        "cfg_maskgit_logits_w": guided(Plain(), WEIGHT.scale(w)),
        "cfg_rescaled": guided(Rescaled(config["rescale_phi"])),
        "cfg_zero_star": guided(ZeroStar()),
        "tangential": guided(Tangential()),
    }
    for name in case.outputs("mambo_alpha*"):
        found[name] = guided(Damped(float(name.removeprefix("mambo_alpha"))))
    for name in case.outputs("apg_eta*"):
        found[name] = guided(projected(name))
    for name, value in found.items():
        case.expect(name, value, of_max=STEP)
    # diffusers' function has no threshold by default, its guider has 15: in the public case no
    # difference is as long as that.
    defaults = [guided(Projected(1.0, threshold)) for threshold in (0.0, 15.0)]
    nearest(case, "apg_default", defaults, of_max=STEP)
    sequence(case)
    dit_forms(case)


def projected(name: str) -> Projected:
    """Read a setting off its name, such as apg_eta0.3_nothreshold or apg_eta0_r2."""
    eta, threshold = 1.0, 0.0
    for word in name.split("_")[1:]:
        if word.startswith("eta"):
            eta = float(word[3:])
        if word.startswith("r") and word[1:].replace(".", "").isdigit():
            threshold = float(word[1:])
    return Projected(eta, threshold)


def nearest(case: Case, name: str, readings: list[Tensor], *, of_max: float) -> None:
    """Compare the nearest of the readings that the public case leaves open."""
    if name in case:
        wanted = case.tensors[f"output/{name}"]
        gaps = [float((value - wanted).abs().max()) for value in readings]
        case.expect(name, readings[gaps.index(min(gaps))], of_max=of_max)


def sequence(case: Case) -> None:
    """Walk the evaluations of one trajectory, whose differences have momentum."""
    if "apg_seq_momentum" not in case:
        return
    given = case.config["apg_seq"]
    direction = Projected(given["eta"], given["norm_threshold"], given["momentum"])
    mixture, rows = Mixture(direction), []
    inputs = zip(case.input("apg_seq_cond"), case.input("apg_seq_uncond"), strict=True)
    for k, (c, u) in enumerate(inputs):
        t = torch.full((len(c),), 1 - k / 10, dtype=torch.float64)
        scale = torch.full((len(c),), float(case.config["scale"]), dtype=torch.float64)
        estimates = Estimate(c, torch.zeros_like(c)), Estimate(u, torch.zeros_like(u))
        around = (torch.zeros_like(c), t, Linear())
        rows.append(mixture(*estimates, torch.arange(len(c)), scale, around).x0)
    case.expect("apg_seq_momentum", torch.stack(rows), of_max=STEP)


def dit_forms(case: Case) -> None:
    """Compare the whole doubled batch; ours has no second half, whose rest stays its own."""
    if "input/dit_z" not in case.tensors:
        return
    z, out = case.input("dit_z"), case.input("dit_model_out")
    half, latent = len(z) // 2, z.shape[1]
    doubled = torch.cat([z[:half], z[:half]])
    case.expect("dit_model_input", doubled, atol=0.0)
    path, t = Linear(), torch.full((half,), 0.5, dtype=torch.float64)
    read: Any = LearnedRange() if out.shape[1] == 2 * latent else Eps()

    def network(x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        return out[: len(x)]  # at scale 1 the conditional half alone is asked for

    for name, channels in (("dit_first3channels", 3), ("dit_all_channels", latent)):
        inner = NetworkDenoiser(network, path, read)
        guided = ClassifierFree(inner, case.config["scale"], null=1, channels=channels)
        estimate = guided(z[:half], t, torch.zeros(half, dtype=torch.long))
        wanted = out.clone()
        wanted[:half, :channels] = wanted[half:, :channels] = estimate.eps[:, :channels]
        assert torch.equal(estimate.eps[:, channels:], out[:half, channels:latent])
        case.expect(name, wanted, of_max=STEP)


# schedules ---------------------------------------------------------------------------------------


@checks("guidance", r"1d-tokenizer", "output/power_cosine", "output/mar_linear_cfg")
def scale_schedules(case: Case) -> None:
    config = case.config
    steps, scale, length = config["steps"], config["scale"], config["seq_len"]
    done = torch.arange(steps, dtype=torch.float64)
    even = 1 - done / steps
    case.expect("power_cosine", PowerCosine(scale, config["power"])(even), rtol=EXACT, atol=EXACT)
    # The token models' argument is a weight there, and our scale is 1 more.
    weight = LinearRise(scale, start=0.0)
    for name, t in (
        ("linear_muse_titok", even),
        ("halton_confidence_linear_w", 1 - done / (steps - 1)),
    ):
        case.expect(name, Weighted(weight)(t) - 1, rtol=EXACT, atol=EXACT)
    masked = case.tensors["output/mar_mask_len"]
    case.expect("mar_mask_len", torch.tensor(still_masked(length, steps)), atol=0.0)
    case.expect(
        "mar_linear_cfg", LinearRise(scale)(masked.double() / length), rtol=EXACT, atol=EXACT
    )
    for name in case.outputs("diffusers_gate_*"):
        start, stop = (float(word) for word in name.split("_")[2:])
        gate = Interval.of_steps(2.0, start, stop, steps)(even)
        case.expect(name, (gate != 1).float(), atol=0.0)


def still_masked(length: int, steps: int) -> list[int]:
    """Return what MAR's release leaves masked: at least one fewer than before, and at least one.

    The last step reveals all, but its guidance is that of one token left.
    """
    left = [length]
    for step in range(steps):
        share = math.cos(math.pi / 2 * (step + 1) / steps)
        left.append(max(1, min(left[-1] - 1, math.floor(length * share))))
    return left[1:]


# parameterisations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed(Scaled):
    """A path known at one set of times: the scales of a case."""

    alpha: Tensor
    sigma: Tensor

    def scales(self, t: Tensor) -> Scales:
        alpha, sigma = self.alpha[:, 0], self.sigma[:, 0]
        # For alpha^2 + sigma^2 = 1 on the circle, dx/dangle is alpha eps - sigma x0.
        return Scales(alpha, sigma, -sigma, alpha)


@checks("guidance", r"own float64 reference", "input/grad_log_p", "output/vp_eps_guided")
def parameterisations(case: Case) -> None:
    x, eps, push = case.input("x_t"), case.input("eps"), case.input("grad_log_p")
    alpha, sigma, t = (case.input(name) for name in ("alpha", "sigma", "t"))
    noise, one = case.input("edm_sigma"), torch.ones_like(t)
    processes = {
        "vp": Fixed(alpha, sigma),
        "lin": Fixed(1 - t, t),
        "edm": Fixed(one, noise),
    }
    found: dict[str, Tensor] = {}
    for name, path in processes.items():
        scales = path.scales(t).like(x)
        plain = Eps().estimate(eps, x, scales)
        guided = AtCase(case.config["scale"] * push).steered(plain, scales)
        for ending, estimate in (("", plain), ("_guided", guided)):
            velocity = scales.d_alpha * estimate.x0 + scales.d_sigma * estimate.eps
            found |= {
                f"{name}_eps{ending}": estimate.eps,
                f"{name}_x0{ending}": estimate.x0,
                f"{name}_denoised{ending}": estimate.x0,
                f"{name}_v{ending}": velocity,
                f"{name}_score{ending}": -estimate.eps / scales.sigma,
            }
            if name == "lin":
                flow = estimate.eps - estimate.x0
                found[f"lin_velocity{ending or '_data_to_noise'}"] = flow
                found[f"sit_velocity{ending}"] = -flow
                again = Velocity().estimate(flow, x, Linear().at(t[:, 0], x))
                assert torch.allclose(again.x0, estimate.x0)
    for name, value in found.items():
        case.expect(name, value, of_max=EXACT)


@dataclass(frozen=True)
class AtCase:
    """A push that is given."""

    push: Tensor

    def steered(self, plain: Estimate, scales: Scales) -> Estimate:
        return pushed(replace(plain, push=self.push), scales)


# EDM ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exploding(Scaled):
    """x = x0 + sigma n, with sigma as a multiple of our time."""

    largest: float

    def scales(self, t: Tensor) -> Scales:
        one = torch.ones_like(t.double())
        return Scales(one, self.largest * t.double(), 0 * one, self.largest * one)

    def network_time(self, t: Tensor) -> Tensor:
        return self.largest * t.double()

    def time_of(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-log_snr) / self.largest


class Toy:
    """The toy denoiser of the notes: labelled, or the mean of its embeddings under class K."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.weight, self.embed = state["weight"], state["embed"]

    def __call__(self, x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        s = broadcast(time, x)
        table = torch.cat([self.embed, self.embed.mean(0, keepdim=True)])
        inner = torch.conv2d(x / (1 + s**2).sqrt(), self.weight, padding=1)
        felt = torch.tanh(inner + table[y][:, :, None, None].to(x))
        return x * 0.25 / (s**2 + 0.25) + s / (1 + s) * felt


class Exact(NetworkDenoiser):
    """A network in float64: `outputs` hands the clock on as it is."""

    def outputs(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.network(x, self.path.network_time(t).to(x), y)


@checks("guidance", r"edm_sampler", "state/net.weight", "state/gnet.weight", "output/sigmas")
def edm(case: Case) -> None:
    config, y = case.config, case.input("labels")
    net, other = Toy(case.under("state/net.")), Toy(case.under("state/gnet."))
    count, rho = config["num_steps"], config["rho"]
    ramp = torch.arange(count, dtype=torch.float64) / (count - 1)
    high, low = (config[name] ** (1 / rho) for name in ("sigma_max", "sigma_min"))
    sigmas = torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1).double()])
    case.expect("sigmas", sigmas, rtol=EXACT)
    path: Any = Exploding(config["sigma_max"] * 2)
    main, labelled = Exact(net, path, X0()), Exact(other, path, X0())

    def null(x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        return labelled(x, t, torch.full_like(y, len(other.embed)))

    null.path = path  # type: ignore[attr-defined]
    x = case.input("noise") * sigmas[0]
    with torch.no_grad():
        g = config["guidance"]
        gated = Gate(*config["interval"])
        everywhere = Gate(0, count)
        cfg: Any = Autoguided(main, null, g)  # type: ignore[arg-type]
        auto: Any = Autoguided(main, labelled, g)
        twice: Any = Autoguided(main, null, config.get("G", g))  # type: ignore[arg-type]
        runs: dict[str, tuple[Any, Gate]] = {
            "edm2_unguided": (main, everywhere),
            "edm2_cfg": (cfg, everywhere),
            "edm2_autoguided": (auto, everywhere),
            "interval_guided": (twice, gated),
            "interval_everywhere": (twice, everywhere),
        }
        for name, (guided, gate) in runs.items():
            # The notes promise churn to autoguidance, and leave open whether the others have it.
            churns = [config.get("S_churn", 0.0), 0.0][: 1 + (name != "edm2_autoguided")]
            found = [churned(case, guided, main, gate, x, y, sigmas, each) for each in churns]
            nearest(case, name, found, of_max=EXACT if name.startswith("edm2") else STEP)


@dataclass(frozen=True)
class Gate:
    """Guided steps, both ends inclusive; the choice serves a step's correction too."""

    first: int
    last: int

    def __contains__(self, step: int) -> bool:
        return self.first <= step <= self.last


def churned(
    case: Case,
    guided: Any,
    plain: Any,
    gate: Gate,
    x: Tensor,
    y: Tensor,
    sigmas: Tensor,
    churn: float,
) -> Tensor:
    """Walk Heun's steps one by one, each with its own denoiser, after adding EDM's noise."""
    config, largest = case.config, guided.path.largest
    draws = iter(case.tensors.get("input/noises", torch.empty(0)))
    for k in range(len(sigmas) - 1):
        here = sigmas[k]
        extra = min(churn / (len(sigmas) - 1), 2**0.5 - 1)
        if extra > 0 and config["S_min"] <= here <= config["S_max"]:
            up = here * (1 + extra)
            x = x + (up**2 - here**2).sqrt() * config["S_noise"] * next(draws)
            here = up
        grid = torch.stack([here, sigmas[k + 1]]) / largest
        (step,) = Heun()(guided if k in gate else plain, x, y, grid, TapeNoise([]))
        x = step.x
    return x


# training-free steps -----------------------------------------------------------------------------


@checks("guidance", r"Training-Free-Guidance", "input/alphas_cumprod", "output/*_i*")
def training_free(case: Case) -> None:
    config, x, y = case.config, case.input("x"), case.input("y")
    chain: Any = Given(case.input("alphas_cumprod"), case.input("timesteps"))
    denoiser: Any = Exact(Model(case), chain, Eps())
    critic = ClassifierCritic(Judge(case))
    grid = torch.arange(len(chain.signal), -1, -1, dtype=torch.float64) / len(chain.signal)
    for name in case.outputs("*_i*"):
        method, _, index = name.rpartition("_i")
        column = len(chain.signal) - 1 - int(index)
        if method == "cg":
            steered = Steered(denoiser, critic, config["strength"], AtNoisy())
            noise = drawn(case, name)
            ends = grid[column : column + 2]
            (step,) = DDIM(config["eta"])(steered, x, y, ends, noise)
            case.expect(name, step.x, of_max=EXACT)
            continue
        repeats = config["recur_steps"] if method in {"freedom", "ugd", "tfg"} else 1
        weights = SCHEDULES[config["tfg"].get("schedule", "increase")]
        found = []
        for each in made(case, method):
            walk = TrainingFree(critic, each, weights, repeats, config["eta"])
            noise = drawn(case, name)
            place = list(walk.places(denoiser, y, grid, noise))[column]
            found.append(walk.step(place, x).state)
        wanted = case.tensors[f"output/{name}"]
        gaps = [float((value - wanted).abs().max()) for value in found]
        case.expect(name, found[gaps.index(min(gaps))], of_max=EXACT)


def drawn(case: Case, name: str) -> TapeNoise:
    """Return the draws of an output; the last step, or one at eta 0, may have none."""
    return TapeNoise(case.tensors.get(f"input/{name}_noises", torch.empty(0)))


SCHEDULES: dict[str, Any] = {
    "increase": Increasing(),
    "decrease": Decreasing(),
    "constant": Level(),
}


class Given(Scaled):
    """A chain whose signal and clock are a case's."""

    def __init__(self, signal: Tensor, clock: Tensor) -> None:
        self.signal, self.clock = signal, clock

    def scales(self, t: Tensor) -> Scales:
        signal = torch.cat([self.signal.new_ones(1), self.signal])[self._place(t)]
        none = torch.zeros_like(signal)
        return Scales(signal.sqrt(), (1 - signal).sqrt(), none, none)

    def _place(self, t: Tensor) -> Tensor:
        return (t * len(self.signal)).round().long()

    def network_time(self, t: Tensor) -> Tensor:
        return self.clock[self._place(t) - 1].double()


def made(case: Case, name: str) -> list[Any]:
    """Return a method, in each reading that the public case leaves open."""
    config = case.config
    s, tfg = config["strength"], config["tfg"]
    bound = 1.0 if config["clip_x0"] else None
    # Steps backward: one fewer than iter_steps, or as many as recur_steps; the case has both at 2.
    backward = {config["iter_steps"] - 1, config["recur_steps"], config["iter_steps"]}
    methods: dict[str, list[Any]] = {
        "dps": [DPS(s)],
        "lgd": [LGD(s, config["lgd_samples"])],
        "freedom": [FreeDoM(s)],
        "mpgd": [MPGD(s, bound)],
        "ugd": [UGD(s, count, bound) for count in sorted(backward)],
        "tfg": [
            TFG(tfg["rho"], tfg["mu"], tfg["sigma"], tfg["eps_bsz"], config["iter_steps"], bound)
        ],
    }
    return methods[name]
