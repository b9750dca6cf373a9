"""Distances between sets of features, against closed forms and against the field's own packages.

Where definitions agree, so do the numbers, to 1e-6 relative. Where they differ:

    FID   torch-fidelity and torchmetrics take the eigenvalues of A B. For n < d many are noise, and
          the root of noise is not small; ours is then the exact distance of the rows.
    IS    torch-fidelity shuffles, and cuts at i n / 10; ADM takes blocks of 5,000 in file order;
          torchmetrics shuffles by the global generator, cuts by `chunk`, and takes the standard
          deviation of n - 1. In one part all agree.
    KID   torch-fidelity and torchmetrics average subsets, torchmetrics by the global generator;
          both compute in the type they are given, ours in float64. `kernel_distance` takes each
          pair once, and its interval is that of the whole set.
"""

import pytest
import torch
import torch_fidelity.metric_fid as fidelity_fid
import torch_fidelity.metric_isc as fidelity_isc
import torch_fidelity.metric_kid as fidelity_kid
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from mezzotint.errors import DataError, NumericError
from mezzotint.evaluation import kernel
from mezzotint.evaluation.frechet import frechet, frechet_rows
from mezzotint.evaluation.kernel import kernel_distance, kernel_distance_subsets
from mezzotint.evaluation.moments import Moments
from mezzotint.evaluation.scores import Consecutive, Shuffled, Spread, inception_score

CLOSE = 1e-6


def features(rows, width, seed, *, scale=1.0, shift=0.0):
    """Draw correlated features with a decaying spectrum; the seed does not move the correlation."""
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0))).Q
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.arange(1, width + 1) ** -0.5
    return (scale * drawn * spectrum) @ turn + shift


def rotation(width):
    source = torch.Generator().manual_seed(7)
    return torch.linalg.qr(torch.randn(width, width, generator=source, dtype=torch.float64)).Q


def gaussian(mean, variances, turn):
    return Moments.published(mean, turn @ variances.diag() @ turn.T)


# Fréchet distance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [torch.eye(40, dtype=torch.float64), rotation(40)])
def test_the_closed_form_of_commuting_gaussians(turn):
    source = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 40, generator=source, dtype=torch.float64) + 0.1
    a, b = torch.randn(2, 40, generator=source, dtype=torch.float64)
    exact = float((a - b).square().sum() + (first.sqrt() - second.sqrt()).square().sum())
    assert frechet(gaussian(a, first, turn), gaussian(b, second, turn)) == pytest.approx(
        exact, rel=1e-12
    )


