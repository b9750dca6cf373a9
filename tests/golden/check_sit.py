"""SiT: the network, paths, intervals, losses, samplers and likelihood (sit.md).

Its clock runs from noise at 0 to data at 1; ours is 1 minus it.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.ode import RK4, Euler, Heun2, Heun3, Midpoint
from mezzotint.diffusion.predictions import Score, Truth, Velocity
from mezzotint.diffusion.samplers import points
from mezzotint.diffusion.sde import (
    ConstantRate,
    DecreasingRate,
    DriftStep,
    EulerMaruyama,
    EulerStep,
    IncreasingDecreasingRate,
    LinearRate,
    MeanStep,
    SBDMRate,
    SigmaRate,
    TweedieStep,
)
from mezzotint.diffusion.solvers import Dopri5, RungeKutta, log_likelihood
from mezzotint.diffusion.weightings import Likelihood, ScoreToVelocity, Uniform
from mezzotint.errors import ConfigError
from mezzotint.noise import TapeNoise
from mezzotint.official.sit import (
    PATHS,
    PREDICTIONS,
    SINGLE_PATHS,
    StridedHeun,
    Transport,
    grid,
    parts,
)
from tests.golden.case import Case, broadcast, checks
from tests.golden.check_dit import guided_forward, network, tapped

FORWARD = 2e-5
CHAIN = 2e-5  # of the largest value
ADAPTIVE = 1e-4
RULES: dict[str, Any] = {
    "euler": Euler(),
    "midpoint": Midpoint(),
    "heun2": Heun2(),
    "heun3": Heun3(),
    "rk4": RK4(),
}
RATES: dict[str, Any] = {
    "constant": ConstantRate,
    "SBDM": SBDMRate,
    "sigma": SigmaRate,
    "linear": LinearRate,
    "decreasing": DecreasingRate,
    "inccreasing-decreasing": IncreasingDecreasingRate,
    "increasing-decreasing": IncreasingDecreasingRate,
}
STEPS: dict[str, Any] = {"Euler": lambda times: EulerStep(), "Heun": StridedHeun.along}
LASTS: dict[str, Any] = {"Mean": MeanStep(), "Euler": DriftStep(), "Tweedie": TweedieStep()}
WEIGHTS: dict[str, Any] = {
    "None": Uniform(),
    "velocity": ScoreToVelocity(),
    "likelihood": Likelihood(),
}


def labels(x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.long)


# network -----------------------------------------------------------------------------------------


@checks("sit", r"models\.py:SiT$", "state/x_embedder.proj.weight", "input/x", "output/out")
def sit_forward(case: Case) -> None:
    model = network(case, case.config)
    x, t, y = (case.input(name) for name in "xty")
    out = tapped(model, case, x, t, y, atol=FORWARD)
    case.expect("out", out[:, : x.shape[1]], atol=FORWARD)


@checks("sit", r"forward_with_cfg", "state/x_embedder.proj.weight", "output/cfg_*")
def sit_guided(case: Case) -> None:
    guided_forward(case, network(case, case.config), case.input("t"))


# paths -------------------------------------------------------------------------------------------


@checks("sit", r"transport/path\.py", "output/*/d_alpha_over_alpha", "input/net")
def sit_paths(case: Case) -> None:
    ours = 1 - case.input("t").double()
    for name, path in PATHS.items():
        if not case.outputs(f"{name}/*"):
            continue
        coefficients(case, name, replace_ends(path, case.config.get(name, {})), ours)


def replace_ends(path, config: dict):
    ends = {"first": config.get("sigma_min"), "last": config.get("sigma_max")}
    return replace(path, **{k: v for k, v in ends.items() if v is not None})


def coefficients(case: Case, name: str, path, t: Tensor) -> None:
    x, out = case.input("x"), case.input("net")
    x0, noise = case.input("x1_data"), case.input("x0_noise")
    scales = path.scales(t)
    alpha, sigma, d_alpha, d_sigma = scales
    rate = -d_alpha / alpha
    gain = sigma * d_sigma - sigma**2 * d_alpha / alpha
    found = {
        "alpha": alpha,
        "sigma": sigma,
        "d_alpha": -d_alpha,
        "d_sigma": -d_sigma,
        "d_alpha_over_alpha": rate,
        "drift": -broadcast(rate, x.double()) * x,
        "drift_var": gain.view(-1, 1, 1, 1),
    }
    for form, rate_of in RATES.items():
        values = [rate_of(case.config["norm"])(place) for place in points(path, t)]
        found[f"diffusion/{form}"] = torch.tensor(values, dtype=torch.float64)
    wide = scales.like(x.double())
    v = Velocity(towards_data=True).estimate(out.double(), x.double(), wide)
    s = Score().estimate(out.double(), x.double(), wide)
    found["noise_from_velocity"] = v.eps
    found["score_from_velocity"] = -v.eps / wide.sigma
    found["velocity_from_score"] = -(wide.d_alpha * s.x0 + wide.d_sigma * s.eps)
    found["xt"] = wide.alpha * x0 + wide.sigma * noise
    found["ut"] = -(wide.d_alpha * x0 + wide.d_sigma * noise)
    for key, value in found.items():
        case.expect(f"{name}/{key}", value, of_max=CHAIN)


@checks("sit", r"check_interval", "output/t0_t1")
def sit_intervals(case: Case) -> None:
    rows = []
    for row in case.config["rows"]:
        transport = Transport(
            row["path"], row["prediction"], row.get("train_eps"), row.get("sample_eps")
        )
        try:
            ends = transport.interval(
                sampling=row["eval"],
                sde=row["sde"],
                sbdm=row["diffusion_form"] == "SBDM",
                last_step_size=row["last_step_size"],
                reverse=row["reverse"],
            )
        except ConfigError:
            ends = (-1.0, -1.0)
        rows.append(ends)
    case.expect("t0_t1", torch.tensor(rows, dtype=torch.float64), atol=1e-12)


# losses ------------------------------------------------------------------------------------------


@checks("sit", r"training_losses", "output/*/xt", "input/u", "input/w")
def sit_losses(case: Case) -> None:
    x0, eps, w = case.input("x1_data"), case.input("x0_noise"), case.input("w")
    for name in case.config["paths"]:
        for kind, prediction in PREDICTIONS.items():
            start, end = transport(case, name, kind).interval(sampling=False)
            t = start + (end - start) * case.input("u")
            case.expect(f"{name}/{kind}/t", t, atol=1e-6)
            scales = SINGLE_PATHS[name].at(1 - t.double(), x0)
            x = scales.alpha * x0 + scales.sigma * eps
            case.expect(f"{name}/{kind}/xt", x, of_max=CHAIN)
            out = 0.6 * x + 0.3 * w * torch.sin(3 * broadcast(t, x))
            for weight, weighting in WEIGHTS.items():
                loss = replace(cast(Any, prediction), weighting=weighting).loss(
                    out, Truth(x0, eps, x, scales)
                )
                case.expect(f"{name}/{kind}/{weight}/loss", loss, rtol=CHAIN, of_max=CHAIN)


# samplers ----------------------------------------------------------------------------------------


def model_of(case: Case):
    w = case.input("w")

    def model(x: Tensor, time: Tensor, y: Tensor | None) -> Tensor:
        return -0.5 * x + 0.8 * w * torch.sin(3 * broadcast(time, x))

    return model


def transport(case: Case, name: str, kind: str) -> Transport:
    return Transport(name, kind, case.config.get("train_eps"), case.config.get("sample_eps"))


def toy(case: Case, name: str, kind: str) -> NetworkDenoiser:
    return NetworkDenoiser(model_of(case), SINGLE_PATHS[name], PREDICTIONS[kind])


@checks("sit", r"sample_sde", "output/ode/*/final", "output/sde/*/final", "input/noises")
def sit_samplers(case: Case) -> None:
    dead = set(case.listed("nonfinite")) | {n for n, _ in case.listed("raises")}
    for key in case.outputs("sde/*/final"):
        _, name, kind, form, method, last, _ = key.split("/")
        assert f"{name}/{kind}/{form}/{method}/{last}" not in dead
        stochastic(case, key, toy(case, name, kind), (name, kind), (form, method, last))
    for key in case.outputs("ode/*/final"):
        _, name, kind, method, direction, _ = key.split("/")
        assert f"ode/{name}/{kind}/{method}/{direction}" not in dead
        reverse = direction == "reverse"
        start, end = transport(case, name, kind).interval(sampling=True, reverse=reverse)
        times = grid(start, end, case.config["num_steps"])
        z = case.input("z")
        denoiser = toy(case, name, kind)
        steps = list(solver(case, method)(denoiser, z, labels(z), times, TapeNoise([])))
        states = torch.stack([z, *(step.x for step in steps)])
        for output, value in ((key, states[-1]), (key.replace("/final", "/chain"), states)):
            case.expect(output, value, **bounds(method, kind, float(states.abs().max())))


def bounds(method: str, kind: str, largest: float) -> dict[str, float]:
    """Return the stated tolerance; for a stiff adaptive walk, of the largest value of the chain.

    The first adaptive steps are so short that their error is rounding, and it decides the later
    ones. Where noise or score is divided by t near 0, torchdiffeq itself, on the release's formula,
    misses the fixture's tiny last states by 1e-4 to 7e-4 of their size, and log p by 1.7e-4.
    """
    if method != "dopri5":
        return {"of_max": CHAIN}
    return {"of_max": ADAPTIVE, "atol": 0.0 if kind == "velocity" else ADAPTIVE * largest}


def solver(case: Case, method: str):
    if method == "dopri5":
        config = case.config
        tolerances = {"rtol": config.get("rtol", 1e-3), "atol": config.get("atol", 1e-6)}
        return Dopri5(**tolerances, joint=True, overshoot=True)
    return RungeKutta(RULES[method], land=False)


def stochastic(case, key, denoiser, kinds, choices) -> None:
    form, method, last = choices
    size = 0.0 if last == "None" else case.config["last_step_size"]
    start, end = transport(case, *kinds).interval(
        sampling=True, sde=True, sbdm=form == "SBDM", last_step_size=size
    )
    times = grid(start, end, case.config["num_steps"], last_step_size=size)
    rate, step = RATES[form](case.config["diffusion_norm"]), STEPS[method](times)
    sampler = EulerMaruyama(rate, step, LASTS.get(last, step))
    z = case.input("z")
    states = [s.x for s in sampler(denoiser, z, labels(z), times, TapeNoise(case.input("noises")))]
    states += states[-1:] * (last == "None")  # the release says the last one twice
    case.expect(key, states[-1], of_max=CHAIN)
    case.expect(key.replace("/final", "/chain"), torch.stack(states), of_max=CHAIN)


@checks("sit", r"sample_ode_likelihood", "output/*/logp", "input/rademacher", "input/x_data")
def sit_likelihood(case: Case) -> None:
    w, x, probe = case.input("w"), case.input("x_data"), case.input("rademacher")

    def model(x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        waves = 0.8 * w * torch.sin(3 * broadcast(time, x))
        return 0.7 * torch.tanh(x) + waves + 0.2 * x * x.roll(1, -1)

    for key in case.outputs("*/logp"):
        name, kind, method, _ = key.split("/")
        path = replace(cast(Any, SINGLE_PATHS[name]), turned=True)
        denoiser = NetworkDenoiser(model, path, PREDICTIONS[kind])
        start, end = transport(case, name, kind).interval(sampling=True)
        times = 1 - grid(start, end, case.config["num_steps"])
        logp, z = log_likelihood(
            denoiser,
            x,
            labels(x),
            times.flip(0),
            probe=lambda like: probe,
            solver=solver(case, method),
        )
        largest = max(float(x.abs().max()), float(z.abs().max()))
        case.expect(key.replace("logp", "z"), z, **bounds(method, kind, largest))
        if method == "dopri5" and not isinstance(PREDICTIONS[kind], Velocity):
            case.expect(key, logp, of_max=case.config["rtol"])
        else:
            case.expect(key, logp, **bounds(method, kind, 0.0))


@checks("sit", r"sample_ddp\.py", "state/x_embedder.proj.weight", "output/ode", "input/noises")
def sit_guided_chain(case: Case) -> None:
    config = case.config
    model = network(case, config)
    path, prediction = parts(learn_sigma=config["learn_sigma"])
    inner = NetworkDenoiser(model, path, prediction)
    guided: Any = ClassifierFree(inner, config["cfg_scale"], null=model.null, channels=3)
    z, y = case.input("z"), case.input("y")
    half = len(z) // 2
    if bool((y[half:] != model.null).any()):  # the release guides, and doubles, only above scale 1
        guided, half = inner, len(z)
    halves = {"ode": ode_chain, "sde": sde_chain, "dopri5_last": adaptive_end}
    for name, chain in halves.items():
        if name in case:
            with torch.no_grad():
                states = chain(case, guided, z[:half], y[:half])
            wanted = case.tensors[f"output/{name}"]
            case.compared.add(name)
            # Ours has no second half: the unconditional rows' own walk is nobody's picture.
            gap = (states - (wanted[:half] if wanted.dim() == 4 else wanted[:, :half])).abs().max()
            adapts = wanted.dim() == 4 or (name, config["ode"]) == ("ode", "dopri5")
            assert gap <= (ADAPTIVE if adapts else CHAIN) * wanted.abs().max(), f"{name}: {gap:.3g}"


def ode_chain(case: Case, denoiser, z: Tensor, y: Tensor) -> Tensor:
    return ode_states(case, denoiser, z, y, case.config["ode"])


def ode_states(case: Case, denoiser, z: Tensor, y: Tensor, method: str) -> Tensor:
    """Return the states at the points; an adaptive method sees the release's doubled batch."""
    times, count = grid(0.0, 1.0, case.config["num_steps"]), len(z)
    if method == "dopri5" and isinstance(denoiser, ClassifierFree):
        denoiser, z, y = Doubled(denoiser), torch.cat([z, z]), torch.cat([y, y])
    walk = solver(case, method)(denoiser, z, y, times, TapeNoise([]))
    return torch.stack([z, *(step.x for step in walk)])[:, :count]


