"""DESIGN 4.7, laws 2, 4 and 5, and what guidance must be on Gaussians, for every form of it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.diffusion.critics import ClassifierCritic, Experts, NoisyCritic, Renamed, Through
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.directions import (
    Damped,
    Plain,
    Projected,
    Rescaled,
    Tangential,
    ZeroStar,
)
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.grids import Even
from mezzotint.diffusion.guidance import (
    Added,
    Autoguided,
    ClassifierFree,
    Constant,
    CosineRise,
    Interval,
    LinearRise,
    PowerCosine,
    Resting,
    Unconditional,
    Weighted,
)
from mezzotint.diffusion.paths import ContinuousVP, Linear
from mezzotint.diffusion.routing import Partition
from mezzotint.diffusion.samplers import DDIM, Ancestral, Heun, pushed
from mezzotint.diffusion.scales import SCALE, WEIGHT, convention
from mezzotint.diffusion.spaces import ImageSpace, NoiseSpace, VelocitySpace
from mezzotint.diffusion.steering import AtEstimate, AtNoisy, Steered
from mezzotint.diffusion.training_free import TrainingFree
from mezzotint.diffusion.training_free_methods import DPS, LGD, MPGD, TFG, UGD, FreeDoM
from mezzotint.errors import ConfigError, NumericError
from mezzotint.noise import SeededNoise
from tests.laws.models import CLASSES, PATHS, PREDICTIONS, denoiser, grid_for, last, start

T = torch.tensor([0.31, 0.62], dtype=torch.float64)
Y = torch.tensor([0, 2])
DIRECTIONS: dict[str, Any] = {
    "plain": Plain(),
    "rescaled": Rescaled(),
    "projected": Projected(),
    "from the condition": Projected(from_condition=True),
    "zero-star": ZeroStar(),
    "tangential": Tangential(),
    "damped": Damped(),
}


def judge(x: Tensor) -> Tensor:
    """Logits of CLASSES classes, each row by itself."""
    weight = torch.linspace(-1, 1, CLASSES * x[0].numel(), dtype=x.dtype).view(CLASSES, -1)
    return torch.tanh(x.flatten(1)) @ weight.T


CRITIC = ClassifierCritic(judge)


def same(a: Estimate, b: Estimate) -> bool:
    return torch.equal(a.x0, b.x0) and torch.equal(a.eps, b.eps)


# laws 2 and 5 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_law_2_scale_1_is_the_inner_denoiser_bit_for_bit(direction):
    inner = denoiser("linear", "velocity")
    x, _ = start([1, 2])
    plain, how = inner(x, T, Y), DIRECTIONS[direction]
    assert same(ClassifierFree(inner, 1.0, null=CLASSES, direction=how)(x, T, Y), plain)
    weak = denoiser("linear", "x0")
    assert same(Autoguided(inner, weak, 1.0, direction=how)(x, T, Y), plain)
    assert same(Added(inner, [(weak, 1.0)])(x, T, Y), plain)


@pytest.mark.parametrize("prediction", ["eps", "x0", "velocity", "score"])
@pytest.mark.parametrize("path", PATHS)
def test_plain_guidance_is_the_same_in_every_space(path, prediction):
    inner = denoiser(path, prediction)
    x, _ = start([1, 2])
    t = PATHS[path].snap(T)
    wanted = ClassifierFree(inner, 2.5, null=CLASSES)(x, t, Y)
    for space in (NoiseSpace(), ImageSpace(), VelocitySpace()):
        # Nothing is cut off and both parts are kept, so this is plain guidance in a space.
        direction = Projected(eta=1.0, threshold=0.0, space=space)
        found = ClassifierFree(inner, 2.5, null=CLASSES, direction=direction)(x, t, Y)
        size = float(wanted.x0.abs().max()) + 1
        assert torch.allclose(found.x0, wanted.x0, atol=1e-9 * size)
        assert torch.allclose(found.eps, wanted.eps, atol=1e-9 * size)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_law_1_every_direction_mixes_back_to_x(direction):
    inner, path = denoiser("cosine", "velocity"), PATHS["cosine"]
    x, _ = start([1, 2])
    found = ClassifierFree(inner, 3.0, null=CLASSES, direction=DIRECTIONS[direction])(x, T, Y)
    scales = path.at(T, x)
    assert torch.allclose(scales.alpha * found.x0 + scales.sigma * found.eps, x, atol=1e-9)


@pytest.mark.parametrize("scale", [-1.0, 0.5, 2.0])
def test_a_weaker_model_that_is_the_same_changes_nothing(scale):
    inner = denoiser("linear", "velocity")
    x, _ = start([1, 2])
    found, plain = Autoguided(inner, inner, scale)(x, T, Y), inner(x, T, Y)
    assert torch.allclose(found.x0, plain.x0, atol=1e-12)


def test_three_networks_add_their_differences():
    inner, weak = denoiser("linear", "velocity"), denoiser("linear", "x0")
    x, _ = start([1, 2])
    free = Unconditional(inner, CLASSES)
    own, null, other = inner(x, T, Y), free(x, T, Y), weak(x, T, Y)
    found = Added(inner, [(free, 3.0), (weak, 1.5)])(x, T, Y)
    assert torch.allclose(
        found.eps, own.eps + 2 * (own.eps - null.eps) + 0.5 * (own.eps - other.eps)
    )
    alone = Added(inner, [(free, 3.0)])(x, T, Y)
    assert torch.allclose(alone.x0, ClassifierFree(inner, 3.0, null=CLASSES)(x, T, Y).x0)
    with pytest.raises(ConfigError, match="one noise schedule"):
        Autoguided(inner, denoiser("cosine", "x0"), 2.0)


@pytest.mark.parametrize("look", [AtNoisy(), AtEstimate()])
def test_law_5_scale_0_is_the_inner_denoiser_and_asks_no_critic(look):
    inner = denoiser("linear", "velocity")
    x, _ = start([1, 2])

    def never(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("asked")

    found = Steered(inner, never, 0.0, look)(x, T, Y)
    assert same(found, inner(x, T, Y))
    assert found.push is None


# costs -------------------------------------------------------------------------------------------


def test_outside_an_interval_it_costs_what_unguided_does_and_is_the_same():
    rows: list[int] = []

    def counted(x: Tensor, time: Tensor, y: Tensor) -> Tensor:
        rows.append(len(x))
        return 0.1 * x

    asked: list[int] = []

    def critic(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        asked.append(len(x))
        return CRITIC(x, t, y)

    inner = NetworkDenoiser(counted, Linear(), PREDICTIONS["x0"])
    x, _ = start([1, 2, 3])
    t = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    y = torch.tensor([0, 1, 2])
    weak = NetworkDenoiser(counted, Linear(), PREDICTIONS["x0"])
    gate = Interval(2.0, 0.3, 0.6)
    Autoguided(inner, weak, gate)(x, t, y)
    assert rows == [3, 1]
    rows.clear()
    out = torch.tensor([0.9, 0.8, 0.1], dtype=torch.float64)
    plain = inner(x, out, y)
    rows.clear()
    found = [Autoguided(inner, weak, gate)(x, out, y), ClassifierFree(inner, gate, 4)(x, out, y)]
    assert rows == [3, 3]
    assert all(same(each, plain) for each in found)
    pull = Interval(2.0, 0.3, 0.6, outside=0.0)
    push = Steered(inner, critic, pull)(x, t, y).push
    assert asked == [1]
    assert push is not None
    assert not push[[0, 2]].any()
    assert push[1].any()


# law 4 -------------------------------------------------------------------------------------------


def test_law_4_equal_experts_are_one_and_each_row_has_its_own():
    x, _ = start([1, 2])
    experts = Experts([CRITIC] * 3, Partition((0.4, 0.8)))
    assert torch.allclose(experts(x, T, Y), CRITIC(x, T, Y), rtol=1e-12)
    told = [lambda x, t, y, k=k: x.new_full((len(x),), k) + 0 * x.sum() for k in range(3)]
    mixed = torch.tensor([0.9, 0.4, 0.5, 0.05], dtype=torch.float64)
    found = Experts(told, Partition((0.4, 0.8)))(torch.zeros(4, 1), mixed, torch.zeros(4))
    assert found.tolist() == [2, 0, 1, 0]
    with pytest.raises(ConfigError, match="2 experts for 3 ranges"):
        Experts([CRITIC] * 2, Partition((0.4, 0.8)))


# steering ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["eps", "x0", "velocity"])
@pytest.mark.parametrize("path", ["continuous-vp", "linear", "cosine"])
def test_the_score_moves_by_the_gradient(path, prediction):
    """score' = score + s grad, whatever the network predicts: guidance.md 2.1."""
    inner = denoiser(path, prediction)
    x, _ = start([1, 2])
    free = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(CRITIC(free, T, Y).sum(), free)
    steered = Steered(inner, CRITIC, 1.5)(x, T, Y)
    scales = PATHS[path].at(T, x)
    found, plain = pushed(steered, scales), inner(x, T, Y)
    assert torch.allclose(-found.eps / scales.sigma, -plain.eps / scales.sigma + 1.5 * slope)
    assert torch.allclose(scales.alpha * found.x0 + scales.sigma * found.eps, x)