def test_the_closed_form_of_singular_and_orthogonal_gaussians():
    turn, zero = rotation(6), torch.zeros(6, dtype=torch.float64)
    first = torch.tensor([4.0, 9.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    second = torch.tensor([0.0, 1.0, 4.0, 0.0, 25.0, 0.0], dtype=torch.float64)
    for basis in [torch.eye(6, dtype=torch.float64), turn]:
        a, b = gaussian(zero, first, basis), gaussian(zero, second, basis)
        assert frechet(a, b) == pytest.approx(4 + 4 + 1 + 25, rel=1e-12)
        none = gaussian(zero, zero, basis)
        assert frechet(a, none) == pytest.approx(14, rel=1e-12)
        apart = gaussian(zero + 1, first.flip(0), basis)
        assert frechet(a, apart) == pytest.approx(6 + 28, rel=1e-12)


def test_the_closed_form_of_two_dimensions_that_do_not_commute():
    # The root of a 2 x 2 matrix M has the trace sqrt(tr M + 2 sqrt(det M)).
    a = torch.tensor([[2.0, 0.7], [0.7, 1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, -0.4], [-0.4, 3.0]], dtype=torch.float64)
    product = a @ b
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    zero = torch.zeros(2, dtype=torch.float64)
    exact = float(a.trace() + b.trace() - 2 * root)
    found = frechet(Moments.published(zero, a), Moments.published(zero, b))
    assert found == pytest.approx(exact, rel=1e-12)


def test_equal_to_the_square_root_of_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    a = Moments.of(features(700, 256, 1))
    b = Moments.of(features(900, 256, 2, scale=1.3, shift=0.1))
    root = torch.from_numpy(linalg.sqrtm((a.covariance @ b.covariance).numpy()).real)
    plain = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance - 2 * root).trace()
    assert frechet(a, b) == pytest.approx(float(plain), rel=CLOSE)


def test_equal_to_torch_fidelity_and_torchmetrics():
    x, y = features(700, 256, 1).double(), features(900, 256, 2, scale=1.3, shift=0.1).double()
    a, b = Moments.of(x), Moments.of(y)
    theirs = fidelity_fid.fid_statistics_to_metric(
        fidelity_fid.fid_features_to_statistics(x),
        fidelity_fid.fid_features_to_statistics(y),
        verbose=False,
    )["frechet_inception_distance"]
    metric = FrechetInceptionDistance(torch.nn.Flatten(), input_img_size=(1, 1, 256))
    metric.set_dtype(torch.float64)
    metric.update(x[:, None, None], real=False)
    metric.update(y[:, None, None], real=True)
    for other in [theirs, float(metric.compute()), frechet_rows(x, y)]:
        assert frechet(a, b) == pytest.approx(other, rel=CLOSE)


def test_fewer_rows_than_features_from_moments_and_from_rows():
    x, y, z = features(60, 256, 1), features(90, 256, 2, scale=1.3), features(600, 256, 3)
    for one, other in [(x, y), (y, x), (x, z), (z, x), (x, x[:20])]:
        rows = frechet_rows(one, other, block=32)
        assert frechet(Moments.of(one), Moments.of(other)) == pytest.approx(rows, rel=1e-9)
    flat = torch.cat([x, torch.full((60, 3), 0.3)], 1)
    raised = torch.cat([y, torch.full((90, 3), 0.1)], 1)
    grown = frechet(Moments.of(flat), Moments.of(raised))
    assert grown == pytest.approx(frechet_rows(x, y) + 3 * 0.2**2, rel=1e-6)


def test_the_set_of_fewer_directions_alone_is_factored(monkeypatch):
    few, many = features(40, 96, 1), features(400, 96, 2)
    exact = frechet_rows(few, many)

    def refused(*_):
        raise AssertionError("slow, or unsafe for a singular matrix")

    monkeypatch.setattr("mezzotint.evaluation.frechet._triangle", refused)
    monkeypatch.setattr(torch.linalg, "svdvals", refused)
    assert frechet(Moments.of(few), Moments.of(many)) == pytest.approx(exact, rel=1e-9)
    assert frechet(Moments.of(many), Moments.of(few)) == pytest.approx(exact, rel=1e-9)


def test_steep_spectra_keep_their_digits():
    # The product of two such covariances has a condition number of 1e18: its roots are lost.
    steep = torch.logspace(0, -9, 64, dtype=torch.float64)
    turn, zero = rotation(64), torch.zeros(64, dtype=torch.float64)
    a, b = gaussian(zero, steep, turn), gaussian(zero, 4 * steep, turn)
    assert frechet(a, b) == pytest.approx(float(steep.sum()), rel=1e-9)


def test_repeated_rows_are_no_new_directions():
    few = features(40, 96, 1).double()
    turned = torch.cat([few, few.flip(0), few]) @ rotation(96)
    other = features(400, 96, 2).double()
    assert frechet(Moments.of(turned), Moments.of(other)) == pytest.approx(
        frechet_rows(turned, other), rel=1e-9
    )


# Inception Score ----------------------------------------------------------------------------------


def test_inception_score_is_torch_fidelitys():
    logits = 3 * features(1003, 24, 1).double()
    theirs = fidelity_isc.isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    ours = inception_score(logits, Shuffled(), block=17)
    assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=CLOSE)
    assert ours.std == pytest.approx(theirs["inception_score_std"], rel=CLOSE)
    other = fidelity_isc.isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=1)
    assert other["inception_score_mean"] != pytest.approx(ours.mean, rel=CLOSE)


