"""Law 14: merging moments is associative, one pass equals many, and frechet(a, a) is 0.

Batches, their order and ranks move neither moments nor distance beyond 1e-9 relative: also with
fewer rows than features, with constant features, and far from the origin.
"""

import threading
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.errors import DataError
from mezzotint.evaluation.frechet import frechet, frechet_rows
from mezzotint.evaluation.moments import Moments

FEW = settings(max_examples=4)
WIDTH = 24
TOLERANCE = 1e-9


def rows(count, seed, *, spread=1.0, constant=0, offset=0.0):
    source = torch.Generator().manual_seed(seed)
    drawn = (
        spread
        * torch.randn(count, WIDTH, generator=source)
        @ torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))
    )
    drawn[:, :constant] = 0.1
    return drawn + offset


SETS = {
    "many": rows(300, 1),
    "fewer rows than features": rows(15, 1),
    "constant features": rows(300, 1, constant=5),
    "few rows, constant features": rows(15, 1, constant=5),
    "far from the origin": rows(300, 1, offset=1e3),
}
REFERENCE = Moments.of(rows(200, 9, spread=1.5))
CASES = pytest.mark.parametrize("name", SETS)


def same(a, b):
    """Compare moments, and their distances to a third set."""
    size = b.scatter.diag().max()
    assert a.count == b.count
    assert torch.allclose(a.mean, b.mean, rtol=TOLERANCE, atol=1e-12)
    assert float((a.scatter - b.scatter).abs().max()) <= TOLERANCE * size
    assert frechet(a, REFERENCE) == pytest.approx(frechet(b, REFERENCE), rel=TOLERANCE)
    assert frechet(REFERENCE, a) == pytest.approx(frechet(b, REFERENCE), rel=TOLERANCE)


def parts(found, cuts):
    """Cut rows into parts; some may be empty."""
    ends = [0, *sorted(cut % (len(found) + 1) for cut in cuts), len(found)]
    return [found[low:high] for low, high in pairwise(ends)]


@CASES
@FEW
@given(cuts=st.lists(st.integers(0, 10**6), min_size=2, max_size=2))
def test_merging_is_associative_and_commutative(name, cuts):
    whole = Moments.of(SETS[name])
    a, b, c = (Moments.of(part) for part in parts(SETS[name], cuts))
    for merged in [a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b)]:
        same(merged, whole)


@CASES
@FEW
@given(batch=st.sampled_from([1, 7, 128, 400]), seed=st.integers(0, 99))
def test_one_pass_equals_many_in_any_order(name, batch, seed):
    whole = Moments.of(SETS[name])
    found = SETS[name]
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    many = Moments.empty(WIDTH)
    for part in found[order].split(batch):
        many.update(part)
    same(many, whole)
    same(Moments.of(found, block=batch), whole)


class AllReduce:
    """Sums over threads that stand for ranks."""

    def __init__(self, count):
        self.barrier, self.sent = threading.Barrier(count), [torch.zeros(())] * count

    def total(self, rank):
        def total(mine):
            assert mine.dtype == torch.float64
            self.sent[rank] = mine
            self.barrier.wait(10)
            summed = torch.stack(self.sent).sum(0)
            self.barrier.wait(10)
            return summed

        return total


@CASES
@pytest.mark.parametrize("ranks", [1, 2, 3, 16])
def test_ranks_move_nothing(name, ranks):
    group, found = AllReduce(ranks), {}

    def work(rank):
        share = Moments.of(SETS[name][rank::ranks])  # of 15 rows, the sixteenth rank has none
        found[rank] = share.reduced(group.total(rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(ranks)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for rank in range(ranks):
        same(found[rank], Moments.of(SETS[name]))


@CASES
def test_moments_are_those_of_the_whole(name):
    found, whole = Moments.of(SETS[name], block=7), SETS[name].double()
    assert torch.allclose(found.mean, whole.mean(0), rtol=1e-12)
    assert torch.allclose(found.covariance, torch.cov(whole.T), rtol=1e-9, atol=1e-10)


@CASES
def test_a_set_is_at_no_distance_to_itself(name):
    found = Moments.of(SETS[name])
    slack = 1e-10 * float(found.covariance.trace())
    assert 0 <= frechet(found, found) <= slack
    assert 0 <= frechet_rows(SETS[name], SETS[name]) <= slack
    assert frechet(found, REFERENCE) > 1


@CASES
@FEW
@given(seed=st.integers(0, 99), block=st.integers(7, 400))
def test_the_distance_of_rows_does_not_know_their_order(name, seed, block):
    found, other = SETS[name], rows(40, 5, spread=1.5)
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    shuffled = frechet_rows(found[order], other, block=block)
    assert shuffled == pytest.approx(frechet_rows(found, other), rel=TOLERANCE)
    assert frechet(Moments.of(found), Moments.of(other)) == pytest.approx(shuffled, rel=TOLERANCE)


def test_a_constant_column_has_no_variance_at_all():
    found = Moments.of(SETS["constant features"], block=7)
    assert not found.scatter[:5].any()
    assert found.scatter[5:, 5:].diag().min() > 0


def test_published_moments_are_compared_and_not_merged():
    known = Moments.of(SETS["many"])
    published = Moments.published(known.mean, known.covariance)
    assert published.count is None
    assert frechet(published, REFERENCE) == pytest.approx(frechet(known, REFERENCE), rel=1e-12)
    published.check("reference")
    for work in [
        lambda: published.merge(known),
        lambda: known.merge(published),
        lambda: published.update(SETS["many"]),
        lambda: published.reduced(lambda mine: mine),
    ]:
        with pytest.raises(DataError, match="do not tell how many rows"):
            work()


@pytest.mark.parametrize(
    ("mean", "covariance", "text"),
    [
        (torch.zeros(3), torch.eye(2), r"adm\.npz: mu has shape \(3,\) and sigma \(2, 2\)"),
        (torch.zeros(2), torch.full((2, 2), float("nan")), "no covariance"),
        (torch.full((2,), float("inf")), torch.eye(2), "no covariance"),
        (torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "no covariance"),
        (torch.zeros(2), -torch.eye(2), "no covariance"),
    ],
)
def test_statistics_that_are_none_are_refused(mean, covariance, text):
    with pytest.raises(DataError, match=text):
        Moments.published(mean, covariance, name="adm.npz")


@pytest.mark.parametrize("jitter", [0.0, 1e-7])
def test_one_image_many_times_is_an_error_of_its_own(jitter):
    one = rows(1, 1).expand(50, WIDTH)
    same_image = Moments.of(one * (1 + jitter * torch.randn(50, 1)))
    assert frechet(same_image, REFERENCE) > 0
    with pytest.raises(DataError, match="samples: all 50 rows of features are the same"):
        same_image.check("samples")
    with pytest.raises(DataError, match="samples: 1 rows"):
        Moments.of(one[:1]).check("samples")
    for each in SETS.values():
        Moments.of(each).check("samples")