def test_the_gradient_at_the_estimate_passes_through_the_denoiser():
    inner = denoiser("linear", "velocity")
    x, _ = start([1, 2])
    free = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(CRITIC(inner(free, T, Y).x0, T, Y).sum(), free)
    found = Steered(inner, CRITIC, 2.0, AtEstimate())(x, T, Y)
    assert torch.allclose(found.push, 2 * wanted)
    assert not found.x0.requires_grad


def test_rows_know_nothing_of_each_other():
    inner = denoiser("linear", "velocity")
    x, _ = start([1, 2])
    whole = Steered(inner, CRITIC, 2.0)(x, T, Y).push
    alone = Steered(inner, CRITIC, 2.0)(x[1:], T[1:], Y[1:]).push
    assert torch.allclose(whole[1:], alone, rtol=1e-12)


def test_a_critic_sees_through_a_decoder_and_by_other_numbers():
    x, _ = start([1, 2])
    through = Through(lambda z: 2 * z, CRITIC)
    assert torch.equal(through(x, T, Y), CRITIC(2 * x, T, Y))
    renamed = Renamed(CRITIC, (3, 2, 1, 0))
    assert torch.equal(renamed(x, T, Y), CRITIC(x, T, 3 - Y))


def test_a_critic_that_cannot_is_told_in_one_line():
    x, _ = start([1, 2], torch.float32)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)).double()
    with pytest.raises(ConfigError, match=r"critic is float64 on cpu .* move it there"):
        ClassifierCritic(module)(x, T, Y)
    with pytest.raises(ConfigError, match="knows 2 classes, but class 2"):
        ClassifierCritic(lambda x: judge(x)[:, :2])(x, T, Y)
    with pytest.raises(ConfigError, match=r"shape \(2,\) for 2 images"):
        ClassifierCritic(lambda x: x.flatten(1).sum(1))(x, T, Y)
    broken = ClassifierCritic(lambda x: judge(x) / (x.flatten(1)[:, :1] * 0))
    with pytest.raises(NumericError, match=r"gradient is not finite at t = 0.310 \(image 0 of 2\)"):
        Steered(denoiser("linear", "velocity"), broken, 1.0)(x, T, Y)


