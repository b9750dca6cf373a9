"""U-ViT's network, solvers, schedules and losses (uvit.md, sections 2, 5 and 10)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.diffusion.betas import ScaledLinearBetas
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.dpm import DPMSolver, DPMSolverMultistep, Equal, Fast, Nested
from mezzotint.diffusion.exponential import Classic, Data, NoiseTarget, Taylor
from mezzotint.diffusion.grids import Even, LogSNR
from mezzotint.diffusion.paths import ContinuousVP, DiscreteVP
from mezzotint.diffusion.predictions import Eps, Truth
from mezzotint.diffusion.samplers import Step
from mezzotint.diffusion.sde import ConstantRate, EulerMaruyama, SBDMRate
from mezzotint.networks.uvit import UViT
from mezzotint.nn.embed import time_features, unpatch
from mezzotint.noise import TapeNoise
from mezzotint.official.uvit import LATEST_COSINE, CosineVP, DiscreteSD, LinearVP
from mezzotint.official.uvit_network import (
    config_from_official,
    config_of,
    from_official,
    to_official,
)
from tests.golden.case import Case, broadcast, checks

FORWARD = 1e-5
SOLVER = 2e-5  # of the largest value


@checks("uvit", r"uvit(_t2i)?\.py:UViT$", "state/pos_embed", "input/x", "output/eps")
def network(case: Case) -> None:
    given = case.config
    model = UViT(config_of(given, null_row=True)).eval()
    model.load_state_dict(from_official(case.state))
    again = to_official(model.state_dict())
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    told = {"heads": given["num_heads"], "text_tokens": given.get("num_clip_token", 77)}
    read = config_from_official(case.state, null_row=True, **told).build()
    read.load_state_dict(model.state_dict())
    for name, part in official_parts(model).items():
        part.register_forward_hook(comparing(case, name))
    x, time = case.input("x"), case.input("timesteps").float()
    conditions = case.under("input/")
    y = conditions.get("context", conditions.get("y", torch.zeros(len(x), dtype=torch.long)))
    with torch.no_grad():
        case.expect("eps", model(x, time, y), atol=FORWARD)


def official_parts(model: UViT) -> dict[str, nn.Module]:
    """Return the parts of the network that the release has too, by their official names."""
    weights = {name: torch.empty(0) for name in model.state_dict() if name.endswith(".weight")}
    parts: dict[str, nn.Module] = {"time_embed": model.time, "final_layer": model.convolution}
    for ours, theirs in zip(weights, to_official(weights), strict=True):
        own, their = ours.split(".")[:-1], theirs.split(".")[:-1]
        whole = len(own) if len(own) == len(their) else 1  # else only the part itself is the same
        for left in range(whole):
            name = ".".join(their[: len(their) - left])
            parts[name] = model.get_submodule(".".join(own[: len(own) - left]))
    return parts


def comparing(case: Case, name: str):
    return lambda _module, _inputs, out: case.expect(name, out, atol=FORWARD)


class Toy:
    """eps(x, t) = (a + b t) (W x) + c t K, and a record of the times it was asked at."""

    def __init__(self, case: Case, clock: float) -> None:
        self.a, self.b, self.c = case.input("toy_abc").tolist()
        self.weight, self.offset = case.input("toy_W"), case.input("toy_K")
        self.clock, self.times = clock, list[float]()

    def __call__(self, x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        self.times.append(float(time[0]) / self.clock)
        t = broadcast(time / self.clock, x)
        mixed = torch.einsum("oc,bchw->bohw", self.weight.to(x), x)
        return (self.a + self.b * t) * mixed + self.c * t * self.offset.to(x)


PATHS = {
    "pp_discrete_sd": DiscreteSD(),
    "pp_linear": LinearVP(clock=1000.0),
    "pp_cosine": CosineVP(),
    "v1_linear": LinearVP(),
    "v1_cosine": CosineVP(clock=999.0),
    "discrete SD": DiscreteSD(),
    "linear": LinearVP(clock=1000.0),
    "cosine": CosineVP(),
}


@dataclass(frozen=True)
class Squared:
    """The release's third choice of times: square roots evenly spaced."""

    start: float = 1.0
    end: float = 1e-3

    def __call__(self, path, steps: int) -> Tensor:
        ends = self.start**0.5, self.end**0.5
        return torch.linspace(*ends, steps + 1, dtype=torch.float64) ** 2


