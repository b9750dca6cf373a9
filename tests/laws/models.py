"""Small analytic models that the laws are tried on."""

import torch
from torch import Tensor

from mezzotint.diffusion.betas import CosineBetas
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.grids import Even
from mezzotint.diffusion.paths import ContinuousVP, Cosine, DiscreteVP, Linear, Path
from mezzotint.diffusion.predictions import (
    X0,
    Eps,
    FixedRange,
    Leading,
    LearnedRange,
    Prediction,
    Score,
    Velocity,
)
from mezzotint.noise import SeededNoise

PATHS: dict[str, Path] = {
    "discrete-vp": DiscreteVP(),
    "discrete-cosine": DiscreteVP(CosineBetas(), steps=100),
    "continuous-vp": ContinuousVP(),
    "linear": Linear(),
    "cosine": Cosine(),
    "sit-linear": Linear(clock=1.0, reverse_clock=True),
}
PREDICTIONS: dict[str, Prediction] = {
    "eps": Eps(),
    "x0": X0(),
    "velocity": Velocity(),
    "sit-velocity": Velocity(towards_data=True),
    "score": Score(),
    "learned-range": LearnedRange(),
    "fixed-range": FixedRange(X0(), mix=0.5),
    "leading": Leading(X0()),
}
CLASSES = 4


def network(x: Tensor, time: Tensor, y: Tensor) -> Tensor:
    """Twice the channels of x, each row by itself, all inputs felt."""
    label = (y.double() / 5 + time.double() / 1000).to(x).view(-1, *(1,) * (x.dim() - 1))
    return torch.cat([torch.tanh(0.3 * x + label), torch.sin(x + label)], dim=1)


def halved(x: Tensor, time: Tensor, y: Tensor) -> Tensor:
    return network(x, time, y)[:, : x.shape[1]]


def denoiser(path: str, prediction: str) -> NetworkDenoiser:
    wide = prediction in {"learned-range", "leading"}
    return NetworkDenoiser(network if wide else halved, PATHS[path], PREDICTIONS[prediction])


class Gaussian:
    """The best denoiser of N(mean, s^2) data, in closed form."""

    def __init__(self, path, deviation: float = 0.5, mean: float = 0.0) -> None:
        self.path, self.deviation, self.mean = path, deviation, mean
        self.calls = 0

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        self.calls += 1
        alpha, sigma, _, _ = self.path.at(t, x)
        variance = alpha**2 * self.deviation**2 + sigma**2
        gap = (x - alpha * self.mean) / variance
        return Estimate(self.mean + alpha * self.deviation**2 * gap, sigma * gap)

    def spread(self, t: float) -> float:
        alpha, sigma, _, _ = self.path.scales(torch.tensor([t], dtype=torch.float64))
        return float((alpha**2 * self.deviation**2 + sigma**2).sqrt())


def grid_for(path: str, steps: int) -> Tensor:
    """Return a grid that every prediction can be asked on: some signal, some noise, or the end."""
    start = 1.0 if path.startswith("discrete") else 0.98
    return Even(start=start)(PATHS[path], steps)


def start(seeds: list[int], dtype: torch.dtype = torch.float64):
    noise = SeededNoise(seeds)
    return noise(torch.zeros(len(seeds), 3, 2, 2, dtype=dtype)), noise


def last(walk) -> Tensor:
    *_, step = walk
    return step.x
