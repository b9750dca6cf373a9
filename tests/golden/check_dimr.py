"""DiMR: its norms, the network, the multi-scale loss, targets and guidance (dimr.md)."""

from typing import Any

import torch
from torch import Tensor

from mezzotint.diffusion.guidance import PowerCosine
from mezzotint.diffusion.multiscale import MultiScale, pooled
from mezzotint.diffusion.predictions import Eps, Truth
from mezzotint.networks.dimr import DiMR
from mezzotint.nn.norm import RMSNorm, TimeDependent, TimeLayerNorm, TimeRMSNorm
from mezzotint.official.dimr import (
    config_from_official,
    config_of,
    from_official,
    guidance,
    parts,
    to_official,
)
from mezzotint.official.renames import Renames
from tests.golden.case import Case, checks

FORWARD = 1e-5
GRADIENT = 2e-5  # of the largest value
NO_CLASS = torch.zeros(1, dtype=torch.long)


def network(case: Case, config: dict[str, Any]) -> DiMR:
    """Build the network of a case, with names and shapes tried both ways."""
    model = DiMR(config_of(config))
    model.load_state_dict(from_official(case.state))
    again = to_official(model.state_dict())
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    last, (rows, columns) = model.config.branches[-1], model.config.size
    stages = config["stage_configs"]
    heads, *others = {each.get("num_attention_heads", 0) for each in stages} - {0} or {0}
    told = last.positioned and last.shrink == 1 and rows == columns and not others
    if told:  # elsewhere shapes cannot tell
        read = config_from_official(case.state, heads=heads)
        blocked = {"block_gradient": model.config.block_gradient}
        assert read.model_copy(update=blocked) == model.config
    return model


def clock(log_snr: Tensor) -> Tensor:
    """Return the network time that the released scripts turn into `log_snr`."""
    return (log_snr + 4) * 125


@checks("dimr", r"MRModel", "state/stages.0.input_layer.1.weight", "input/x", "input/log_snr")
def forward(case: Case) -> None:
    model = network(case, case.config).eval()
    x = case.input("x")
    y = case.tensors.get("input/y", NO_CLASS.expand(len(x)))
    times = {"eps": "log_snr", "eps_uniform": "log_snr_uniform"}
    with torch.no_grad():
        for output, source in times.items():
            if f"input/{source}" in case.tensors:
                outputs = model(x, clock(case.input(source)), y)
                for r, each in enumerate(outputs):
                    case.expect(f"{output}_{r}", each, atol=FORWARD)
        features(case, model, x, y)


def features(case: Case, model: DiMR, x: Tensor, y: Tensor) -> None:
    """Compare what each branch hands up, the input and output of all its blocks."""
    found: dict[int, list[Tensor]] = {}

    def keep(r: int):
        return lambda _module, _inputs, out: found.__setitem__(r, out[1])

    hooks = [b.register_forward_hook(keep(r)) for r, b in enumerate(model.branches)]
    model(x, clock(case.input("log_snr")), y)
    for hook in hooks:
        hook.remove()
    for r, maps in found.items():
        shape = model.branches[r].shape
        case.expect(f"features_{r}", torch.cat(maps, 2).unflatten(1, shape), atol=FORWARD)


@checks("dimr", r"multi_scale_targets", "state/stages.0.*", "input/eps", "input/n")
def loss(case: Case) -> None:
    model = network(case, case.config["model"]).train()
    path, _ = parts()
    prediction = MultiScale(coefficients=tuple(case.config["loss_coeffs"]))
    x0, eps, n = (case.input(name) for name in ("x0", "eps", "n"))
    y = case.tensors.get("input/y", NO_CLASS.expand(len(x0)))
    t = n.double() / path.steps
    scales = path.at(t, x0)
    x = scales.alpha * x0 + scales.sigma * eps
    time = path.network_time(t).float()
    case.expect("x_n", x, atol=FORWARD)
    case.expect(
        "log_snr", 4 * (model.config.time_slope * time + model.config.time_offset), atol=1e-6
    )
    outputs = model(x, time, y)
    for r, each in enumerate(outputs):
        target = eps if each.shape == eps.shape else pooled(eps, each.shape[-1])
        case.expect(f"eps_{r}", each, atol=FORWARD)
        case.expect(f"target_{r}", target, atol=FORWARD)
        alone = Eps().loss(each, Truth(x0=target, eps=target, x=target, scales=scales))
        case.expect(f"mse_{r}", alone, atol=FORWARD)
    each = prediction.loss(outputs, Truth(x0, eps, x, scales))
    case.expect("loss_per_sample", each, atol=FORWARD)
    each.mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for name, gradient in to_official(gradients).items():
        case.expect(f"grad/{name}", gradient, of_max=GRADIENT)