OUTER: dict[str, Any] = {
    "logSNR": LogSNR,
    "time_uniform": Even,
    "time_quadratic": Squared,
    "t2": Squared,
}


def walk(case: Case, sampler, path, grid: Tensor) -> tuple[list[Step], list[float]]:
    toy = Toy(case, path.clock)
    x = case.input("x_T")
    y = torch.zeros(len(x), dtype=torch.long)
    steps = list(sampler(NetworkDenoiser(toy, path, Eps()), x, y, grid, TapeNoise([])))
    return steps, toy.times


def ends_of(run: dict, path) -> dict[str, float]:
    latest = LATEST_COSINE if isinstance(path, CosineVP) else 1.0
    return {"start": run.get("T", latest), "end": run["eps"]}


def single_step(run: dict, path):
    """Return the solver of a run and its grid."""
    first = run["kind"].startswith("v1")
    order, steps = run.get("order", 3), run["steps"]
    outer = OUTER[run.get("skip_type", "logSNR" if first else "time_uniform")](**ends_of(run, path))
    fast = run.get("fast_version", run.get("method", "fast") == "fast")
    plan = Fast(order) if fast else Equal(order)
    if not fast:
        steps = steps // order * order
    nested = first or not fast
    target = NoiseTarget() if first or not run.get("predict_x0", True) else Data()
    form = Taylor() if run.get("solver_type") == "taylor" else Classic()
    grid = Nested(outer, plan)(path, steps) if nested else outer(path, steps)
    return DPMSolver(plan, target, form), grid


@checks("uvit", r"DPM_Solver", "output/*/step_orders", "output/*/steps", "input/toy_abc")
def single_step_solvers(case: Case) -> None:
    for name, run in case.config["runs"].items():
        path = PATHS[run["kind"]]
        sampler, grid = single_step(run, path)
        steps, times = walk(case, sampler, path, grid)
        orders = torch.tensor(sampler.plan.orders(len(grid) - 1))
        case.expect(f"{name}/step_orders", orders)
        ends = torch.tensor([float(grid[0]), *(step.t for step in steps)], dtype=torch.float64)
        case.expect(f"{name}/step_times", torch.stack([ends[:-1], ends[1:]], 1), atol=2e-5)
        case.expect(f"{name}/model_times", torch.tensor(times, dtype=torch.float64), atol=2e-5)
        case.expect(f"{name}/steps", torch.stack([step.x for step in steps]), of_max=SOLVER)
        case.expect(f"{name}/final", steps[-1].x, of_max=SOLVER)


@checks("uvit", r"multistep", "output/*/model_times", "output/*/steps", "input/toy_abc")
def multistep_solvers(case: Case) -> None:
    for name, run in case.config["runs"].items():
        path = PATHS[run["schedule"]]
        outer = OUTER[run["skip_type"]](**ends_of(run, path))
        target = Data() if run["predict_x0"] else NoiseTarget()
        form = Taylor() if run["solver_type"] == "taylor" else Classic()
        sampler = DPMSolverMultistep(run["order"], target, form)
        steps, times = walk(case, sampler, path, outer(path, run["steps"]))
        case.expect(f"{name}/model_times", torch.tensor(times, dtype=torch.float64), atol=2e-5)
        case.expect(f"{name}/steps", torch.stack([step.x for step in steps]), of_max=SOLVER)
        case.expect(f"{name}/final", steps[-1].x, of_max=SOLVER)


@checks("uvit", r"sde\.py:euler_maruyama", "output/sde", "output/ode", "input/toy_abc")
def reverse_sde(case: Case) -> None:
    path = ContinuousVP()
    steps, eps = case.config["steps"], case.config["eps"]
    grid = Even(start=case.config["T"], tail=eps)(path, steps)
    x = case.input("x_T")
    denoiser = NetworkDenoiser(Toy(case, path.clock), path, Eps())
    y = torch.zeros(len(x), dtype=torch.long)
    noise = TapeNoise(case.input("noise"))
    trace = [x, *(s.x for s in EulerMaruyama(SBDMRate())(denoiser, x, y, grid, noise))]
    case.expect("sde_trace", torch.stack(trace), of_max=SOLVER)
    case.expect("sde", trace[-1], of_max=SOLVER)
    *_, last = EulerMaruyama(ConstantRate(0.0))(denoiser, x, y, grid, TapeNoise([x] * steps))
    case.expect("ode", last.x, of_max=SOLVER)


