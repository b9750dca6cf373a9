"""Chains in code space: each term against its closed form, and what a chain may not depend on."""

import math
from dataclasses import replace

import pytest
import torch

from mezzotint.diffusion.conditions import (
    Cropped,
    Hole,
    LogSoftmax,
    OneHot,
    Together,
    Towards,
    Unit,
    middle,
)
from mezzotint.diffusion.critics import Through
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.langevin import (
    DGN_AM,
    Langevin,
    MeanAbs,
    Restart,
    Weights,
    magnitude,
)
from mezzotint.diffusion.paths import DiscreteVP, Linear
from mezzotint.diffusion.priors import DenoiserPrior, Once, Reconstruction
from mezzotint.errors import ConfigError, DataError, NumericError
from mezzotint.noise import SeededNoise

Y = torch.tensor([0, 1])


def flat(x, t, y):
    """A critic that does not care."""
    return (0 * x).flatten(1).sum(1)


def linear(x, t, y):
    return (x * (1 + y[:, None])).sum(1)


def toy(width: int = 5, classes: int = 3):
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(width, classes, generator=generator)
    return lambda x: x.flatten(1).tanh() @ matrix.to(x.dtype)


def test_a_plain_step_is_the_sum_of_its_terms():
    h, noise = torch.randn(2, 5), SeededNoise([4, 9])
    chain = Langevin(lambda h: 0.5 * h, linear, Weights(0.3, 2.0, 0.1))
    (link,) = chain(h, Y, 1, noise)
    drawn = SeededNoise([4, 9])(h)
    wanted = h + 0.3 * (-0.5 * h) + 2.0 * (1.0 + Y[:, None]) + 0.1 * drawn
    assert torch.allclose(link.after, wanted, atol=1e-6)
    assert torch.equal(link.codes, h)
    assert torch.equal(link.log_prob, linear(h, None, Y))
    assert torch.allclose(link.norms[0], magnitude(0.5 * h))
    assert torch.equal(link.norms[1], torch.tensor([1.0, 2.0]))


def test_unadjusted_langevin_has_the_variance_that_its_step_gives_it():
    """R is exact for N(0, 1); with step tau the chain keeps (1 + sigma^2) / (1 - a / 2)."""
    sigma, tau = 0.5, 0.4
    chain = Langevin(lambda h: h / (1 + sigma**2), flat, Weights.langevin(tau, sigma))
    h = torch.zeros(4000, 2, dtype=torch.float64)
    *_, last = chain(h, torch.zeros(4000, dtype=torch.int64), 25, SeededNoise(range(4000)))
    wanted = (1 + sigma**2) / (1 - tau / (1 + sigma**2) / 2)
    assert last.after.var().item() == pytest.approx(wanted, rel=0.06)
    assert last.after.mean().item() == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("step", [0, 3, 30])
def test_a_normalised_step_has_the_same_mean_change_in_every_chain(step):
    direction = torch.randn(3, 7, dtype=torch.float64) * torch.tensor([[1e-9], [1.0], [1e6]])
    moved = MeanAbs(first=2.0, last=0.5, over=10)(direction, step)
    assert torch.allclose(magnitude(moved), torch.tensor(2.0 - 0.15 * step).abs().double())
    assert torch.equal(MeanAbs()(torch.zeros(2, 3), 0), torch.zeros(2, 3))


def chained(seeds, **settings):
    net = toy()
    options = {"stride": MeanAbs(), "bounds": (-2.0, 2.0), "restart": Restart(3), **settings}
    chain = Langevin(lambda h: h.tanh(), Unit(net), Weights(0.1, 1.0, 0.2), **options)
    noise = SeededNoise(seeds)
    start = noise(torch.empty(len(seeds), 5, dtype=torch.float64))
    y = torch.tensor([seed % 3 for seed in seeds])
    return list(chain(start, y, 8, noise))


@pytest.mark.parametrize("settings", [{}, {"enough": math.log(0.8)}, {"balance": 0.5}], ids=str)
def test_a_chain_does_not_depend_on_its_neighbours(settings):
    many = chained([5, 6, 7, 8], **settings)
    for row, seed in enumerate([5, 6, 7, 8]):
        alone = chained([seed], **settings)
        assert torch.allclose(many[-1].after[row], alone[-1].after[0], atol=1e-10)
        assert torch.allclose(many[1].push[row], alone[1].push[0], atol=1e-12)


def test_codes_stay_within_bounds_but_for_what_is_drawn_anew():
    links = chained(range(20))
    assert all(link.after.abs().max() <= 2 for link in links if link.step not in (3, 6))
    assert links[3].after.abs().max() > 2
    low, high = -torch.ones(5), torch.linspace(0.1, 1, 5)
    bounded = chained(range(20), bounds=(low, high), restart=None)[-1].after
    assert (bounded <= high).all()
    assert (bounded >= low).all()


