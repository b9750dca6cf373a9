import numpy as np
import pytest
import torch

from mezzotint.data.prints import CONTRAST, PALETTE, POSES, SHAPES, Prints, factors


def test_a_row_is_the_same_alone_and_in_a_batch():
    prints = Prints(size=16).train()
    batch = prints.read(torch.arange(40))
    alone = torch.cat([prints.read(torch.tensor([row])) for row in range(40)])
    assert torch.equal(batch, alone)
    assert torch.equal(prints.read(torch.tensor([7, 3])), batch[[7, 3]])


def test_parts_and_seeds_differ():
    rows = torch.arange(20)
    one, held, other = Prints().train(), Prints().held_out(), Prints(seed=1).train()
    pictures = [images.read(rows) for images in (one, held, other)]
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])
    assert len({one.digest, held.digest, other.digest}) == 3
    assert one.digest == Prints().train().digest


@pytest.mark.parametrize("size", [8, 32, 100])
def test_any_size(size):
    images = Prints(size=size, count=25, held_out_count=5).train()
    assert images.read(torch.arange(25)).shape == (25, 3, size, size)
    assert (len(images), images.labels.bincount().tolist()) == (25, [3] * 5 + [2] * 5)


def test_labels_are_the_factors_labels():
    images = Prints().train()
    rows = torch.tensor([0, 11, 99_999])
    assert images.factors(rows).label.tolist() == images.labels[rows].tolist() == [0, 1, 9]


@pytest.mark.parametrize("pose", list(POSES))
def test_factors_keep_the_pose(pose):
    shown = factors(3, np.arange(5000), POSES[pose])
    limit = POSES[pose]
    assert np.abs(shown.angle).max() <= limit.angle
    assert np.abs(shown.angle).max() > 0.95 * limit.angle
    assert limit.radius[0] <= shown.radius.min() < shown.radius.max() <= limit.radius[1]
    assert np.abs(shown.offset).max() <= limit.offset
    assert abs(np.corrcoef(shown.offset.T)[0, 1]) < 0.05


def test_paper_and_ink_stand_apart():
    shown = factors(0, np.arange(5000), POSES["tumbled"])
    luminance = PALETTE @ np.array([0.2126, 0.7152, 0.0722]) / 255
    assert np.abs(luminance[shown.paper] - luminance[shown.ink]).min() >= CONTRAST
    assert set(shown.ink) == set(range(12))


def test_the_factors_are_what_is_drawn():
    """A disc's centre, area and colours follow from its factors."""
    images = Prints(size=64, pose="tumbled").train()
    rows = torch.arange(0, 100, 10)  # discs
    shown, pixels = images.factors(rows), images.read(rows).double().numpy()
    axis = (2 * np.arange(64) + 1) / 64 - 1
    for i in range(len(rows)):
        paper, ink = PALETTE[shown.paper[i]].astype(float), PALETTE[shown.ink[i]].astype(float)
        channel = np.abs(ink - paper).argmax()
        alpha = (pixels[i, channel] - paper[channel]) / (ink[channel] - paper[channel])
        centre = (
            (alpha * axis[None]).sum() / alpha.sum(),
            -(alpha * axis[:, None]).sum() / alpha.sum(),
        )
        assert np.allclose(centre, shown.offset[i], atol=0.01)
        assert np.isclose(alpha.sum() * 4 / 64**2, np.pi * (0.9 * shown.radius[i]) ** 2, rtol=0.02)


def test_edges_are_smoothed_and_every_class_shows_ink():
    images = Prints(size=32).train()
    rows = torch.arange(200)
    shown, pixels = images.factors(rows), images.read(rows).numpy()
    for i in range(200):
        paper = (pixels[i] == PALETTE[shown.paper[i]][:, None, None]).all(0)
        ink = (pixels[i] == PALETTE[shown.ink[i]][:, None, None]).all(0)
        between = ~(paper | ink)
        name = list(SHAPES)[shown.label[i]]
        assert ink.mean() > 0.08, name
        assert paper.mean() > 0.08, name
        assert 0.02 < between.mean() < 0.6, name


def test_ten_classes_look_different():
    """Of one pose and one pair of inks, no two shapes cover the same pixels."""
    images = Prints(size=32).train()
    masks = []
    for row in range(10):
        shown = images.factors(torch.tensor([row]))
        ink = PALETTE[shown.ink[0]].astype(int)[:, None, None]
        paper = PALETTE[shown.paper[0]].astype(int)[:, None, None]
        picture = images.read(torch.tensor([row]))[0].numpy().astype(int)
        masks.append(np.abs(picture - ink).sum(0) < np.abs(picture - paper).sum(0))
    for a in range(10):
        for b in range(a):
            assert (masks[a] != masks[b]).mean() > 0.04