@checks("dimr", r"multi_scale_targets", "input/case0", "output/case0_width*")
def targets(case: Case) -> None:
    for name in case.outputs("case*_width*"):
        source, _, width = name.partition("_width")
        spec = case.config["cases"][int(source.removeprefix("case"))]
        x = case.input(source)
        wanted = int(width)
        if wanted != x.shape[-1]:
            x = pooled(x, wanted, scale_correction=spec["scale_correction"])
        case.expect(name, x, atol=FORWARD)


@checks("dimr", r"TimeDependentParameter", "state/tdp.*", "input/x3", "input/log_snr")
def norms(case: Case) -> None:
    dim = case.config["dim"]
    tdp = TimeDependent(dim, start=1.0)
    layers = {
        "ln": TimeLayerNorm(dim),
        "tdrms": TimeRMSNorm(dim),
        "tdrms_bias": TimeRMSNorm(dim, bias=True),
        "rms": RMSNorm(dim),
    }
    names = Renames("TD-LN", tuple((f"*.{a}", f"*.{b}") for a, b in TIMED))
    everything = torch.nn.ModuleDict({"tdp": tdp, **layers})
    everything.load_state_dict(renamed(case.state, names.rows))
    tau, uniform = case.input("log_snr") / 4, case.input("log_snr_uniform") / 4
    case.expect("tdp", tdp(tau), atol=FORWARD)
    case.expect("tdp_uniform", tdp(uniform[:1]), atol=FORWARD)
    total = (tdp(tau) * torch.arange(1, tau.numel() * dim + 1).view(-1, dim)).sum() / dim
    for name, layer in layers.items():
        for size in ("x3", "x4"):
            x = case.input(size)
            out = layer(x, tau)
            case.expect(f"{name}_{size}", out, atol=FORWARD)
            case.expect(f"{name}_uniform_{size}", layer(x, uniform), atol=FORWARD)
            total = total + (out.flatten() * torch.arange(out.numel()).cos()).sum()
    total.backward()
    gradients = {name: p.grad for name, p in everything.named_parameters()}
    for name, gradient in renamed(gradients, [row[::-1] for row in names.rows]).items():
        case.expect(f"grad/{name}", gradient, of_max=GRADIENT)


TIMED = (
    ("param0", "upper"),
    ("param1", "lower"),
    ("nodecay_weight", "slope"),
    ("nodecay_bias", "shift"),
)


def renamed(state: dict[str, Any], rows: Any) -> dict[str, Any]:
    """Rename the last part of dotted names, and leave other names alone."""
    last = {a.removeprefix("*."): b.removeprefix("*.") for a, b in rows}
    parts_of = ((name.rpartition("."), tensor) for name, tensor in state.items())
    return {f"{head}.{last.get(tail, tail)}": tensor for (head, _, tail), tensor in parts_of}


@checks("dimr", r"cfg_nnet", "input/cond", "input/uncond", "output/guided_0")
def guided(case: Case) -> None:
    conditional, plain = case.input("cond"), case.input("uncond")
    for index, spec in enumerate(case.config["cases"]):
        scale = guidance(spec["cfg_scale"], spec["cfg_scale_pow"])
        weight = float(scale(torch.tensor([spec["t"] / 1000], dtype=torch.float64)))
        out = plain + weight * (conditional - plain)
        case.expect(f"guided_{index}", out, atol=FORWARD)
    for name in case.outputs("scale_cfg*_pow*"):
        given = [float(each) for each in name.removeprefix("scale_cfg").split("_pow")]
        rising = PowerCosine(*given)
        case.expect(name, rising(case.input("t_grid").double() / 1000), atol=FORWARD)
