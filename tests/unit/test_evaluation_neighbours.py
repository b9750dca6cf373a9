"""Neighbours, memorisation and class accuracy: equal to brute force, and to torch-fidelity."""

from math import inf, sqrt

import numpy as np
import pytest
import torch

from mezzotint.errors import DataError, NumericError
from mezzotint.evaluation.accuracy import accuracy, judged, per_class_distance
from mezzotint.evaluation.memorisation import Pair, identical, memorisation
from mezzotint.evaluation.neighbours import (
    density_coverage,
    nearest,
    nearest_within,
    precision_recall,
)


def rows(count, width=6, seed=0, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) * scale + shift


def apart(a, b):
    return (a.double()[:, None] - b.double()).square().sum(2).sqrt()


def radii(x, k):
    return apart(x, x).fill_diagonal_(inf).sort(1).values[:, k - 1]


SAMPLES, REFERENCE = rows(130, scale=0.8, shift=0.3), rows(90, seed=1)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_are_those_of_brute_force(k):
    d = apart(SAMPLES, REFERENCE)
    found = precision_recall(SAMPLES, REFERENCE, k=k, block=37)
    assert found.precision == (d <= radii(REFERENCE, k)).any(1).double().mean().item()
    assert found.recall == (d <= radii(SAMPLES, k)[:, None]).any(0).double().mean().item()
    assert found.precision != found.recall


@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_precision_and_recall_are_torch_fidelitys(shift):
    """Far from the origin |x|² + |y|² - 2 x·y loses ten digits unless the rows are centred."""
    metric = pytest.importorskip("torch_fidelity.metric_prc")
    samples, reference = rows(300, 64, scale=0.95) + shift, rows(200, 64, seed=1) + shift
    theirs = metric.prc_features_to_metric(
        samples.double() - shift,
        reference.double() - shift,
        prc_neighborhood=3,
        prc_batch_size=10000,
        save_cpu_ram=False,
        verbose=False,
    )
    ours = precision_recall(samples, reference, k=3)
    assert ours.precision == pytest.approx(theirs["precision"], abs=1e-6)
    assert ours.recall == pytest.approx(theirs["recall"], abs=1e-6)
    assert 0.2 < ours.recall < ours.precision < 1


def test_precision_is_of_the_samples_and_recall_of_the_reference():
    """Samples from one of two modes are all realistic, and reach half of reality."""
    one, other = rows(60), rows(60, seed=1, shift=100)
    found = precision_recall(rows(80, seed=2, scale=0.1), torch.cat([one, other]))
    assert found.precision == 1
    assert found.recall < 0.5
    turned = precision_recall(torch.cat([one, other]), rows(80, seed=2, scale=0.1))
    assert (turned.precision, turned.recall) == (found.recall, 1)


def test_density_and_coverage_are_those_of_brute_force():
    inside = apart(SAMPLES, REFERENCE) <= radii(REFERENCE, 5)
    found = density_coverage(SAMPLES, REFERENCE, block=37)
    assert found.density == pytest.approx(inside.sum().item() / (5 * len(SAMPLES)), rel=1e-12)
    assert found.coverage == inside.any(0).double().mean().item()


def test_density_and_coverage_of_equal_distributions_are_what_the_paper_expects():
    n, m, k = 400, 300, 5
    trials = [density_coverage(rows(n, 3, 2 * i), rows(m, 3, 2 * i + 1), k=k) for i in range(20)]
    expected = 1 - np.prod([(m - i) / (n + m - i) for i in range(1, k + 1)])
    assert np.mean([t.density for t in trials]) == pytest.approx(1, abs=0.02)
    assert np.mean([t.coverage for t in trials]) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("block", [7, 64, 4096])
def test_neither_blocks_nor_order_move_a_number(block):
    shuffle = torch.randperm(len(SAMPLES)), torch.randperm(len(REFERENCE))
    samples, reference = SAMPLES[shuffle[0]], REFERENCE[shuffle[1]]
    for metric in (precision_recall, density_coverage):
        assert metric(samples, reference, block=block) == metric(SAMPLES, REFERENCE)
    whole = memorisation(SAMPLES, REFERENCE, SAMPLES[:0])
    parts = memorisation(samples, reference, SAMPLES[:0], block=block)
    assert parts.threshold == pytest.approx(whole.threshold, rel=1e-12)
    assert parts.ratio == pytest.approx(whole.ratio, rel=1e-12)
    back = [(int(shuffle[0][p.sample]), int(shuffle[1][p.training])) for p in parts.pairs]
    assert back == [(p.sample, p.training) for p in whole.pairs]


