"""PPGN: the released chain and the paper's equations over toy networks, and the generator's graph.

The toy networks of ppgn.md are built here, from the tensors of the case; the chain is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu, linear

from mezzotint.diffusion.conditions import (
    Cropped,
    Hole,
    LogSoftmax,
    OneHot,
    Together,
    Unit,
)
from mezzotint.diffusion.critics import Critic, Through
from mezzotint.diffusion.langevin import Langevin, MeanAbs, Restart, Weights
from mezzotint.diffusion.priors import Once, Reconstruction
from mezzotint.noise import TapeNoise
from mezzotint.official.ppgn import config_from_official, config_of, from_official, to_official
from tests.golden.case import Case, checks

EXACT = 1e-12  # of the largest value; the specification expects 1e-10, the chains meet far less


@dataclass
class Toy:
    """The toy networks of a case, as functions."""

    state: dict[str, Tensor]
    size: int

    def dense(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def generator(self, h: Tensor) -> Tensor:
        hidden = leaky_relu(self.dense("generator.fc1", h), 0.3)
        return self.dense("generator.fc2", hidden).view(-1, 3, self.size, self.size)

    def encoder(self, x: Tensor) -> Tensor:
        return self.dense("encoder.fc6", x.flatten(1)).relu()

    def fc8(self, x: Tensor) -> Tensor:
        return self.dense("condition.fc8", self.dense("condition.hid", x.flatten(1)).tanh())

    def conv5(self, x: Tensor) -> Tensor:
        return (conv2d(x, self.state["condition.conv5.weight"], padding=1) + 0.5).relu()

    def dae_h(self, h: Tensor) -> Tensor:
        for k in range(3):
            h = self.dense(f"dae_h.{k}", h).relu()
        return self.dense("dae_h.3", h)

    def dae_x(self, x: Tensor) -> Tensor:
        return self.dense("dae_x.1", self.dense("dae_x.0", x.flatten(1)).tanh()).view_as(x)


def noises_of(case: Case) -> TapeNoise:
    """Return the recorded draws in the order in which a chain asks for them.

    A chain without noise asks for none, though the release's zeros may be recorded.
    """
    config: dict[str, Any] = case.config
    tape: list[Tensor] = []
    every = config["reset_every"]
    resets = (
        iter(zip(case.input("reset_codes"), case.input("reset_epsilon1"), strict=True))
        if every
        else iter(())
    )
    for step in range(len(case.tensors["output/h"])):
        if config["epsilon3"] > 0:
            tape.append(case.input("noises")[step] / config["epsilon3"])
        if every and step > 0 and step % every == 0:
            code, e1 = next(resets)
            low, high = Restart().low, Restart().high
            tape += [code, torch.special.ndtri((e1 - low) / (high - low)).view(1)]
    return TapeNoise(tape)


@checks("ppgn", r"sampler\.py:Sampler\.sampling", "input/h0", "output/d_prior", "output/h")
def ppgn_official_chain(case: Case) -> None:
    config = case.config
    toy = Toy(case.state, config["generator_size"])
    layers = {"fc8": toy.fc8, "conv5": toy.conv5}
    place = (config["xy"], config["xy"])
    condition = Unit(layers[config["layer"]], OneHot(), place)
    whole = Once(toy.generator)
    seen, read = (Cropped(whole, config[f"{who}_size"]) for who in ("encoder", "condition"))
    critic: Critic = Through(read, condition)
    views: list[Callable[[Tensor], Tensor]] = [seen, read]
    around = None
    if "input/mask" in case.tensors:
        hole = Hole(case.input("context_image")[0], case.input("mask"))
        views = [lambda h: hole.filled(seen(h)), lambda h: hole.filled(read(h))]
        around = Through(read, hole.around)
        both = (Through(views[1], condition), around)
        critic = Together(both, (config["epsilon2"], config["epsilon4"]))
    weights = Weights(config["epsilon1"], 1.0 if around else config["epsilon2"], config["epsilon3"])
    chain = Langevin(
        Reconstruction(views[0], toy.encoder),
        critic,
        weights,
        MeanAbs(config["lr"], config["lr_end"], config["n_iters"]),
        bounds=tuple(config["clip"]) if config["clip"] else None,
        restart=Restart(config["reset_every"]) if config["reset_every"] else None,
    )
    labels = torch.tensor(config["units"])[:, None]
    links = list(chain.tour(case.input("h0"), labels, config["n_iters"], noises_of(case)))
    images = [views[1](link.codes) for link in links]
    asked = [labels[max(link.step - 1, 0) // config["n_iters"]] for link in links]
    found = {
        "h": [link.codes for link in links],
        "d_prior": [link.pull for link in links],
        "condition_input": images,
        "d_condition_x": [slope(condition, x, y) for x, y in zip(images, asked, strict=True)],
        "d_condition": [
            slope(Through(views[1], condition), link.codes, y)
            for link, y in zip(links, asked, strict=True)
        ],
        "prob": [condition(x, torch.zeros(1), y).exp() for x, y in zip(images, asked, strict=True)],
    }
    if around is not None:
        found["d_context"] = [slope(around, link.codes, asked[0]) for link in links]
    for name, rows in found.items():
        wanted = case.tensors[f"output/{name}"]
        case.expect(name, torch.stack(rows).view_as(wanted), of_max=EXACT)
    case.expect("h_after_last_update", links[-1].after, of_max=EXACT)
    case.expect("last_image", images[-1], of_max=EXACT)


def slope(critic: Critic, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(critic(x, torch.zeros(len(x)), y).sum(), x)[0]


@checks("ppgn", r"published update", "input/h0", "input/y", "output/*/z")
def ppgn_paper_variants(case: Case) -> None:
    config = case.config
    toy = Toy(case.state, config["generator_size"])
    whole = Once(toy.generator)
    seen, read = (Cropped(whole, config[f"crop_{who}"]) for who in ("encoder", "condition"))
    codes = Through(read, Unit(toy.fc8, LogSoftmax()))
    pixels = Through(Cropped(torch.nn.Identity(), read.size), Unit(toy.fc8, LogSoftmax()))
    variants = {
        "dgn_am": (None, codes, "h"),
        "ppgn_x": (toy.dae_x, pixels, "x"),
        "ppgn_h": (toy.dae_h, codes, "h"),
        "joint_ppgn_h": (Reconstruction(seen, toy.encoder), codes, "h"),
    }
    variants["noiseless_joint_ppgn_h"] = variants["joint_ppgn_h"]  # they differ in training alone
    for name, weights in config["variants"].items():
        prior, critic, space = variants[name]
        chain = Langevin(prior, critic, Weights(*weights))
        noise = TapeNoise(case.input(f"unit_noise_{space}"))
        start = case.input(f"{space}0")
        links = list(chain(start, case.input("y"), config["steps"], noise))
        for output, rows in {
            "z": [link.after for link in links],
            "prior_direction": [link.pull for link in links],
            "condition_grad": [link.push for link in links],
            "log_prob": [link.log_prob for link in links],
        }.items():
            case.expect(f"{name}/{output}", torch.stack(rows), of_max=EXACT)


@checks("ppgn", r"generator\.prototxt", "input/h", "state/defc7.weight", "output/image")
def ppgn_generator(case: Case) -> None:
    shape = config_of(case.config)
    assert config_from_official(case.state) == shape
    network = shape.build().eval()
    network.load_state_dict(from_official(case.state))
    assert_back(case, network)
    network = network.double()
    with torch.no_grad():
        image = network(case.input("h").double())
        start = network.start(case.input("h").double())
    case.expect("reshape_defc5", start, of_max=EXACT)
    case.expect("image", image, of_max=EXACT)


def assert_back(case: Case, network: torch.nn.Module) -> None:
    again = to_official(network.state_dict())
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
