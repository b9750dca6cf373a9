"""The diffusion head: seeds, guidance, temperature, cheap stages, and the loss."""

from dataclasses import replace

import pytest
import torch

from mezzotint.diffusion.betas import CosineBetas
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.grids import Even
from mezzotint.diffusion.paths import DiscreteVP, Linear
from mezzotint.diffusion.predictions import Eps, LearnedRange, Velocity
from mezzotint.diffusion.samplers import DDIM
from mezzotint.masked.curves import Flat
from mezzotint.masked.diffusion_head import DiffusionHead
from mezzotint.masked.plan import Plan
from mezzotint.networks.token_mlp import TokenMLPConfig
from mezzotint.noise import SeededNoise, TapeNoise

(FIRST, LATER), (LAST,) = Plan(((2, 1), (3,))).moments()


def head(**changes) -> DiffusionHead:
    torch.manual_seed(0)
    outputs = changes.pop("outputs", 2)
    network = TokenMLPConfig(channels=2, condition=4, width=8, depth=1, outputs=outputs).build()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network.requires_grad_(requires_grad=False)
    denoiser = NetworkDenoiser(network, DiscreteVP(CosineBetas()), LearnedRange())
    return replace(DiffusionHead(denoiser, steps=6), **changes)


def features(batch: int = 3, count: int = 2) -> torch.Tensor:
    return torch.randn(batch, count, 4, generator=torch.Generator().manual_seed(1))


def test_tokens_depend_on_their_seed_and_features_alone():
    z, made = features(), head()
    together, sure = made.draw(z, None, 1.0, FIRST, SeededNoise([5, 6, 7]))
    assert sure is None
    assert together.shape == (3, 2, 2)
    for row, seed in enumerate([5, 6, 7]):
        alone, _ = made.draw(z[row : row + 1], None, 1.0, FIRST, SeededNoise([seed]))
        torch.testing.assert_close(alone[0], together[row])


def test_guidance_at_1_is_the_condition_and_at_0_the_other():
    z, other, made = features(), features().flip(2), head(sampler=DDIM())
    plain, _ = made.draw(z, None, 1.0, FIRST, SeededNoise([1, 2, 3]))
    against, _ = made.draw(other, None, 1.0, FIRST, SeededNoise([1, 2, 3]))
    at_one, _ = made.draw(z, other, 1.0, FIRST, SeededNoise([1, 2, 3]))
    at_zero, _ = made.draw(z, other, 0.0, FIRST, SeededNoise([1, 2, 3]))
    assert torch.equal(at_one, plain)
    torch.testing.assert_close(at_zero, against, rtol=1e-4, atol=1e-4)
    at_three, _ = made.draw(z, other, 3.0, FIRST, SeededNoise([1, 2, 3]))
    assert not torch.allclose(at_three, plain, atol=1e-2)


def test_temperature_scales_the_later_noise_and_not_the_start():
    z, made = features(), head(temperature=Flat(0.0))
    first, _ = made.draw(z, None, 1.0, FIRST, SeededNoise([1, 2, 3]))
    draws = [SeededNoise([1, 2, 3])(torch.empty(3, 2, 2))]
    zeros = [torch.zeros(3, 2, 2)] * 5
    again, _ = made.draw(z, None, 1.0, FIRST, TapeNoise(draws + zeros))
    assert torch.equal(first, again)
    warm, _ = head().draw(z, None, 1.0, FIRST, SeededNoise([1, 2, 3]))
    assert not torch.allclose(first, warm, atol=1e-2)


@pytest.mark.parametrize(
    ("moment", "light", "wanted"),
    [(FIRST, 0.5, 6), (LATER, 0.5, 3), (LATER, 0.4, 2), (LAST, 0.5, 6)],
)
def test_a_stage_after_a_cheap_pass_takes_a_share_of_the_steps(moment, light, wanted):
    asked = []
    made = head(light=light)
    made.denoiser.network.register_forward_hook(lambda *_: asked.append(1))
    made.draw(features(), None, 1.0, moment, SeededNoise([1, 2, 3]))
    assert len(asked) == wanted


def test_any_path_prediction_and_sampler_will_do():
    made = head(outputs=1, sampler=DDIM(), grid=Even())
    denoiser = NetworkDenoiser(made.denoiser.network, Linear(), Velocity())
    made = replace(made, denoiser=denoiser)
    tokens, _ = made.draw(features(), None, 1.0, FIRST, SeededNoise([1, 2, 3]))
    assert tokens.isfinite().all()
    target = torch.randn(3, 2, 2)
    assert made.loss(features(), target, SeededNoise([1, 2, 3])).shape == (3, 2)


def test_the_loss_is_that_of_the_denoiser_at_each_time_averaged_over_the_repeats():
    made = head(repeats=3, outputs=1)
    path = made.denoiser.path
    denoiser = NetworkDenoiser(made.denoiser.network, path, Eps())
    made = replace(made, denoiser=denoiser)
    z, target = features(2, 2), torch.randn(2, 2, 2)
    times = (torch.randperm(12) * 70 + 1).double() / 1000
    eps = torch.randn(2, 6, 2)
    found = made.at(z, target, times, TapeNoise([eps]))
    wanted = torch.zeros(2, 2)
    for image in range(2):
        for repeat in range(3):
            for token in range(2):
                row = repeat * 2 + token
                t = times[image * 6 + row].view(1)
                scales = path.at(t, target[image, token : token + 1])
                x = scales.alpha * target[image, token] + scales.sigma * eps[image, row]
                time = path.network_time(t).float()
                out = denoiser.network(x, time, z[image, token].view(1, -1))
                wanted[image, token] += ((eps[image, row] - out) ** 2).mean() / 3
    torch.testing.assert_close(found, wanted)


def test_a_tokens_loss_depends_on_its_images_seed_alone():
    made, z, target = head(repeats=2), features(), torch.randn(3, 2, 2)
    together = made.loss(z, target, SeededNoise([5, 6, 7]))
    alone = made.loss(z[1:2], target[1:2], SeededNoise([6]))
    torch.testing.assert_close(alone[0], together[1])