@pytest.mark.parametrize("block", [1, 16, 4096])
def test_copies_stay_inside_the_balls_that_they_define(block):
    """The copy of a k-th neighbour lies exactly on the edge; rounding must not push it out."""
    reference = rows(40 if block == 1 else 120, 512, shift=5.0)
    edge = apart(reference, reference).fill_diagonal_(inf).sort(1).indices[:, 2]
    inside = apart(reference[edge], reference) <= radii(reference, 3)
    found = density_coverage(reference[edge], reference, k=3, block=block)
    assert found.density == pytest.approx(inside.sum().item() / (3 * len(reference)), rel=1e-12)
    assert found.coverage == 1


def test_balls_without_a_radius_hold_their_copies_and_nothing_else():
    reference = rows(4, 300, shift=3.0).repeat_interleave(5, 0)
    samples = torch.cat([reference[::5], reference[::5] + 1e-3])
    assert precision_recall(samples, reference).precision == 0.5
    assert density_coverage(samples, reference, k=3).coverage == 1
    constant = torch.full((9, 4), 7.0)
    assert precision_recall(constant, constant) == precision_recall(SAMPLES, SAMPLES)


@pytest.mark.parametrize("block", [20, 4096])
def test_neighbours_come_by_distance_then_by_index(block):
    others = torch.cat([REFERENCE, REFERENCE])
    found = nearest(REFERENCE, others, count=3, block=block)
    expected = apart(REFERENCE, others).sort(dim=1, stable=True)
    assert torch.equal(found.rows, expected.indices[:, :3])
    assert torch.allclose(found.distances, expected.values[:, :3], rtol=1e-14, atol=0)
    assert not found.distances[:, :2].any()
    within = nearest_within(others, block=block)
    assert torch.equal(within.rows[:90, 0], torch.arange(90) + 90)
    assert nearest_within(rows(3), count=2, block=block).rows.tolist() == [[1, 2], [2, 0], [1, 0]]


def test_features_may_lie_on_disk(tmp_path):
    path = tmp_path / "rows.bin"
    path.write_bytes(REFERENCE.numpy().tobytes())
    stored = np.memmap(path, np.float32, mode="r+", shape=tuple(REFERENCE.shape))
    found = precision_recall(SAMPLES, torch.from_numpy(stored), block=16)
    assert found == precision_recall(SAMPLES, REFERENCE)


def test_bad_features_are_one_line():
    broken = REFERENCE.clone()
    broken[3, 2] = torch.nan
    with pytest.raises(NumericError, match=r"^reference: features of row 3 are not finite"):
        precision_recall(SAMPLES, broken)
    with pytest.raises(NumericError, match=r"^samples: features of row 3"):
        density_coverage(broken, REFERENCE)
    with pytest.raises(DataError, match=r"^samples: 3 rows, expected more than k = 3"):
        precision_recall(SAMPLES[:3], REFERENCE)
    with pytest.raises(DataError, match=r"^samples: 0 rows, expected at least 1"):
        density_coverage(SAMPLES[:0], REFERENCE)
    with pytest.raises(DataError, match="expected at least 2"):
        nearest(SAMPLES, REFERENCE[:1], count=2)
    for metric in (precision_recall, density_coverage, nearest):
        with pytest.raises(DataError, match="features of 6 and of 5 columns cannot be compared"):
            metric(SAMPLES, REFERENCE[:, :5])
    with pytest.raises(DataError, match="expected at least 2"):
        memorisation(SAMPLES, REFERENCE[:1], SAMPLES[:0])


# Memorisation --------------------------------------------------------------------------------


def test_fresh_draws_are_not_called_memorised():
    found = memorisation(rows(2000, 3), rows(500, 3, 1), rows(2000, 3, 2), level=0.1)
    assert found.noise == pytest.approx(sqrt(0.1 * 0.9 * (1 / 2000 + 1 / 2000)))
    assert abs(found.share - 0.1) < 3 * found.noise
    assert found.ratio == pytest.approx(1, abs=0.1)
    assert (found.copies, found.leave_one_out, len(found.pairs)) == (0, False, 16)


def test_copies_and_near_copies_are_found_with_their_originals():
    training, held_out, samples = rows(200), rows(200, seed=1), rows(100, seed=2)
    samples[40:50] = training[100:110] + 1e-4
    samples[50] = training[7]
    found = memorisation(samples, training, held_out, pairs=11)
    assert found.share >= 0.11
    assert found.copies == 1
    assert found.pairs[0] == Pair(50, 7, 0.0)
    assert sorted(p.training for p in found.pairs[1:]) == list(range(100, 110))
    assert all(p.sample - p.training == -60 for p in found.pairs[1:])
    d = apart(samples, training).min(1).values
    real = apart(held_out, training).min(1).values
    assert found.threshold == pytest.approx(np.quantile(real, 0.05), rel=1e-12)
    assert found.ratio == pytest.approx(np.median(d) / np.median(real), rel=1e-12)
    assert found.share == np.mean(d.numpy() < found.threshold)


