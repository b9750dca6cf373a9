"""The order of the images: pure, balanced, without end, the same on any number of ranks."""

from collections import Counter

import pytest
import torch

from mezzotint.data.images import InMemory
from mezzotint.data.loader import Balanced, Loader, Shuffled, order_of
from mezzotint.errors import DataError

LABELS = torch.tensor([0] * 7 + [1] * 2 + [3] * 4)


def images(labels=LABELS):
    pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return InMemory.of(pixels.contiguous(), labels, ("a", "b", "c", "d"))


def test_every_row_comes_once_an_epoch_in_a_new_order():
    order = Shuffled(13, seed=5)
    epochs = [[order(13 * e + k) for k in range(13)] for e in range(3)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_every_class_comes_equally_often_and_every_row_of_it_too():
    order = Balanced(LABELS, seed=5)
    rows = [order(position) for position in range(3 * 28)]
    for turn in range(28):
        assert sorted(LABELS[rows[3 * turn : 3 * turn + 3]].tolist()) == [0, 1, 3]
    counts = Counter(rows)
    assert [counts[row] for row in range(13)] == [4] * 7 + [14] * 2 + [7] * 4


@pytest.mark.parametrize("balanced", [True, False])
def test_an_order_is_a_pure_function_of_the_position(balanced):
    one = order_of(images(), balanced=balanced, seed=3)
    forward = [one(position) for position in range(100)]
    backward = [one(position) for position in reversed(range(100))]
    assert forward == backward[::-1]
    assert forward == [order_of(images(), balanced=balanced, seed=3)(p) for p in range(100)]
    assert forward != [order_of(images(), balanced=balanced, seed=4)(p) for p in range(100)]


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_a_batch_in_order(balanced, ranks):
    def loader(rank, count):
        order = order_of(images(), balanced=balanced, seed=3)
        return Loader(images(), 6, order, 3, rank, count)

    for step in (0, 1, 40):
        whole = loader(0, 1)(step)
        parts = [loader(rank, ranks)(step) for rank in range(ranks)]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert torch.equal(torch.cat([part.y for part in parts]), whole.y)
        assert [seed for part in parts for seed in part.seeds] == whole.seeds


def test_a_batch_may_be_larger_than_the_set_and_each_position_has_its_own_seed():
    batch = Loader(images(), 40, Shuffled(13, 0), 0)(0)
    assert len(set(batch.seeds)) == 40
    assert torch.equal(batch.images[:, 0, 0, 0].sort()[0][:3], torch.tensor([0, 0, 0]).byte())


def test_what_cannot_be_shared_or_is_empty_is_refused():
    with pytest.raises(DataError, match="batch of 8 cannot be shared by 3 processes"):
        Loader(images(), 8, Shuffled(13, 0), 0, ranks=3)
    with pytest.raises(DataError, match="empty"):
        Loader(images(LABELS[:0]), 8, Shuffled(0, 0), 0)
