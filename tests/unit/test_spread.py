"""A part of a set that stands for the whole, whatever order its classes have."""

import pytest
import torch

from mezzotint.data.images import spread


@pytest.mark.parametrize(
    ("there", "count"), [(0, 4), (5, 0), (7, 7), (7, 9), (7, 3), (10, 9), (20_000, 999)]
)
def test_rows_are_different_in_order_and_as_many_as_there_are(there, count):
    rows = spread(there, count)
    assert len(rows) == min(there, count)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert all(0 <= row < there for row in rows.tolist())


@pytest.mark.parametrize("stride", [2, 3.3, 5, 10, 40])
@pytest.mark.parametrize("classes", [2, 5, 10, 14])
def test_classes_that_take_turns_are_all_seen(stride, classes):
    labels = torch.arange(20_000) % classes
    shares = labels[spread(20_000, round(20_000 / stride))].bincount(minlength=classes)
    wanted = float(shares.sum()) / classes
    assert float((shares - wanted).abs().max()) < 4 + 0.05 * wanted


def test_times_of_held_out_images_do_not_go_with_their_classes():
    """`watch.HeldOut` gives image k the fraction of k golden ratios as its time."""
    rows = spread(2_000, 500)
    fifths = (torch.arange(500, dtype=torch.float64) * 0.6180339887498949 % 1 * 5).long()
    for fifth in range(5):
        shares = (rows[fifths == fifth] % 10).bincount(minlength=10)
        assert int(shares.min()) >= 5
        assert int(shares.max()) <= 15


def test_one_row_comes_from_each_of_equal_stretches():
    rows = spread(1_000, 10)
    assert (rows // 100).tolist() == list(range(10))
    assert len((rows % 100).unique()) == 10