def sde_chain(case: Case, denoiser, z: Tensor, y: Tensor) -> Tensor:
    config = case.config
    last = str(config["last_step"])
    size = config["last_step_size"] if last != "None" else 0.0
    start, end = Transport().interval(
        sampling=True, sde=True, sbdm=config["sde_form"] == "SBDM", last_step_size=size
    )
    times = grid(start, end, config["num_steps"], last_step_size=size)
    rate = RATES[config["sde_form"]](config.get("diffusion_norm", 1.0))
    step = STEPS[config.get("sde", "Euler")](times)
    draws = case.input("noises")[:, : len(z)]
    sampler = EulerMaruyama(rate, step, LASTS.get(last, step))
    states = [s.x for s in sampler(denoiser, z, y, times, TapeNoise(draws))]
    return torch.stack(states + states[-1:] * (last == "None"))


@dataclass(frozen=True)
class Doubled:
    """The release's batch of twice the images, which share their step sizes: both halves see the
    first half of x, and of the second only channels 0 to 2 are guided.
    """

    guided: ClassifierFree

    @property
    def path(self):
        return self.guided.path

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        half = len(x) // 2
        upper = self.guided(x[:half], t[:half], y[:half])
        null = torch.as_tensor(self.guided.null or 0).to(y).expand(half)
        lower = self.guided.inner(x[:half], t[:half], null)

        def both(field: str) -> Tensor:
            one, two = getattr(upper, field), getattr(lower, field)
            return torch.cat([one, torch.cat([one[:, :3], two[:, 3:]], dim=1)])

        return Estimate(both("x0"), both("eps"))


def adaptive_end(case: Case, denoiser, z: Tensor, y: Tensor) -> Tensor:
    return ode_states(case, denoiser, z, y, "dopri5")[-1]
