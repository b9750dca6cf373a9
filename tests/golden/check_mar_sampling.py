"""MAR: whole runs, in full passes and by ReCAP, token for token (mar.md, 5; recap.md, 5.2)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.grids import Respaced
from mezzotint.masked.curves import Flat, Known, Ramp
from mezzotint.masked.diffusion_head import DiffusionHead
from mezzotint.masked.generate import Canvas, MaskedGenerator
from mezzotint.masked.order import Raster
from mezzotint.masked.plan import Masked, single
from mezzotint.masked.recap import recap
from mezzotint.networks.mar import MAR
from mezzotint.networks.mar_slots import KeptSlots
from mezzotint.noise import TapeNoise
from mezzotint.official.dit import respacing
from mezzotint.official.mar import parts
from tests.golden.case import Case, checks
from tests.golden.check_mar_network import network

RUN = 1e-4  # absolute, and of the largest value
RECAP = 1e-3  # of the largest value


@dataclass
class Heard:
    """A head, and what it is given and returns."""

    inner: DiffusionHead
    calls: list[dict[str, Any]] = field(default_factory=list)

    def draw(self, features, against, scale, moment, noise):
        drawn = self.inner.draw(features, against, scale, moment, noise)
        both = [features] if against is None else [features, against]
        z = torch.cat(both).flatten(0, 1)
        light = moment.offset > 0
        self.calls.append({"z": z, "sampled": drawn[0].flatten(0, 1), "cfg": scale, "light": light})
        self.calls[-1]["stage"] = moment.stage
        return drawn

    def loss(self, features, target, noise):
        return self.inner.loss(features, target, noise)


@dataclass
class Watched:
    """A network, and the places and masks that it is asked about."""

    inner: MAR | KeptSlots
    asked: list[dict[str, Tensor]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def prefill(self, tokens, masked, y):
        self.asked.append({"mask": masked})
        return self.inner.prefill(tokens, masked, y)

    def extend(self, tokens, masked, where, context, y):
        slots = 0 if isinstance(self.inner, KeptSlots) else context.slots
        places = torch.cat([torch.arange(slots).expand(len(where), -1), context.slots + where], 1)
        self.asked.append({"mask": masked.gather(1, where), "position_ids": places})
        return self.inner.extend(tokens, masked, where, context, y)


def head_of(case: Case, model: MAR, temperature: float) -> Heard:
    grid, steps = respacing(case.config["num_sampling_steps"])
    assert steps is not None
    if grid == Respaced((steps,)):  # one section, which a light stage may shorten
        grid = Respaced()
    path, prediction = parts()
    denoiser = NetworkDenoiser(model.head, path, prediction)
    return Heard(DiffusionHead(denoiser, grid=grid, steps=steps, temperature=Flat(temperature)))


def scale_of(run: dict[str, Any], least: int) -> Any:
    if run["cfg_schedule"] == "constant":
        return Flat(run["cfg"])
    return Ramp(1.0, run["cfg"], clock=Known(least))


def tape(case: Case, prefix: str) -> TapeNoise:
    """Return the draws in the order in which ours asks: the permutation, then call after call."""
    orders = case.input("orders")
    batch, draws = len(orders), [torch.zeros(orders.shape).scatter(1, orders, _ranks(orders))]
    for index in range(len(case.under(f"input/{prefix}"))):
        name = f"{prefix}{index}/"
        if f"input/{name}init_noise" not in case.tensors:
            break
        start, later = case.input(f"{name}init_noise"), case.input(f"{name}step_noise")
        if not len(start):  # a stage that reveals nothing, of which ours makes no pass
            continue
        draws.append(start.unflatten(0, (batch, -1)))
        # The last one is drawn and multiplied by 0; of a guided batch the first half counts.
        draws += [each[: len(start)].unflatten(0, (batch, -1)) for each in later[:-1]]
    return TapeNoise(draws)


def _ranks(orders: Tensor) -> Tensor:
    """Return a permutation's places: what stands last in it is revealed first."""
    return torch.arange(orders.shape[1], dtype=torch.float32).expand(orders.shape)