def test_a_restart_draws_the_weight_of_the_prior_which_then_stays():
    seen = []

    class Heard(MeanAbs):
        def __call__(self, direction, step):
            seen.append(direction.clone())
            return super().__call__(direction, step)

    chain = Langevin(lambda h: h + 1, flat, Weights(7.0), Heard(), restart=Restart(2))
    list(chain(torch.zeros(2, 3), Y, 6, SeededNoise([0, 1])))
    weights = [direction[:, 0] for direction in seen]
    assert torch.equal(weights[2], torch.tensor([7.0, 7.0]))  # step 2 ends in the restart
    assert torch.equal(weights[3], weights[4])
    assert not torch.equal(weights[4], weights[5])
    assert ((weights[3] >= 1e-6) & (weights[3] <= 1e-2)).all()
    even = Restart(2).draw(torch.zeros(3000, 1), SeededNoise(range(3000)))[1]
    assert even.mean().item() == pytest.approx(5e-3, rel=0.05)
    assert even.var().item() == pytest.approx(1e-4 / 12, rel=0.1)


def test_chains_that_have_arrived_rest_and_the_last_one_ends_the_walk():
    links = chained([0, 1, 2], enough=math.log(0.7), restart=None)
    arrived = links[-1].log_prob >= math.log(0.7)
    assert arrived.any()
    for row in arrived.nonzero()[:, 0]:
        assert torch.equal(links[-1].after[row], links[-1].codes[row])
    still = list(Langevin(None, flat, DGN_AM, MeanAbs())(torch.ones(2, 3), Y, 9, SeededNoise([])))
    assert len(still) == 1
    assert torch.equal(still[0].after, torch.ones(2, 3))


def test_a_tour_gives_the_first_condition_a_step_more():
    asked = []

    def critic(x, t, y):
        asked.append(int(y))
        return x.sum(1)

    labels = torch.tensor([[2], [0], [1]])
    list(Langevin(None, critic, DGN_AM).tour(torch.zeros(1, 2), labels, 3, SeededNoise([0])))
    assert asked == [2, 2, 2, 2, 0, 0, 0, 1, 1, 1]


def test_balance_makes_the_pull_a_share_of_the_push():
    chain = Langevin(lambda h: h + 5, linear, Weights(99.0, 2.0), balance=0.25)
    (link,) = chain(torch.zeros(2, 4), Y, 1, SeededNoise([0, 1]))
    moved = link.after - 2.0 * link.push
    assert torch.allclose(magnitude(moved), 0.25 * magnitude(2.0 * link.push))


def test_a_direction_that_is_no_number_names_its_chain():
    def broken(x, t, y):
        return x.sum(1) / torch.where(y == 1, 0.0, 1.0)

    with pytest.raises(NumericError, match="step 0: the direction of chain 1 is not finite"):
        list(Langevin(None, broken, DGN_AM)(torch.ones(2, 3), Y, 2, SeededNoise([0, 1])))


@pytest.mark.parametrize("prior_first", [True, False])
def test_prior_and_condition_share_one_pass_of_the_generator(prior_first):
    passes = []

    def generator(h):
        passes.append(h)
        return h.tanh()

    once = Once(generator)
    prior, critic = Reconstruction(once, lambda x: 2 * x), Through(once, Unit(toy()))
    links = list(
        Langevin(prior, critic, Weights(0.1))(torch.randn(2, 5), Y, 4, SeededNoise([0, 1]))
    )
    assert len(passes) == 4
    plain = Langevin(
        Reconstruction(torch.tanh, lambda x: 2 * x), Through(torch.tanh, Unit(toy())), Weights(0.1)
    )
    again = list(plain(links[0].codes, Y, 4, SeededNoise([0, 1])))
    assert torch.equal(again[-1].after, links[-1].after)
    leaf = torch.randn(2, 5, requires_grad=True)
    with torch.no_grad():
        first = once(leaf)
    assert once(leaf).requires_grad, "what was made without a graph is no use for a gradient"
    assert not first.requires_grad


class Gaussian(Denoiser):
    """The exact denoiser of N(0, 1) data."""

    path = Linear()

    def __call__(self, x, t, y):
        self.asked = y
        at = self.path.at(t, x)
        x0 = at.alpha / (at.alpha**2 + at.sigma**2) * x
        return Estimate(x0, (x - at.alpha * x0) / at.sigma)


def test_a_denoiser_is_the_prior_of_codes_with_its_noise():
    made = Gaussian()
    prior = DenoiserPrior(made, t=0.2, y=7)
    assert prior.sigma == pytest.approx(0.25)
    h = torch.randn(3, 4, 2, 2)
    assert torch.allclose(prior(h), h / (1 + 0.25**2), atol=1e-6)
    assert made.asked.tolist() == [7, 7, 7]
    with pytest.raises(ConfigError, match="t is 1, expected 0 < t < 1"):
        replace(prior, t=1.0)


