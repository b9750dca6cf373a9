"""The linear probe: a convex problem, solved to the end; and the features of MAGE it is put to."""

import pytest
import torch

from mezzotint.errors import DataError
from mezzotint.evaluation.probe import fitted
from tests.masked_models import tiny


def clouds(count: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of three Gaussian classes, one feature of which tells nothing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.tensor([[0.0, 4.0], [4.0, 0.0], [-4.0, -4.0]])
    features = centres[labels] + torch.randn(count, 2, generator=generator)
    return torch.cat([features * 100, torch.ones(count, 1)], dim=1), labels


def test_classes_that_a_line_parts_are_told_apart():
    features, labels = clouds(300)
    probe = fitted(features, labels, 3)
    unseen, theirs = clouds(300, seed=1)
    assert probe.accuracy(unseen, theirs) > 0.98
    shuffled = labels[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    assert fitted(features, shuffled, 3).accuracy(unseen, theirs) < 0.7


def test_it_is_the_least_of_its_loss_and_the_same_every_time():
    features, labels = clouds(90)
    probe = fitted(features, labels, 3, decay=0.1)
    weight = probe.weight.clone().requires_grad_()
    z = (features.double() - probe.mean) / probe.deviation
    loss = torch.nn.functional.cross_entropy(z @ weight.T + probe.bias, labels)
    (slope,) = torch.autograd.grad(loss + 0.05 * weight.square().sum(), weight)
    assert float(slope.abs().max()) < 1e-5
    assert torch.equal(fitted(features, labels, 3, decay=0.1).weight, probe.weight)


def test_one_class_is_refused():
    with pytest.raises(DataError, match="3 images of one class; expected at least two"):
        fitted(torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), 2)


def test_features_of_mage_follow_the_codes_and_nothing_else():
    network = tiny("mage")
    tokens = torch.arange(32).view(2, 16) % 11
    features = network.represented(tokens)
    assert features.shape == (2, 16)
    assert torch.allclose(network.represented(tokens[1:]), features[1:], atol=1e-6)
    assert not torch.allclose(network.represented(tokens.flip(1)), features, atol=1e-3)