def run(case: Case, model: MaskedGenerator, y: Tensor, prefix: str) -> list[Canvas]:
    with torch.no_grad():
        return list(model(y, tape(case, prefix)))


def labels(case: Case, settings: dict[str, Any], model: MAR) -> Tensor:
    """Return the labels; those of the null class where the release was given none."""
    y = case.input("labels")
    return torch.full_like(y, model.null) if settings.get("labels_none") else y


def first_half(case: Case, name: str, actual: Tensor, **tolerance: float) -> None:
    """Compare tokens; ours has no second half, whose walk is nobody's picture."""
    if name in case:
        rest = case.tensors[f"output/{name}"][len(actual) :]
        case.expect(name, torch.cat([actual, rest]), **tolerance)


def plan_of(model: MAR, steps: int):
    return single(Masked()(model.length, steps))


@checks("mar", r"sample_tokens", "input/orders", "input/step0/init_noise", "output/latents")
def mar_sampling(case: Case) -> None:
    model, settings = network(case), case.config["sample"]
    head = head_of(case, model, settings["temperature"])
    scale = scale_of(settings, least=1)
    whole = MaskedGenerator(model, head, plan_of(model, settings["num_iter"]), Raster(), scale)
    *_, last = run(case, whole, labels(case, settings, model), "step")
    assert not last.masked.any()
    case.expect("latents", model.latents(last.tokens), atol=RUN, of_max=RUN)
    moments = [moment for group in whole.plan.moments() for moment in group]
    case.expect("mask_len", torch.tensor([max(1, moment.left) for moment in moments]))
    scales = torch.tensor([scale(moment) for moment in moments], dtype=torch.float64)
    case.expect("cfg_iter", scales, atol=1e-12)
    for call in head.calls:
        name = f"step{call['stage']}"
        case.expect(f"{name}/z", call["z"], atol=RUN)
        first_half(case, f"{name}/sampled", call["sampled"], atol=RUN, of_max=RUN)
    nothing_drawn(case)


def nothing_drawn(case: Case) -> None:
    """Take the records of stages that reveal nothing as compared."""
    for name in case.left():
        rows = case.tensors[f"output/{name}"]
        if not rows.numel():
            case.expect(name, rows)


@checks("recap", r"MAR\+ReCAP", "input/orders", "input/call0/init_noise", "output/latents")
def mar_recap(case: Case) -> None:
    model, settings = network(case), case.config["recap"]
    full = respacing(case.config["num_sampling_steps"])[1]
    assert full is not None
    light = settings["effective_light_sampling_steps"]
    assert light == int(0.5 * full), "the release takes half of the steps, whatever it is told"
    head = head_of(case, model, settings["temperature"])
    watched = Watched(KeptSlots(model) if settings["cache_buffer"] else model)
    whole = MaskedGenerator(
        watched, head, plan_of(model, settings["num_iter"]), Raster(), scale_of(settings, least=0)
    )
    reuse, after = settings["num_cache_iters"], settings["pre_full_iters"]
    y = labels(case, settings, model)
    *_, last = run(case, recap(whole, reuse=reuse, after=after), y, "call")
    case.expect("latents", model.latents(last.tokens), of_max=RECAP)
    told = {"call_cfg": "cfg", "call_is_light": "light", "call_fast_diffusion": "light"}
    for name, key in told.items():
        found = torch.tensor([call[key] for call in head.calls])
        case.expect(name, found.to(case.tensors[f"output/{name}"].dtype), atol=1e-6)
    for index, (call, asked) in enumerate(zip(head.calls, watched.asked, strict=True)):
        for name, tensor in asked.items():
            case.expect(f"call{index}/{name}", tensor)
        case.expect(f"call{index}/z", call["z"], of_max=RECAP)
        first_half(case, f"call{index}/sampled", call["sampled"], of_max=RECAP)
