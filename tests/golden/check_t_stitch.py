"""T-Stitch: every allocation rule, and trajectories of two and three DiTs (t_stitch.md)."""

from typing import Any

import torch
from torch import Tensor

from mezzotint.diffusion.allocation import (
    LCM,
    Diffusers,
    LatentDiffusion,
    Official,
    OfficialList,
    OfficialPair,
    Rule,
    allocate,
)
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.routing import Stitched, stitched
from mezzotint.diffusion.samplers import DDIM, Ancestral
from mezzotint.networks.dit import DiT
from mezzotint.noise import TapeNoise
from mezzotint.official.dit import config_of, from_official
from tests.golden.case import Case, checks
from tests.golden.check_dit import Variant, chain_of, grid_of, indices, stacked

CHAIN = 1e-5  # of the largest value of each step
RULES: dict[str, Rule] = {
    "dit": OfficialPair(),
    "multi": OfficialList(),
    "ldm": LatentDiffusion(),
    "diffusers": Diffusers(),
    "lcm": LCM(),
}


@checks("t_stitch", r"TStitchProxy", "output/dit/*/r*", "output/lcm/*/r*")
def t_stitch_allocation(case: Case) -> None:
    for name in case.outputs():
        family, steps, last = name.split("/")
        rule = RULES[family]
        if last == "timesteps":
            case.expect(name, rule.timesteps(int(steps)).long())
            continue
        fractions = [float(each) for each in last[1:].split("_")]
        # A list is whole, a pair is told by the small one's fraction.
        whole = fractions if last.startswith("f") else [fractions[0], 1 - fractions[0]]
        visited = f"{family}/{steps}/timesteps"
        given = case.tensors[f"output/{visited}"] if visited in case else None
        case.expect(name, allocate(int(steps), whole, rule, timesteps=given))
        case.expect(name, allocate(int(steps), whole, rule))


@checks("t_stitch", r"TStitch", "state/*.x_embedder.proj.weight", "output/r*/sample", "input/z")
def t_stitch_chain(case: Case) -> None:
    config = case.config
    diffusion = config["diffusion"]
    chain = chain_of(diffusion)
    grid = grid_of(chain, diffusion["timestep_respacing"])
    variant = Variant.of(diffusion)
    models = [network(case, name, config) for name in config["models"]]
    pieces = [NetworkDenoiser(model, chain, variant.prediction) for model in models]
    case.expect("timesteps", indices(chain, grid).flip(0))
    for fractions in config["fractions"]:
        listed = fractions if isinstance(fractions, list) else [fractions, 1 - fractions]
        label = "_".join(map(str, fractions)) if isinstance(fractions, list) else fractions
        rule: Rule = OfficialList() if config.get("multi") else Official()
        # The release divides by 1000, whatever the length of the chain.
        visited = indices(chain, grid).flip(0)
        allocation = allocate(len(visited), listed, rule, timesteps=visited).tolist()
        one = stitched(pieces, allocation, grid)
        met(case, f"r{label}", one, allocation, models[0].null, grid)


def network(case: Case, name: str, config: dict[str, Any]) -> DiT:
    learned = config["diffusion"].get("learn_sigma", True)
    # The released class drops labels, so there is a null row, whether or not it is used here.
    defaults = {"class_dropout_prob": 0.1, "learn_sigma": learned, "mlp_ratio": 4.0}
    model = DiT(config_of(defaults | config["models"][name])).eval()
    model.load_state_dict(from_official(case.under(f"state/{name}.")))
    return model


def met(
    case: Case, label: str, one: Stitched, allocation: list[int], null: int | None, grid: Tensor
) -> None:
    """Compare one trajectory: who ran, every state, and the last clean image."""
    config, z, y = case.config, case.input("z"), case.input("y")
    scale = config["cfg_scale"]
    denoiser: Any = one if scale is None else ClassifierFree(one, scale, null=null, channels=3)
    if config.get("clip_denoised"):
        raise AssertionError("the release never clips")
    samplers: dict[str, Any] = {"ddim": DDIM(config.get("eta", 0.0), single=True)}
    samplers["ddpm"] = Ancestral(Variant.of(config["diffusion"]).mix)
    tape: list[Tensor] = []
    if "input/noise" in case.tensors:
        tape = list(case.input("noise")[:, : len(z)])  # the unconditional half has its own
    with torch.no_grad():
        steps = list(samplers[config["sampler"]](denoiser, z, y, grid, TapeNoise(tape)))
    case.expect(f"{label}/model_index", torch.tensor(allocation))
    wanted = case.tensors[f"output/{label}/sample"]
    found = stacked(steps)
    for k, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        gap = float((ours - theirs).abs().max() / theirs.abs().max())
        assert gap <= CHAIN, f"{label}/sample: step {k} off by {gap:.3g} of its largest value"
    case.compared.add(f"{label}/sample")
    case.expect(f"{label}/pred_xstart_last", steps[-1].estimate.x0, of_max=CHAIN)
