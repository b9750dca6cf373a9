"""SiT's release (willisma/SiT, arXiv 2401.08740): DiT's network on continuous time.

Its clock runs from noise at 0 to data at 1, the reverse of ours; its network reads that clock
unscaled, and its velocity points towards data.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import ContinuousVP, Cosine, Linear, Path, Scaled, Scales
from mezzotint.diffusion.predictions import Eps, Leading, Prediction, Score, Velocity
from mezzotint.diffusion.samplers import Point, points
from mezzotint.diffusion.sde import HeunStep, Reverse
from mezzotint.errors import ConfigError
from mezzotint.noise import Noise

PATHS: Final[dict[str, Path]] = {
    "Linear": Linear(clock=1.0, reverse_clock=True),
    "GVP": Cosine(clock=1.0, reverse_clock=True),
    "VP": ContinuousVP(clock=1.0, reverse_clock=True),
}
PREDICTIONS: Final[dict[str, Prediction]] = {
    "velocity": Velocity(towards_data=True),
    "noise": Eps(),
    "score": Score(),
}


@dataclass(frozen=True)
class Single(Scaled):
    """A path in the release's own arithmetic: float32, from a clock that is float32 too.

    Near its ends that changes noise and score models by 1e-4 of their largest value; `PATHS` are
    the exact ones.

    Args:
        curve: alpha, sigma and their rates in SiT's clock.
        turned: the time is kept in our clock and turned round at each evaluation, as the release
            does for the likelihood.
    """

    curve: Callable[[Float[Tensor, "b"]], tuple[Tensor, Tensor, Tensor, Tensor]]
    turned: bool = False

    def scales(self, t: Float[Tensor, "b"]) -> Scales:
        """Return alpha, sigma and their rates at `t`."""
        alpha, sigma, d_alpha, d_sigma = self.curve(self.network_time(t))
        return Scales(alpha.double(), sigma.double(), -d_alpha.double(), -d_sigma.double())

    def network_time(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return 1 - t in float32."""
        return 1 - t.float() if self.turned else (1 - t.double()).float()

    def time_of(self, log_snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Refuse: SiT's samplers never ask."""
        raise NotImplementedError(f"{log_snr}: no inverse in the release's arithmetic")


def _linear(t: Float[Tensor, "b"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return t, 1 - t, torch.ones_like(t), -torch.ones_like(t)


def _cosine(t: Float[Tensor, "b"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    alpha, sigma = torch.sin(t * math.pi / 2), torch.cos(t * math.pi / 2)
    return alpha, sigma, math.pi / 2 * sigma, -math.pi / 2 * alpha


def _preserving(t: Float[Tensor, "b"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    log_alpha = -0.25 * (1 - t) ** 2 * 19.9 - 0.5 * (1 - t) * 0.1
    rate = 0.5 * (1 - t) * 19.9 + 0.05
    alpha = log_alpha.exp()
    # At t = 1 sigma is 0 and its rate infinite, but their product is needed, and finite.
    sigma = torch.sqrt(1 - torch.exp(2 * log_alpha)).clamp(min=1e-9)
    return alpha, sigma, alpha * rate, -(alpha**2) * rate / sigma


SINGLE_PATHS: Final[dict[str, Path]] = {
    "Linear": Single(_linear),
    "GVP": Single(_cosine),
    "VP": Single(_preserving),
}


def parts(*, learn_sigma: bool = True) -> tuple[Path, Prediction]:
    """Return the path and the prediction of the published models.

    Args:
        learn_sigma: whether the network has a second half of channels, trained by nothing.
    """
    velocity = PREDICTIONS["velocity"]
    return PATHS["Linear"], Leading(velocity) if learn_sigma else velocity


@dataclass(frozen=True)
class Transport:
    """How near its ends SiT's release trains and samples, in its own clock.

    Args:
        path, prediction: keys of `PATHS` and `PREDICTIONS`.
        train_eps, sample_eps: distances from the ends, or None for the defaults.
        tests_train_eps: the release's slip: the default of `sample_eps` is taken when `train_eps`
            is None, whatever `sample_eps` is.
    """

    path: str = "Linear"
    prediction: str = "velocity"
    train_eps: float | None = None
    sample_eps: float | None = None
    tests_train_eps: bool = True

    @property
    def preserving(self) -> bool:
        """Whether the path preserves variance by the stochastic equation."""
        return isinstance(PATHS[self.path], ContinuousVP)

    @property
    def velocity(self) -> bool:
        """Whether the network predicts velocity."""
        return isinstance(PREDICTIONS[self.prediction], Velocity)

    def eps(self, *, sampling: bool) -> float:
        """Return the distance in force.

        Raises:
            ConfigError: the release has none: `train_eps` was given alone, and it tests that.
        """
        if self.velocity and not self.preserving:
            return 0.0
        if not sampling:
            default = 1e-5 if self.preserving else 1e-3
            return default if self.train_eps is None else self.train_eps
        tested = self.train_eps if self.tests_train_eps else self.sample_eps
        found = 1e-3 if tested is None else self.sample_eps
        if found is None:
            raise ConfigError("sample_eps: give it too when train_eps is given, as SiT needs both")
        return found

    def interval(
        self,
        *,
        sampling: bool,
        sde: bool = False,
        sbdm: bool = False,
        last_step_size: float = 0.0,
        reverse: bool = False,
    ) -> tuple[float, float]:
        """Return (t0, t1) in SiT's clock (its `check_interval`).

        Args:
            sampling: for sampling, not for training.
            sde: for the stochastic samplers.
            sbdm: their diffusion is SBDM's, infinite at the noisy end.
            last_step_size: of the stochastic samplers.
            reverse: from data to noise.
        """
        shortened = sde and last_step_size > 0
        late = 1 - last_step_size if shortened else 1 - self.eps(sampling=sampling)
        if self.preserving:
            start, end = 0.0, late
        elif sde:
            near = sbdm or not self.velocity
            start, end = self.eps(sampling=sampling) if near else 0.0, late
        elif self.velocity:
            start, end = 0.0, 1.0
        else:
            start, end = self.eps(sampling=sampling), late
        return (1 - start, 1 - end) if reverse else (start, end)


def grid(t0: float, t1: float, points: int, *, last_step_size: float = 0.0) -> Float[Tensor, "n"]:
    """Return our times for SiT's `num_steps` points from t0 to t1, and 0 after a last step.

    Args:
        t0, t1: in SiT's clock; a reversed interval gives ascending times, for encoding.
        points: its `num_steps`: number of points, not of steps.
        last_step_size: whether a step to the clean end follows.
    """
    # The release's points are float32, and near an end that is felt.
    body = 1 - torch.linspace(t0, t1, points, dtype=torch.float32).double()
    return torch.cat([body, body.new_zeros(1)]) if last_step_size > 0 else body


@dataclass(frozen=True)
class StridedHeun:
    """Stochastic Heun whose second evaluation stands at t + dt in the release's float32 clock.

    That misses the next point by a rounding, which a noise or score model is divided by next to
    data: up to 1e-4 of the largest value.

    Args:
        stride: dt, the distance of the first two points.
    """

    stride: float

    @classmethod
    def along(cls, times: Float[Tensor, "n"]) -> Self:
        """Take the stride of what `grid` returns."""
        first, second = (1 - times[:2]).float()
        return cls(float(second - first))

    def __call__(
        self,
        sde: Reverse,
        x: Float[Tensor, "b ..."],
        here: Point,
        there: Point,  # noqa: ARG002, the stride says where
        noise: Noise,
    ) -> tuple[Float[Tensor, "b ..."], Estimate]:
        """Return the state a stride after `here`, and the estimate made there."""
        late = torch.tensor(1 - here.t, dtype=torch.float32) + self.stride
        (ahead,) = points(sde.denoiser.path, 1 - late.double()[None])
        return HeunStep()(sde, x, here, ahead, noise)