def test_without_held_out_images_each_training_image_stands_in():
    training = rows(300, 3)
    found = memorisation(rows(1500, 3, 1), training, training[:0], level=0.2)
    real = apart(training, training).fill_diagonal_(inf).min(1).values
    assert found.leave_one_out
    assert found.threshold == pytest.approx(np.quantile(real, 0.2), rel=1e-12)
    assert abs(found.share - 0.2) < 3 * found.noise
    doubled = memorisation(training, training.repeat(2, 1), training[:0])
    assert (doubled.threshold, doubled.share, doubled.ratio) == (0, 0, inf)
    assert doubled.copies == 300


def test_an_empty_set_is_named():
    for samples, training, name in ((0, 9, "samples"), (9, 0, "training images")):
        with pytest.raises(DataError, match=f"memorisation: no {name}; expected"):
            memorisation(rows(samples), rows(training), rows(5))


def test_a_level_is_a_share():
    with pytest.raises(DataError, match="level: 5, expected a share between 0 and 1"):
        memorisation(SAMPLES, REFERENCE, REFERENCE, level=5)


def test_equal_pixels_are_found_across_batches():
    images = torch.randint(256, (12, 3, 4, 4), dtype=torch.uint8)
    images[9] = images[2]
    samples = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    samples[1], samples[4] = images[9], images[5]
    samples[3] = images[6]
    samples[3, 0, 0, 0] ^= 1
    turned = images[7].reshape(1, 3, 2, 8)  # the same bytes in another shape
    found = identical([*samples.split(2), turned], iter(images.split(5)))
    assert found == (Pair(1, 2, 0.0), Pair(4, 5, 0.0))


# Class accuracy ------------------------------------------------------------------------------


def test_accuracy_overall_by_class_and_over_classes():
    assigned = torch.tensor([0, 0, 0, 1, 1, 2, 0, 2])
    asked = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    found = accuracy(torch.eye(4)[assigned], asked, ["a", "b", "c", "d"])
    assert found.table.tolist() == [[3, 1, 0, 0], [1, 1, 2, 0], [0] * 4, [0] * 4]
    assert found.accuracy == 0.5
    assert found.by_class == [0.75, 0.25, None, None]
    uneven = accuracy(torch.eye(4)[assigned[:5]], asked[:5], ["a", "b", "c", "d"])
    assert (uneven.accuracy, uneven.mean_accuracy) == (0.8, 0.875)


def test_accuracy_of_more_rows_than_a_block():
    asked = torch.arange(40_000) % 3
    found = accuracy(torch.eye(3)[asked], asked, ["a", "b", "c"])
    assert found.table.diagonal().tolist() == [13334, 13333, 13333]
    assert found.accuracy == 1


def test_classes_meet_by_name():
    labels = torch.tensor([0, 1, 0, 2])
    translated = judged(labels, ["cat", "dog", "owl"], ["ant", "dog", "owl", "cat"])
    assert translated.tolist() == [3, 1, 3, 2]
    assert judged(labels[:2], ["cat", "dog", "unheard"], ["dog", "cat"]).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"^class 'owl': unknown to the judge; did you mean owls\?"):
        judged(labels, ["cat", "dog", "owl"], ["cat", "dog", "owls"])


def test_bad_scores_are_one_line():
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(NumericError, match="a class score is NaN"):
        accuracy(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), labels, ["a", "b"])
    with pytest.raises(DataError, match="3 class names for 2 logits"):
        accuracy(torch.zeros(2, 2), labels, ["a", "b", "c"])
    with pytest.raises(DataError, match="label 2: expected 0 to 1"):
        accuracy(torch.zeros(2, 2), labels + 2, ["a", "b"])
    with pytest.raises(DataError, match="no samples to judge"):
        accuracy(torch.zeros(0, 2), labels[:0], ["a", "b"])


def test_distance_within_each_class():
    samples, asked = rows(50), torch.arange(50) % 4
    reference, labels = rows(60, seed=1) + asked[:1], torch.arange(60) % 5
    asked[asked == 3] = 0
    asked[0] = 3
    gap = lambda a, b: (a.mean(0) - b.mean(0)).norm().item()  # noqa: E731
    found = per_class_distance(samples, asked, reference, labels, classes=5, distance=gap)
    assert found[3] is None, "one sample"
    assert found[4] is None, "no sample"
    for each in range(3):
        assert found[each] == gap(samples[asked == each], reference[labels == each])
    shifted = per_class_distance(samples + 2, asked, samples, asked, classes=3)
    assert shifted == pytest.approx([4 * 6] * 3, rel=1e-5), "equal covariances: |mean - mean|²"
