"""Augmentations: an image is changed by its own seed, within bounds, and not at all when asked."""

import math

import pytest
import torch
from torch import Tensor

from mezzotint.noise import SeededNoise
from mezzotint.training.augment import Affine, Colour, Cutout, Mirrored

EACH = {
    "mirrored": Mirrored(),
    "affine": Affine(),
    "colour": Colour(grey=0.3),
    "cutout": Cutout(),
}
STILL = {
    "mirrored": Mirrored(share=0.0),
    "affine": Affine(angle=0.0, zoom=0.0, stretch=0.0, shift=0.0),
    "colour": Colour(hue=0.0, saturation=0.0, light=0.0, grey=0.0),
    "cutout": Cutout(side=0.0),
}
SEEDS = range(40)


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(len(SEEDS), 3, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", EACH)
def test_an_image_is_changed_by_its_own_seed(pictures, name):
    change = EACH[name]
    together = change(pictures, SeededNoise(SEEDS))
    assert together.shape == pictures.shape
    assert not torch.equal(together, pictures)
    alone = change(pictures[7:8], SeededNoise([7]))
    assert torch.equal(alone[0], together[7])
    turned = change(pictures.flip(0), SeededNoise(reversed(SEEDS)))
    assert torch.equal(turned.flip(0), together)
    same = change(pictures[:1].expand(40, -1, -1, -1).contiguous(), SeededNoise(SEEDS))
    assert len(same.unique(dim=0)) >= 2


@pytest.mark.parametrize("name", EACH)
def test_pictures_stay_in_range(pictures, name):
    assert EACH[name](pictures, SeededNoise(SEEDS)).abs().max() <= 1


@pytest.mark.parametrize("name", STILL)
def test_an_amount_of_nothing_changes_nothing(pictures, name):
    changed = STILL[name](pictures, SeededNoise(SEEDS))
    torch.testing.assert_close(changed, pictures, rtol=0, atol=1e-5)


def test_a_share_of_the_pictures_is_mirrored(pictures):
    changed = Mirrored(share=0.25)(pictures[:1].expand(2000, -1, -1, -1), SeededNoise(range(2000)))
    mirrored = (changed == pictures[0].flip(2)).flatten(1).all(1)
    assert bool(((changed == pictures[0]).flatten(1).all(1) | mirrored).all())
    assert mirrored.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_white_stays_white_and_grey_has_no_colour(pictures):
    white = torch.ones(len(SEEDS), 3, 4, 4)
    torch.testing.assert_close(Colour(grey=0.5)(white, SeededNoise(SEEDS)), white)
    grey = Colour(grey=1.0)(pictures, SeededNoise(SEEDS))
    torch.testing.assert_close(grey[:, 0], grey[:, 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(grey[:, 1], grey[:, 2], rtol=0, atol=1e-6)


def test_hue_turns_colours_and_keeps_their_mean(pictures):
    muted = pictures / 4
    changed = Colour(hue=90.0, saturation=0.0, light=0.0, grey=0.0)(muted, SeededNoise(SEEDS))
    torch.testing.assert_close(changed.mean(1), muted.mean(1), rtol=0, atol=1e-6)
    strength = (muted - muted.mean(1, keepdim=True)).norm(dim=1)
    turned = (changed - changed.mean(1, keepdim=True)).norm(dim=1)
    torch.testing.assert_close(turned, strength, rtol=0, atol=1e-5)


def test_a_cut_hides_at_most_the_share_of_the_side(pictures):
    hidden = (Cutout(side=0.5)(pictures, SeededNoise(SEEDS)) == 0).all(1)
    assert hidden.any(2).sum(1).max() <= 6
    assert hidden.any(1).sum(1).max() <= 6
    assert hidden.any(2).sum(1).max() >= 4
    assert len({int(each.sum()) for each in hidden}) > 5


def test_a_turn_and_a_zoom_are_within_their_bounds():
    """A dot beside the middle turns about it and moves in or out, by no more than was asked."""
    side, far = 33, 10
    dot = torch.zeros(1, 1, side, side)
    dot[0, 0, 16, 16 + far] = 1
    change = Affine(angle=30.0, zoom=0.2, stretch=0.0, shift=0.0)
    seen = change(dot.expand(200, -1, -1, -1), SeededNoise(range(200)))[:, 0]
    place = torch.arange(side) - 16.0
    mass = seen.sum((1, 2))
    right, down = (seen.sum(1) @ place) / mass, (seen.sum(2) @ place) / mass
    angle, distance = torch.atan2(down, right), torch.hypot(right, down)
    assert math.radians(27) < angle.abs().max() < math.radians(33)
    assert far * math.exp(-0.2) - 0.3 < distance.min() < 0.88 * far
    assert 1.14 * far < distance.max() < far * math.exp(0.2) + 0.3
