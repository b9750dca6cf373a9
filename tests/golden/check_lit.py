"""LiT: linear attention, the network, what it inherits from a DiT, and distillation (lit.md)."""

import math
from typing import Any

import torch
from torch import Tensor

from mezzotint.convert import inherit
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.predictions import LearnedRange
from mezzotint.nn.attention import LinearAttention, linear_attention
from mezzotint.official import dit
from mezzotint.official.lit import config_of, from_official, to_official
from mezzotint.training.distillation import (
    Reading,
    distilled,
    log_variance,
    noise_term,
    raw,
    variance,
    variance_term,
)
from tests.golden.case import Case, checks
from tests.golden.check_dit import Raw, chain_of, grid_of, heard, split_loss, truth_of

FORWARD = 1e-5
PREFIX = "blocks.0.attn."


@checks("lit", r"float64 quadratic reference", "state/proj.weight", "output/out")
def lit_attention(case: Case) -> None:
    config = case.config
    x = case.input("x")
    rows, columns = case.input("hw").tolist() if "input/hw" in case.tensors else square(x)
    attention = LinearAttention(
        config["dim"],
        config["num_heads"],
        shape=(rows, columns),
        kernel=config.get("kernel_size", 5),
        bias=config.get("qkv_bias", True),
        floor=config.get("eps", 1e-6),
        eps=config.get("eps", 1e-6),
    )
    ours = from_official({f"{PREFIX}{name}": tensor for name, tensor in case.state.items()})
    attention.load_state_dict({n.removeprefix(PREFIX): tensor for n, tensor in ours.items()})
    with torch.no_grad():
        compare_attention(case, attention, x)


def square(x: Tensor) -> tuple[int, int]:
    side = math.isqrt(x.shape[1])
    return side, side


def compare_attention(case: Case, attention: LinearAttention, x: Tensor) -> None:
    q = attention.q(x)
    k, v = attention.kv(x).chunk(2, dim=-1)
    features = [attention.features(each) for each in (q, k)]
    left, right = (each.unflatten(2, (attention.heads, -1)).transpose(1, 2) for each in features)
    sums = linear_attention(left, right, torch.ones_like(left[..., :1]), eps=attention.eps)
    case.expect("phi_q", features[0], atol=FORWARD)
    case.expect("phi_k", features[1], atol=FORWARD)
    case.expect("row_sum", sums[..., 0], atol=FORWARD)
    case.expect("attn", attention.mixed(q, k, v), atol=FORWARD)
    local = torch.zeros_like(v) if attention.conv is None else attention.conv(v)
    case.expect("dwc", local, atol=FORWARD)
    case.expect("out", attention(x), atol=FORWARD)


@checks("lit", r"models\.py:DiT with", "state/x_embedder.proj.weight", "output/*out")
def lit_forward(case: Case) -> None:
    model = config_of(case.config).build().eval()
    model.load_state_dict(from_official(case.state))
    parts: dict[str, Any] = {f"block{i}": block for i, block in enumerate(model.blocks)}
    parts |= {f"attn{i}": block.attn for i, block in enumerate(model.blocks)}
    parts |= {"patch_embed": model.patches, "t_emb": model.time, "y_emb": model.label}
    parts |= {"final_tokens": model.head}
    if "input/x" in case.tensors:
        with torch.no_grad(), heard(parts) as found:
            out = model(case.input("x"), case.input("t").float(), case.input("y"))
        for name, tensor in {"out": out, **found}.items():
            case.expect(name, tensor, atol=FORWARD)
            case.expect(f"tap_{name}", tensor, atol=FORWARD)
    if "cfg_out" in case:
        case.expect("cfg_out", guided(case, model), atol=FORWARD)


@torch.no_grad()
def guided(case: Case, model) -> Tensor:
    """Return both halves of the release's guided batch, the first through our guidance."""
    x, t, y = (case.input(f"cfg_{name}") for name in "xty")
    half, channels = len(x) // 2, model.config.channels
    scale = float(case.input("cfg_scale"))
    denoiser = ClassifierFree(Raw(model, channels), scale, null=model.null, channels=3)
    eps = denoiser(x[:half], t[:half].double(), y[:half]).eps
    out = model(torch.cat([x[:half], x[:half]]), t.float(), y)
    out[:half, :channels] = eps
    out[half:, :3] = eps[:, :3]
    return out


@checks("lit", r"inheritance rule", "state/teacher/*", "state/fresh/*", "output/student/*")
def lit_inheritance(case: Case) -> None:
    teacher = dit.from_official(case.under("state/teacher/"))
    fresh = from_official(case.under("state/fresh/"))
    # Our tensors fit our networks: those are what a conversion starts from.
    dit.config_of(case.config).build().load_state_dict(teacher)
    config_of(case.config).build().load_state_dict(fresh)
    student, record = inherit(teacher, fresh)
    for name, tensor in to_official(student).items():
        case.expect(f"student/{name}", tensor)
    assert sorted(to_official(chosen(fresh, record.inherited))) == sorted(case.config["copied"])
    assert sorted(to_official(chosen(fresh, record.fresh))) == sorted(case.config["missing"])
    dropped = dit.to_official(chosen(teacher, record.dropped))
    assert sorted(dropped) == sorted(case.config["not_taken"])


def chosen(state: dict[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: state[name] for name in names}


@checks("lit", r"distillation terms", "input/student_out", "input/teacher_out", "output/kd_*")
def lit_distillation(case: Case) -> None:
    config = case.config
    schedule = {"noise_schedule": config["schedule"], "diffusion_steps": config["steps"]}
    chain = chain_of(schedule)
    x0, eps, t = (case.input(name) for name in ("x_start", "noise", "t"))
    student, teacher = case.input("student_out"), case.input("teacher_out")
    truth = truth_of(chain, grid_of(chain, ""), t, x0, eps)
    channels = x0.shape[1]
    mse, vb = split_loss(LearnedRange(), student, truth)
    base = LearnedRange().loss(student, truth)
    for name, value in {"x_t": truth.x, "mse": mse, "vb": vb, "base": base}.items():
        case.expect(name, value, atol=FORWARD)
    case.expect("kd_noise", noise_term(student, teacher, channels), atol=FORWARD)
    readings: dict[str, Reading] = {"raw": raw, "logvar": log_variance, "sigma": variance}
    for name, reading in readings.items():
        term = variance_term(student, teacher, channels, reading=reading, step=truth.step)
        # Sigma is of order 1e-5 here, so that 1e-5 alone would see nothing.
        case.expect(f"kd_var_{name}", term, atol=FORWARD * min(1.0, float(term.max())))
    for name in case.outputs("total*"):
        given = name.split("_")[1:]
        weights = (config["lambda1"], config["lambda2"])
        if given:  # the point behind the first digit is left out: 05 is 0.5, 005 is 0.05
            first, second = (float(f"{digits[0]}.{digits[1:]}") for digits in given)
            weights = (first, second)
        total = distilled(base, student, teacher, channels, weights=weights).mean()
        case.expect(name, total, atol=FORWARD)
