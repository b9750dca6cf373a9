"""The diffusion head: a small denoiser draws each token, given what the network says of its place.

    x_{k-1} = mean(x_k, z) + temperature * deviation * noise        from x_N ~ N(0, 1)

It is an ordinary denoiser, a token a row, whose condition is a vector; sampler, guidance and
temperature are the ordinary ones. Li et al., arXiv 2406.11838, section 3.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import part
from mezzotint.diffusion.betas import CosineBetas
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.grids import Grid, Respaced
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.paths import DiscreteVP, Path
from mezzotint.diffusion.predictions import LearnedRange, Prediction, Truth
from mezzotint.diffusion.samplers import Ancestral, Sampler
from mezzotint.diffusion.times import Times, UniformTimes
from mezzotint.masked.curves import Along, Flat
from mezzotint.masked.plan import Moment
from mezzotint.noise import Noise, scaled, uniform


@dataclass(frozen=True)
class DiffusionHead:
    """Tokens are drawn by denoising; features are what they are conditioned on.

    Args:
        denoiser: of rows of tokens; its condition is a vector a row.
        sampler: how to walk.
        grid: where to stop on the way.
        steps: intervals of the grid.
        light: share of the steps, rounded down, that stages after a light pass take (ReCAP).
        temperature: what the sampler's noise is multiplied by, along the plan; not the start's.
        repeats: how often the loss takes each token, every time at a time and noise of its own.
        times: how the loss draws those.
    """

    denoiser: NetworkDenoiser
    sampler: Sampler = Ancestral()
    grid: Grid = Respaced()
    steps: int = 100
    light: float = 0.5
    temperature: Along = Flat(1.0)
    repeats: int = 4
    times: Times = UniformTimes()

    def draw(
        self,
        features: Float[Tensor, "b n f"],
        against: Float[Tensor, "b n f"] | None,
        scale: float,
        moment: Moment,
        noise: Noise,
    ) -> tuple[Float[Tensor, "b n d"], None]:
        """Draw tokens, in float32; how sure of them it is, the head cannot tell."""
        batch, count = features.shape[:2]
        rows = _Rows(noise, count)
        guided = self.denoiser if against is None else self._guided(against, scale)
        x = rows(features.new_empty(batch * count, self._values, dtype=torch.float32))
        steps = max(1, int(self.steps * self.light)) if moment.offset else self.steps
        times = self.grid(self.denoiser.path, steps)
        shaken = scaled(rows, self.temperature(moment))
        *_, last = self.sampler(guided, x, _flat(features), times, shaken)
        return last.x.unflatten(0, (batch, count)), None

    def _guided(self, against: Float[Tensor, "b n f"], scale: float) -> ClassifierFree:
        return ClassifierFree(self.denoiser, scale, _flat(against))

    @property
    def _values(self) -> int:
        values: int = self.denoiser.network.config.channels  # type: ignore[attr-defined]
        return values

    def loss(
        self, features: Float[Tensor, "b n f"], target: Float[Tensor, "b n d"], noise: Noise
    ) -> Float[Tensor, "b n"]:
        """Return the mean loss of each token over `repeats` times and noises.

        Args:
            features: what the network says of the tokens' places.
            target: the tokens that stand there.
            noise: a row an image, of times and noise.
        """
        batch, count = features.shape[:2]
        many = count * self.repeats
        level = uniform(noise, target.new_empty(batch, many)).flatten().cpu()
        return self.at(features, target, self.times(level), noise)

    def at(
        self,
        features: Float[Tensor, "b n f"],
        target: Float[Tensor, "b n d"],
        times: Float[Tensor, "m"],
        noise: Noise,
    ) -> Float[Tensor, "b n"]:
        """Return the mean loss of each token at given times.

        Args:
            features, target: as in `loss`.
            times: in (0, 1], float64 on the CPU, b * n * repeats of them: for each image its
                tokens, and all of them again, `repeats` times.
            noise: a row an image.
        """
        batch, count = target.shape[:2]
        path = self.denoiser.path
        t = path.snap(times)
        x0 = _flat(target.repeat(1, self.repeats, 1))
        eps = _Rows(noise, count * self.repeats)(x0)
        scales = path.at(t, x0)
        x = scales.alpha * x0 + scales.sigma * eps
        step = path.step(t)
        truth = Truth(x0, eps, x, scales, None if step is None else step.like(x))
        out = self.denoiser.outputs(x, t, _flat(features.repeat(1, self.repeats, 1)))
        each = self.denoiser.prediction.loss(out, truth)
        return each.view(batch, self.repeats, count).mean(1)


@dataclass(frozen=True)
class Diffusing:
    """What a recipe says of a diffusion head, whose network is part of a token network.

    Args:
        path, prediction: of its denoiser; MAR's by default.
        sampler, grid, steps, light, temperature, repeats, times: see `DiffusionHead`.

    Attributes:
        tells: how sure it is of a token, it cannot tell; so no order can look at that.
    """

    tells: ClassVar[bool] = False

    path: Annotated[Path, part("path")] = DiscreteVP(CosineBetas())
    prediction: Annotated[Prediction, part("prediction")] = LearnedRange()
    sampler: Annotated[Sampler, part("sampler")] = Ancestral()
    grid: Annotated[Grid, part("grid")] = Respaced()
    steps: Annotated[int, Field(ge=1)] = 100
    light: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Annotated[Along, part("along")] = Flat(1.0)
    repeats: Annotated[int, Field(ge=1)] = 4
    times: Annotated[Times, part("times")] = UniformTimes()

    def on(self, network: nn.Module) -> DiffusionHead:
        """Return the head of a network that holds the denoiser's network as `head`."""
        inner: Any = network.head
        denoiser = NetworkDenoiser(inner, self.path, self.prediction)
        return DiffusionHead(
            denoiser,
            self.sampler,
            self.grid,
            self.steps,
            self.light,
            self.temperature,
            self.repeats,
            self.times,
        )


def _flat(rows: Float[Tensor, "b n f"]) -> Float[Tensor, "m f"]:
    return rows.flatten(0, 1).float()


@dataclass(frozen=True)
class _Rows:
    """Noise for rows of tokens, where the noise within knows images of `count` tokens each."""

    inner: Noise
    count: int

    def __call__(self, like: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        return self.inner(like.unflatten(0, (-1, self.count))).flatten(0, 1)


__all__ = ["Diffusing", "DiffusionHead"]
