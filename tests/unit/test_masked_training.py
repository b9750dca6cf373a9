"""What a masked batch costs: which tokens count, whose seeds decide, and what is held out."""

from dataclasses import replace

import pytest
import torch

from mezzotint.data.loader import Batch
from mezzotint.masked.masking import Ratio, TruncatedNormal
from mezzotint.noise import SeededNoise
from mezzotint.training.masked import MaskedTokens, held_out
from tests.tiny import MASKED, resolved

CPU = torch.device("cpu")


class Parrot:
    """A head whose loss is the first value of each token."""

    def draw(self, features, against, scale, moment, noise):
        raise AssertionError("nothing is drawn in training")

    def loss(self, features, target, noise):
        return target[..., 0]


def objective(**changes) -> MaskedTokens:
    made = resolved("model.network.dropout=0", "model.network.attention_dropout=0", tree=MASKED)
    torch.manual_seed(0)
    network = made.model.network.build()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    found = made.objective(network, CPU)
    assert isinstance(found, MaskedTokens)
    return replace(found, **changes)


def batch(count: int = 4) -> Batch:
    images = torch.arange(count * 192, dtype=torch.int64).view(count, 3, 8, 8) * 7 % 251
    return Batch(images.to(torch.uint8), torch.arange(count), list(range(10, 10 + count)))


def test_the_loss_is_the_mean_over_masked_tokens_alone():
    made, given = objective(head=Parrot(), drop=0.0), batch()
    loss = made(given)
    noise = SeededNoise(given.seeds)
    noise.uniform()
    tokens = made.tokens(made.tokenizer.latents(given.images, noise))
    masked, _ = made.masking(4, 16, noise)
    wanted = tokens[..., 0][masked]
    assert float(loss.total) == pytest.approx(float(wanted.mean()))
    each = (tokens[..., 0] * masked).sum(1) / masked.sum(1)
    torch.testing.assert_close(loss.each, each)


def test_masks_of_different_sizes_weigh_by_token():
    def network(tokens, masked, y):
        return torch.zeros(*masked.shape, 3)

    made, given = objective(network=network, head=Parrot(), masking=Ratio(), drop=0.0), batch(6)
    loss = made(given)
    noise = SeededNoise(given.seeds)
    noise.uniform()
    tokens = made.tokens(made.tokenizer.latents(given.images, noise))
    masked, _ = made.masking(6, 16, noise)
    assert len(masked.sum(1).unique()) > 1
    assert float(loss.total) == pytest.approx(float(tokens[..., 0][masked].mean()), rel=1e-5)


def test_an_image_costs_the_same_in_another_batch_of_the_same_first_seed():
    made, given = objective(), batch()
    whole = made(given)
    part = made(Batch(given.images[:2], given.y[:2], given.seeds[:2]))
    torch.testing.assert_close(part.each, whole.each[:2])


def test_dropped_labels_and_mirrored_images_come_from_the_seed():
    heard = []

    def network(tokens, masked, y):
        heard.append(y)
        return torch.zeros(*masked.shape, 16)

    made, given = objective(network=network, head=Parrot()), batch(64)
    replace(made, drop=0.5)(given)
    share = float((heard[-1] == made.null).float().mean())
    assert 0.3 < share < 0.7
    replace(made, drop=0.0)(given)
    assert torch.equal(heard[-1], given.y)
    plain, flipped = replace(made, drop=0.0)(given), replace(made, drop=0.0, flip=True)(given)
    assert not torch.allclose(plain.each, flipped.each)


def test_mars_masking_is_what_the_release_draws():
    """A normal around 1 cut to [0.7, 1]: mean 1 - s (phi(0) - phi(z)) / (Phi(0) - Phi(z))."""
    masking = TruncatedNormal(mean=1.0, deviation=0.25, low=0.7, high=1.0, shared=True)
    ratio = masking.ratio((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)
    normal = torch.distributions.Normal(0.0, 1.0)
    z = torch.tensor([(0.7 - 1.0) / 0.25, 0.0])
    height = normal.log_prob(z).exp()
    mean = 1.0 + 0.25 * (height[0] - height[1]) / (normal.cdf(z[1]) - normal.cdf(z[0]))
    assert float(ratio.mean()) == pytest.approx(float(mean), abs=1e-4)
    masked, _ = masking(5, 256, SeededNoise(range(5)))
    assert len(masked.sum(1).unique()) == 1
    assert 180 <= int(masked[0].sum()) <= 256
    assert not torch.equal(masked[0], masked[1])


def test_held_out_images_cost_the_same_every_time():
    made = resolved("train.validate_images=20", tree=MASKED)
    images, scorer = made.data.held_out(), objective()
    first, again = (held_out(scorer, images, made.train) for _ in range(2))
    assert first == again
    assert len(first["held_out_by_masked"]) == scorer.groups.count
    assert scorer.groups.by == "masked"