def test_inception_score_is_adms_in_file_order():
    logits = 3 * features(1250, 24, 1).double()
    chances = logits.softmax(1)
    parts = []
    for start in range(0, 1250, 500):  # ADM's lines
        part = chances[start : start + 500]
        divergence = part * (part.log() - part.mean(0, keepdim=True).log())
        parts.append(float(divergence.sum(1).mean().exp()))
    ours = inception_score(logits, Consecutive(500))
    assert ours.mean == pytest.approx(sum(parts) / 3, rel=1e-9)
    assert ours == Spread.of(parts) or ours.std == pytest.approx(Spread.of(parts).std, rel=1e-6)
    assert Consecutive().size == 5000


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`")
def test_inception_score_is_torchmetrics_in_one_part():
    logits = 3 * features(300, 24, 1).double()
    metric = InceptionScore(torch.nn.Identity(), splits=1)
    metric.update(logits)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        theirs = float(metric.compute()[0])
    assert inception_score(logits).mean == pytest.approx(theirs, rel=CLOSE)


def test_inception_score_of_sure_and_of_unsure_classifiers():
    sure = 1e4 * torch.eye(5).repeat(8, 1)
    assert inception_score(sure).mean == pytest.approx(5, rel=1e-12)
    assert inception_score(torch.ones(40, 5)).mean == pytest.approx(1, rel=1e-12)


# kernel distance ----------------------------------------------------------------------------------


def plain_kernel_distance(x, y):
    x, y = x.double(), y.double()

    def pairs(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean(k):
        return (k.sum() - k.diag().sum()) / (len(k) * (len(k) - 1))

    return float(mean(pairs(x, x)) + mean(pairs(y, y)) - 2 * pairs(x, y).mean())


@pytest.mark.parametrize("block", [7, 64, 1024])
def test_kernel_distance_takes_every_pair_once(block):
    x, y = features(130, 32, 1), features(90, 32, 2, shift=0.2)
    found = kernel_distance(x, y, seed=0, block=block)
    assert found.value == pytest.approx(plain_kernel_distance(x, y), rel=1e-9)
    same = kernel_distance(x, y, seed=0, block=1000)
    assert (found.low, found.high) == pytest.approx((same.low, same.high), rel=1e-9)
    assert kernel_distance(x, y, seed=1).low != found.low


def test_a_resample_is_the_distance_of_the_rows_it_draws(monkeypatch):
    x, y = features(30, 8, 1).double(), features(20, 8, 2).double()
    weights = {30: torch.zeros(2, 30).double(), 20: torch.ones(2, 20).double()}
    weights[30][0] = 1
    weights[30][1, :15] = 2  # every pair of different rows stands there four times
    monkeypatch.setattr(kernel, "_draws", lambda count, resamples, seed: weights[count])
    found = kernel_distance(x, y, resamples=1, seed=0)
    assert found.low == pytest.approx(plain_kernel_distance(x[:15], y), rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_interval_covers_the_truth(shift):
    # Over Gaussians x and y, with s = x . y / d, the kernel has a mean that can be written down:
    # E (1 + s)^3 = 1 + 3 E s + 3 E s^2 + E s^3.
    width, draws, rows = 4, 60, 150

    def mean(a, b):  # all columns of x have mean a, of y mean b, variance 1 and no correlation
        one = a * b  # E of a product z = x_c y_c, then E z^2, E z^3, for one column
        two, three = (1 + a * a) * (1 + b * b), (a**3 + 3 * a) * (b**3 + 3 * b)
        d = width
        first, second = d * one, d * two + d * (d - 1) * one**2
        third = d * three + 3 * d * (d - 1) * two * one + d * (d - 1) * (d - 2) * one**3
        return 1 + 3 * first / d + 3 * second / d**2 + third / d**3

    truth = mean(0, 0) + mean(shift, shift) - 2 * mean(0, shift)
    source = torch.Generator().manual_seed(3)
    covered, values = 0, []
    for seed in range(draws):
        x = torch.randn(rows, width, generator=source)
        y = torch.randn(rows, width, generator=source) + shift
        found = kernel_distance(x, y, resamples=100, seed=seed)
        covered += found.low <= truth <= found.high
        values.append(found.value)
    assert 0.85 <= covered / draws <= 1
    spread = Spread.of(values)
    assert abs(spread.mean - truth) < 4 * spread.std / draws**0.5


def test_more_rows_than_the_limit_are_chosen_by_seed(monkeypatch):
    monkeypatch.setattr(kernel, "LIMIT", 100)
    x, y = features(300, 16, 1), features(300, 16, 2)
    first, again, other = (kernel_distance(x, y, resamples=2, seed=s).value for s in (0, 0, 1))
    assert first == again != other
    assert kernel_distance(x[:100], y[:100], resamples=2, seed=0).value == pytest.approx(
        plain_kernel_distance(x[:100], y[:100])
    )


@pytest.mark.parametrize("rows", [2, 3])
def test_the_smallest_sets_have_an_interval(rows):
    x, y = features(rows, 8, 1), features(rows, 8, 2)
    found = kernel_distance(x, y, seed=0)
    assert -100 < found.low <= found.high < 100


def test_kernel_distance_of_subsets_is_torch_fidelitys():
    x, y = features(120, 32, 1).double(), features(150, 32, 2, shift=0.1).double()
    theirs = fidelity_kid.kid_features_to_metric(
        x, y, kid_subsets=5, kid_subset_size=50, rng_seed=2020, verbose=False, kid_kernel="poly"
    )
    ours = kernel_distance_subsets(x, y, subsets=5, size=50)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=CLOSE)
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=CLOSE)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kernel_distance_is_torchmetrics_where_a_subset_is_the_set():
    x, y = features(120, 32, 1).double(), features(120, 32, 2, shift=0.1).double()
    metric = KernelInceptionDistance(torch.nn.Identity(), subsets=2, subset_size=120)
    metric.update(x, real=False)
    metric.update(y, real=True)
    theirs = float(metric.compute()[0])
    assert kernel_distance(x, y, seed=0).value == pytest.approx(theirs, rel=CLOSE)
    assert kernel_distance_subsets(x, y, subsets=2, size=120).mean == pytest.approx(theirs)


# bad input ----------------------------------------------------------------------------------------

ROWS = features(20, 8, 1)
BAD = ROWS.clone()
BAD[13, 5] = float("nan")


@pytest.mark.parametrize(
    ("work", "error", "text"),
    [
        (
            lambda: Moments.of(BAD, block=4),
            NumericError,
            r"row 13 are not finite \(nan in column 5",
        ),
        (lambda: frechet_rows(ROWS, BAD, block=4), NumericError, "row 13"),
        (lambda: inception_score(BAD, Shuffled(2), block=4), NumericError, "row 13"),
        (lambda: kernel_distance(ROWS, BAD / 0, seed=0), NumericError, "row 0"),
        (
            lambda: Moments.of(ROWS[:1]).covariance,
            DataError,
            "1 rows of features; expected at leas",
        ),
        (lambda: frechet(Moments.of(ROWS[:1]), Moments.of(ROWS)), DataError, "at least 2"),
        (lambda: frechet_rows(ROWS, ROWS[:1]), DataError, "at least 2"),
        (lambda: kernel_distance(ROWS[:1], ROWS, seed=0), DataError, "samples: 1 rows"),
        (
            lambda: kernel_distance_subsets(ROWS, ROWS, size=21),
            DataError,
            "20 rows for subsets of 21",
        ),
        (lambda: inception_score(ROWS[:0]), DataError, "no images"),
        (lambda: inception_score(ROWS[:9], Shuffled()), DataError, "9 images for 10 parts"),
        (lambda: frechet(Moments.of(ROWS), Moments.of(ROWS[:, :5])), DataError, "8 and of 5"),
        (lambda: frechet_rows(ROWS, ROWS[:, :5]), DataError, "8 and of 5"),
        (lambda: kernel_distance(ROWS, ROWS[:, :5], seed=0), DataError, "8 and of 5"),
    ],
)
def test_bad_features_are_one_line(work, error, text):
    with pytest.raises(error, match=text) as raised:
        work()
    assert "\n" not in str(raised.value)