# Gaussians ---------------------------------------------------------------------------------------


class TwoGaussians:
    """The best denoiser and the exact noisy posterior of two classes N(+-m, s^2), alike often."""

    def __init__(self, path: Any, mean: float = 1.0, deviation: float = 0.4) -> None:
        self.path, self.mean, self.deviation = path, mean, deviation

    def centre(self, y: Tensor, x: Tensor) -> Tensor:
        return (self.mean * (1 - 2.0 * (y % 2))).view(-1, *(1,) * (x.dim() - 1)).to(x)

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """Classes 0 and 1; class 2 is null, the mixture."""
        ones = [self.of(x, t, torch.full_like(y, k)) for k in (0, 1)]
        share = self.logits(x, t).softmax(1)
        null = (y == 2).view(-1, *(1,) * (x.dim() - 1))
        weights = [share[:, k].view(null.shape) for k in (0, 1)]
        mixed = weights[0] * ones[0] + weights[1] * ones[1]
        own = torch.where((y == 1).view(null.shape), ones[1], ones[0])
        x0 = torch.where(null, mixed, own)
        alpha, sigma, _, _ = self.path.at(t, x)
        return Estimate(x0, (x - alpha * x0) / sigma)

    def of(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        alpha, sigma, _, _ = self.path.at(t, x)
        variance = alpha**2 * self.deviation**2 + sigma**2
        mean = self.centre(y, x)
        return mean + alpha * self.deviation**2 * (x - alpha * mean) / variance

    def logits(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma, _, _ = self.path.at(t, x)
        variance = alpha**2 * self.deviation**2 + sigma**2
        each = [
            -((x - alpha * sign * self.mean) ** 2 / variance / 2).flatten(1).sum(1)
            for sign in (1, -1)
        ]
        return torch.stack(each, dim=1)


def test_the_exact_posterior_at_scale_1_is_the_conditional_model():
    """Trajectory by trajectory for ODE solvers; guidance.md section 9."""
    model = TwoGaussians(ContinuousVP())

    def critic(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return model.logits(x, t).log_softmax(1)[torch.arange(len(y)), y]

    steered: Any = Steered(Unconditional(model, 2), critic, 1.0)
    grid = Even(start=0.999, end=0.001)(model.path, 20)
    y = torch.tensor([0, 1])
    for walk in (DDIM(), Heun()):
        (x, noise), (again, same_noise) = start([3, 4]), start([3, 4])
        one = last(walk(model, x, y, grid, noise))
        other = last(walk(steered, again, y, grid, same_noise))
        assert torch.allclose(one, other, atol=1e-9)


def test_the_ancestral_chain_reaches_the_class_too():
    model = TwoGaussians(ContinuousVP())

    def critic(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return model.logits(x, t).log_softmax(1)[torch.arange(len(y)), y]

    steered: Any = Steered(Unconditional(model, 2), critic, 1.0)
    noise = SeededNoise(range(400))
    x = noise(torch.zeros(400, 1, 1, 1, dtype=torch.float64))
    y = torch.arange(400) % 2
    grid = Even(start=0.999, end=0.0)(model.path, 60)
    with torch.no_grad():
        found = last(Ancestral()(steered, x, y, grid, noise))
    for label, mean in ((0, 1.0), (1, -1.0)):
        part = found[y == label]
        assert abs(float(part.mean()) - mean) < 0.15
        assert abs(float(part.std()) - 0.4) < 0.1


# schedules and conventions -----------------------------------------------------------------------


def test_scales_have_their_ends():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for scale in (LinearRise(4.0), CosineRise(4.0), PowerCosine(4.0, 3.0)):
        assert scale(ends).tolist() == pytest.approx([4.0, 1.0])
    half = torch.tensor([0.5], dtype=torch.float64)
    assert CosineRise(3.0)(half).tolist() == pytest.approx([2.0])
    assert Weighted(Constant(0.4))(half).tolist() == pytest.approx([1.4])


def test_an_interval_is_found_in_noise_and_in_steps():
    found = Interval.of_noise(2.0, 0.25, 4.0, Linear())
    assert (found.low, found.high) == pytest.approx((0.2, 0.8))
    steps = 1 - torch.arange(10, dtype=torch.float64) / 10
    gate = Interval.of_steps(2.0, 0.2, 0.7, 10)(steps)
    assert (gate != 1).nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]


def test_conventions_are_converted():
    assert convention("uvit").to(convention("dit"), 0.4) == pytest.approx(1.4)
    assert SCALE.to(WEIGHT, 1.5) == pytest.approx(0.5)
    assert WEIGHT.to(WEIGHT, 0.7) == pytest.approx(0.7)
    with pytest.raises(ConfigError, match="no convention of 'dall-e'"):
        convention("dall-e")


def test_momentum_is_of_one_walk():
    inner = denoiser("linear", "velocity")
    direction = Projected(momentum=-0.5)
    guided = ClassifierFree(inner, 3.0, null=CLASSES, direction=direction)
    x, _ = start([1, 2])
    late, early = torch.full((2,), 0.4).double(), torch.full((2,), 0.8).double()
    alone = guided(x, late, Y)
    after = guided(x, late, Y)  # the second evaluation of a step at one time remembers the first
    assert not torch.equal(alone.x0, after.x0)
    again = guided(x, early, Y)  # time went back: a new walk
    fresh = ClassifierFree(inner, 3.0, null=CLASSES, direction=direction)(x, early, Y)
    assert torch.equal(again.x0, fresh.x0)


def test_a_resting_denoiser_stands_still():
    inner = denoiser("linear", "velocity")
    resting = Resting(inner, above=0.9)
    grid = torch.tensor([0.98, 0.85], dtype=torch.float64)
    x, noise = start([1, 2])
    assert torch.allclose(last(DDIM()(resting, x, Y, grid, noise)), x, atol=1e-12)
    assert same(resting(x, T, Y), inner(x, T, Y))


# training-free -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [DPS(0.0), LGD(0.0), FreeDoM(0.0), UGD(0.0, bound=None)])
def test_a_method_of_strength_0_is_ddim(method):
    inner, grid = denoiser("continuous-vp", "x0"), grid_for("continuous-vp", 4)
    (x, noise), (again, same_noise) = start([3, 4]), start([3, 4])
    wanted = last(DDIM()(inner, x, Y, grid, noise))
    walk = TrainingFree(CRITIC, method, eta=0.0)
    assert torch.allclose(last(walk(inner, again, Y, grid, same_noise)), wanted, atol=1e-12)


@pytest.mark.parametrize("method", [DPS(), LGD(), FreeDoM(), UGD(0.3), MPGD(), TFG()])
def test_an_image_depends_on_its_seed_only_and_is_steered(method):
    inner, grid = denoiser("linear", "x0"), grid_for("linear", 4)
    walk = TrainingFree(CRITIC, method, repeats=2)
    x, noise = start([3, 4])
    whole = last(walk(inner, x, Y, grid, noise))
    again, own = start([4])
    alone = last(walk(inner, again, Y[1:], grid, own))
    assert torch.allclose(whole[1:], alone, atol=1e-9)
    other = last(walk(inner, *(start([4])[0], Y[:1], grid, start([4])[1])))
    assert not torch.allclose(alone, other, atol=1e-3)


def test_a_noisy_critic_reads_the_whole_chain_s_clock():
    heard: list[float] = []

    def network(x: Tensor, time: Tensor) -> Tensor:
        heard.extend(time.tolist())
        return judge(x)

    x, _ = start([1, 2])
    NoisyCritic(network, PATHS["discrete-vp"])(x, torch.tensor([0.2, 1.0], dtype=torch.float64), Y)
    assert heard == [199.0, 999.0]