def test_a_denoiser_on_a_chain_is_asked_at_a_time_that_it_knows():
    class Chain(Gaussian):
        path = DiscreteVP(steps=100)

    prior = DenoiserPrior(Chain(), t=0.193, y=0)
    assert prior.sigma == DenoiserPrior(Chain(), t=0.2, y=0).sigma


def grad(critic, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(critic(x, torch.zeros(len(x)), y).sum(), x)[0]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_released_gradient_is_that_of_one_logit(temperature):
    x = torch.randn(2, 5, dtype=torch.float64)
    both = [Unit(lambda x: x @ W, reading(temperature)) for reading in (LogSoftmax, OneHot)]
    p = torch.softmax((x @ W) / temperature, 1)
    for row, unit in enumerate(Y.tolist()):
        logit = W[:, unit] / temperature
        assert torch.allclose(grad(both[1], x, Y)[row], (1 - p[row, unit]) * logit, atol=1e-9)
        true = logit - (p[row] * W / temperature).sum(1)
        assert torch.allclose(grad(both[0], x, Y)[row], true, atol=1e-9)
    values = [each(x, torch.zeros(2), Y) for each in both]
    assert torch.allclose(values[0], values[1], atol=2e-10)
    assert torch.allclose(values[0].exp(), p[[0, 1], Y])


W = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_guard_of_the_released_softmax_is_an_option():
    x = torch.zeros(1, 2, dtype=torch.float64)
    y = torch.tensor([0])
    assert OneHot(guard=0.0)(x, y).exp().item() == 0.5
    assert OneHot()(x, y).exp().item() == pytest.approx(1 / (2 + 1e-10), abs=1e-15)
    assert OneHot()(x, y).exp().item() != 0.5


def test_a_unit_of_a_map_is_read_at_its_place_the_middle_by_default():
    maps = torch.randn(2, 3, 13, 13)
    for place, at in ((None, (6, 6)), ((0, 12), (0, 12))):
        unit = Unit(lambda _: maps, place=place)
        wanted = torch.log_softmax(maps[:, :, at[0], at[1]], 1)[[0, 1], Y]
        assert torch.allclose(unit(maps, torch.zeros(2), Y), wanted)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        (Unit(lambda _: torch.zeros(2, 1)), "unit 1 is out of range: this layer has 1 units"),
        (Unit(lambda _: torch.zeros(2, 3, 4)), r"shape \(2, 3, 4\) has no units to choose from"),
        (Unit(lambda _: torch.zeros(2, 3, 4, 4), place=(4, 0)), "place 4,0: this layer's map is 4"),
    ],
)
def test_a_unit_that_is_not_there(unit, said):
    with pytest.raises(DataError, match=said):
        unit(torch.zeros(2, 3), torch.zeros(2), Y)


def test_several_conditions_add_up_and_may_keep_their_own_label():
    net, x = toy(), torch.randn(2, 5)
    one = Unit(net)
    both = Together([one, Towards(one, 2)], [1.0, 0.5])
    wanted = torch.log_softmax(net(x), 1)
    found = both(x, torch.zeros(2), Y)
    assert torch.allclose(found, wanted[[0, 1], Y] + 0.5 * wanted[:, 2])
    with pytest.raises(DataError, match="1 conditions with 2 weights"):
        Together([one], [1.0, 2.0])


def test_a_hole_is_filled_and_its_surroundings_pull():
    image, mask = torch.rand(3, 4, 4), torch.zeros(1, 4, 4)
    mask[:, 1:3, 1:3] = 1
    hole, x = Hole(image, mask), torch.randn(2, 3, 4, 4)
    filled = hole.filled(x)
    assert torch.equal(filled[:, :, 1:3, 1:3], x[:, :, 1:3, 1:3])
    assert torch.allclose(filled[:, :, 0], image[:, 0].expand(2, -1, -1))
    pull = grad(hole.around, x, Y)
    assert torch.allclose(pull, (1 - mask) * (image - x), atol=1e-6)
    with pytest.raises(DataError, match="the mask is 3 x 4 px and the image 4 x 4 px"):
        Hole(image, torch.zeros(1, 4, 3))


def test_the_middle_is_cut_with_its_offset_rounded_down():
    x = torch.arange(256.0).expand(1, 1, 256, 256)
    cut = Cropped(torch.nn.Identity(), 227)(x)
    assert cut.shape == (1, 1, 227, 227)
    assert cut[0, 0, 0, 0] == 14
    assert middle(x, 256) is not None