@checks("uvit", r"NoiseScheduleVP", "output/*/log_alpha", "input/t", "input/lambda")
def schedules(case: Case) -> None:
    t, lamda = case.input("t"), case.input("lambda")
    for name, path in {
        "discrete": DiscreteSD(),
        "linear": LinearVP(),
        "cosine": CosineVP(),
    }.items():
        inside = t.clamp(max=LATEST_COSINE) if name == "cosine" else t
        scales = path.scales(inside)
        case.expect(f"{name}/log_alpha", scales.alpha.log(), atol=1e-6, rtol=1e-5)
        case.expect(f"{name}/sigma", scales.sigma, atol=1e-6, rtol=1e-5)
        case.expect(f"{name}/lambda", path.log_snr(inside), atol=1e-5, rtol=1e-5)
        case.expect(f"{name}/inverse_lambda", path.time_of(lamda), atol=1e-6, rtol=1e-5)
    case.expect("sd_betas", ScaledLinearBetas().betas(1000), rtol=1e-12)
    chain = DiscreteVP(ScaledLinearBetas())
    case.expect("cum_alphas", chain.signal, rtol=1e-12)
    case.expect("cum_betas", 1 - chain.signal, rtol=1e-10, atol=1e-15)
    vp = ContinuousVP().scales(t)
    case.expect("vpsde/cum_alpha", vp.alpha**2, rtol=1e-5)
    case.expect("vpsde/cum_beta", vp.sigma**2, rtol=1e-4, atol=1e-7)
    case.expect("vpsde/snr", (vp.alpha / vp.sigma) ** 2, rtol=1e-4)
    case.expect("vpsde_cosine/cum_alpha", cosine_signal(t), rtol=1e-5, atol=1e-7)
    grids(case)


def cosine_signal(t: Tensor) -> Tensor:
    return CosineVP(single=False).scales(t).alpha ** 2


def grids(case: Case) -> None:
    for name in case.outputs("discrete/timesteps_*"):
        kind, _, steps = name.rpartition("_")
        outer = OUTER[kind.removeprefix("discrete/timesteps_")]
        atol = 2e-6 if outer is Squared else 1e-5
        case.expect(name, outer(end=1e-3)(DiscreteSD(), int(steps)), atol=atol)
    for name in case.outputs("linear/fast*_orders"):
        count = int(name.removeprefix("linear/fast").removesuffix("_orders"))
        orders = Fast().orders(count)
        case.expect(name, torch.tensor(orders))
        edges = LogSNR(end=1e-4)(LinearVP(), len(orders))
        case.expect(name.replace("orders", "timesteps"), edges, atol=1e-5)


@checks("uvit", r"LSimple", "output/loss_per_sample", "input/n", "input/x0")
def losses(case: Case) -> None:
    chain = DiscreteVP(ScaledLinearBetas(), clock_shift=1.0)
    draw(case, chain, case.input("n").double() / chain.steps, 1000.0, "x_n", "loss_per_sample")
    vp = ContinuousVP()
    draw(case, vp, case.input("vp_t").double(), vp.clock, "vp_x_t", "vp_loss_per_sample")


def draw(case: Case, path, t: Tensor, clock: float, noisy: str, loss: str) -> None:
    x0, eps = case.input("x0"), case.input("eps")
    scales = path.at(t, x0)
    x = scales.alpha * x0 + scales.sigma * eps
    denoiser = NetworkDenoiser(Toy(case, clock), path, Eps())
    out = denoiser.outputs(x, t, torch.zeros(len(x), dtype=torch.long))
    case.expect(noisy, x, of_max=SOLVER)
    case.expect(loss, Eps().loss(out, Truth(x0, eps, x, scales)), of_max=SOLVER)


@checks("uvit", r"timestep_embedding", "output/emb_0", "input/t_0")
def time_embedding(case: Case) -> None:
    for index, dim in enumerate(case.config["dims"]):
        case.expect(f"emb_{index}", time_features(case.input(f"t_{index}"), dim), atol=1e-5)


@checks("uvit", r"unpatchify", "output/tokens_0", "input/img_0")
def patches(case: Case) -> None:
    for index, each in enumerate(case.config["cases"]):
        image, patch = case.input(f"img_{index}"), each["patch"]
        shape = (image.shape[2] // patch, image.shape[3] // patch)
        tokens = case.tensors[f"output/tokens_{index}"]
        assert torch.equal(unpatch(tokens, shape, patch), image)
        case.compared.add(f"tokens_{index}")
