"""Diffusion Classifier: times, schedules, the race, scores, probabilities and their fit."""

import math

import numpy as np
import pytest
import torch

from mezzotint.classify import DiffusionClassifier
from mezzotint.classify.contest import Contest, Independent, Paired, Recorded
from mezzotint.classify.evidence import Evidence
from mezzotint.classify.inputs import device_of
from mezzotint.classify.labelling import ByName, ByNumber, ByRank, Candidates, Prompts
from mezzotint.classify.learn import learned
from mezzotint.classify.measures import Absolute, Bound, Huber, Squared, Total, clean, velocity
from mezzotint.classify.posterior import Calibration, Fitted, log_priors, temperature
from mezzotint.classify.schedules import Exhaustive, Nested, Official, Plan, Race
from mezzotint.classify.student import quantile, within
from mezzotint.classify.times import STEPS, Even, Listed, Quantiles, Strided, even, spread_order
from mezzotint.classify.uses import Labelled, strangeness
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.paths import DiscreteVP, Linear
from mezzotint.diffusion.predictions import Truth, bound
from mezzotint.diffusion.times import LogitNormalTimes, UniformTimes
from mezzotint.errors import ConfigError, DataError
from mezzotint.noise import SeededNoise

CHAIN = DiscreteVP()


class Toy:
    """Classes N(0.3 (k - 1), 1/4) in every element, in closed form."""

    def __init__(self, path=None) -> None:
        self.path = path or DiscreteVP()

    def __call__(self, x, t, y) -> Estimate:
        alpha, sigma, _, _ = self.path.at(t, x)
        mean = (y.to(x) - 1).view(-1, *(1,) * (x.dim() - 1)) * 0.3
        gap = (x - alpha * mean) / (alpha**2 / 4 + sigma**2)
        return Estimate(mean + alpha * gap / 4, sigma * gap)


class Counting(Toy):
    """The same; remembers how many rows it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def __call__(self, x, t, y) -> Estimate:
        self.rows.append(len(x))
        return super().__call__(x, t, y)


def latents(count: int, apart: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(count) % 3
    x = SeededNoise(range(count))(torch.empty(count, 1, 4, 4)) / 2
    return x + ((y - 1) * apart).view(-1, 1, 1, 1), y


def fitted(**settings) -> DiffusionClassifier:
    return DiffusionClassifier(Toy(), batch=4096, **settings).fit(None, range(3))


def indices(times, path=CHAIN) -> list[int]:
    return ((times(path) * path.steps).round().long() - 1).tolist()


# times -------------------------------------------------------------------------------------------


def test_even_times_are_the_published_ones_where_they_divide_the_chain():
    assert indices(Even(250, spread=False)) == list(range(2, 1000, 4))
    assert indices(Even(500, spread=False)) == list(range(1, 1000, 2))
    assert indices(Even(1000, spread=False)) == list(range(1000))
    assert indices(Even(40, spread=False))[:3] == [12, 37, 62]


def test_strided_times_are_the_releases():
    assert indices(Strided(4)) == indices(Even(250, spread=False))
    assert indices(Strided(30)) == list(range(15, 1000, 30))
    assert indices(Strided(10, 100), DiscreteVP(steps=100)) == list(range(5, 100, 10))


def test_even_times_that_do_not_divide_the_chain_still_cover_it():
    found = even(300)
    assert int(found[0]) == 1
    assert int(found[-1]) == 998
    assert len(found.unique()) == 300


@pytest.mark.parametrize("count", [1, 2, 7, 64, 100, 250])
def test_every_beginning_of_the_spread_order_covers_the_range(count):
    order = spread_order(count)
    assert sorted(order.tolist()) == list(range(count))
    for n in (4, 16):
        if n <= count:
            gaps = torch.cat([torch.tensor([0]), order[:n].sort().values, torch.tensor([count])])
            assert int(gaps.diff().max()) <= 2 * math.ceil(count / n) + 1


def test_another_chain_takes_its_nearest_steps():
    short = DiscreteVP(steps=100)
    t = Even(50)(short)
    assert torch.equal((t * 100).round() / 100, t)


def test_quantiles_are_those_of_training():
    t = Quantiles(LogitNormalTimes(0.8, 0.8), 1001)(Linear()).sort().values
    assert float(torch.logit(t[500])) == pytest.approx(0.8)
    assert float(torch.logit(t[841])) == pytest.approx(1.6, abs=0.02)  # one deviation up
    uniform = Quantiles(UniformTimes(), 4)(Linear()).sort().values
    assert uniform.tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Even(0), "0 evaluations a class; expected 1 to 1000"),
        (lambda: Even(1001), "more of them trials"),
        (lambda: Strided(0), "an interval of 0 in 1000 steps"),
        (lambda: Listed(()), "numbers in (0, 1]"),
        (lambda: Listed((0.0,)), "numbers in (0, 1]"),
        (lambda: Listed((0.5,), (1.0, 2.0)), "2 weights for 1 times"),
        (lambda: Official((5, 20), (2,)), "2 numbers of samples and 1 of"),
        (lambda: Official((20, 5), (2, 1)), "expected rising numbers"),
        (lambda: Official((5, 20), (2, 2)), "that end in 1"),
        (lambda: Official((1, 2, 3, 4), (4, 3, 2, 1)).plan(CHAIN), "the stage of 4 adds no time"),
        (lambda: Race(error=0.0), "expected a probability"),
        (lambda: Race(start=2), "start 2"),
        (lambda: Exhaustive(trials=0).plan(CHAIN), "trials: 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, said):
    with pytest.raises(ConfigError, match=said.replace("(", r"\(").replace("]", r"\]")):
        make()


# schedules ---------------------------------------------------------------------------------------

TABLE = [  # diffusion_classifier.md, 2.3: classes, keep, samples, really accumulated, forwards
    (101, (20, 10, 5, 1), (20, 50, 100, 500), (20, 70, 150, 500), 5570),
    (10, (5, 1), (50, 500), (50, 500), 2750),
    (37, (5, 1), (25, 250), (25, 250), 2050),
    (102, (20, 10, 5, 1), (20, 50, 100, 500), (20, 70, 150, 500), 5590),
    (1000, (500, 50, 10, 1), (50, 100, 500, 1000), (50, 150, 550, 1000), 124500),
    (113, (25, 10, 5, 1), (50, 100, 500, 1000), (50, 150, 550, 1000), 14400),
]


@pytest.mark.parametrize(("classes", "keep", "samples", "ends", "forwards"), TABLE)
def test_the_releases_stages_cost_what_its_code_costs(classes, keep, samples, ends, forwards):
    plan = Official(samples, keep).plan(CHAIN)
    assert plan.ends == ends
    alive = (classes, *keep[:-1])
    assert sum(k * (b - a) for k, (a, b) in zip(alive, plan.rounds, strict=True)) == forwards


def test_the_releases_grid_leaves_the_noisy_end_out_where_it_does_not_divide():
    plan = Official((300,), (1,)).plan(CHAIN)
    assert int((plan.t.max() * STEPS).round()) - 1 == 898


def test_nested_stages_are_what_they_say():
    plan = Nested((5, 10, 50), (6, 3, 1), trials=2).plan(CHAIN)
    assert plan.ends == (10, 20, 100)
    assert plan.t[::2].unique().numel() == 50


def test_stages_refuse_to_keep_more_than_there_are():
    with pytest.raises(ConfigError, match="keep 5 of 3 candidates"):
        fitted(schedule=Official((5, 20), (5, 1))).predict(latents(1)[0])


def test_students_quantiles():
    """Against tables: two-sided 5 % is 12.706, 4.303, 2.571, 2.228, 2.042, 1.984."""
    table = {1: 12.706, 2: 4.303, 5: 2.571, 10: 2.228, 30: 2.042, 100: 1.984}
    for freedom, wanted in table.items():
        assert quantile(0.025, freedom) == pytest.approx(wanted, abs=6e-4)
    assert quantile(0.0005, 3) == pytest.approx(12.924, abs=1e-3)
    assert within(quantile(0.01, 399), 399) == pytest.approx(0.98)
    assert quantile(0.01, 400) == pytest.approx(quantile(0.01, 399), abs=1e-3)


def test_the_race_errs_no_more_often_than_it_says():
    """Differences that are independent normal draws, as the bound supposes; 2,000 races."""
    noise = torch.Generator().manual_seed(0)
    errors = torch.randn(2000, 3, 100, generator=noise, dtype=torch.float64)
    errors += torch.tensor([0.0, 0.15, 0.3])[:, None]
    whole = errors.mean(2).argmin(1)
    for error in (0.3, 0.1):
        race = Race(Even(100), error=error, start=5)
        winners, seen = raced(race, errors)
        assert float((winners != whole).double().mean()) <= error
        assert float(seen.double().mean()) < 0.9 * 300


def raced(race: Race, errors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a race over errors that are all known."""
    plan = race.plan(CHAIN)
    alive = torch.ones(errors.shape[:2], dtype=torch.bool)
    seen = torch.zeros(len(errors), dtype=torch.long)
    for first, end in plan.rounds:
        running = (alive.sum(1) > 1).nonzero()[:, 0]
        seen[running] += alive[running].sum(1) * (end - first)
        alive[running] = race.survivors(errors[running, :, :end], alive[running], plan)
    return alive.double().argmax(1), seen


def test_a_race_ends_early_when_the_winner_is_clear_and_late_when_it_is_not():
    x, _ = latents(30, apart=0.6)
    clear = fitted(schedule=Race(Even(200))).evidence(x)
    close, _ = latents(1)
    even_ = fitted(schedule=Race(Even(200))).evidence(close * 0 + 0.15)  # between two classes
    assert int(clear.forwards.max()) < int(even_.forwards[0])
    assert bool((clear.kept[:, -1].sum(1) == 1).all())


# the contest -------------------------------------------------------------------------------------


def test_a_decision_depends_on_image_and_seed_alone():
    x, _ = latents(7)
    classifier = fitted(schedule=Race(Even(40)))
    whole = classifier.evidence(x)
    alone = [classifier.evidence(x[k : k + 1]) for k in range(7)]
    torch.testing.assert_close(
        whole.errors, torch.cat([each.errors for each in alone]), equal_nan=True
    )
    other = fitted(schedule=Race(Even(40)), draws=Paired(1)).evidence(x)
    assert not torch.equal(whole.errors[:, :, 0], other.errors[:, :, 0])
    again = fitted(schedule=Race(Even(40))).evidence(x)
    assert torch.equal(whole.errors.nan_to_num(), again.errors.nan_to_num())


def test_batches_are_filled_across_images_and_candidates():
    x, _ = latents(10)
    toy = Counting()
    DiffusionClassifier(toy, schedule=Exhaustive(Even(8)), batch=64).fit(None, range(3)).predict(x)
    assert sum(toy.rows) == 10 * 3 * 8
    assert toy.rows.count(64) >= sum(toy.rows) // 64 - 4  # rounds of 1, 1, 2, 4 evaluations


def test_candidates_share_their_noise_unless_they_are_told_not_to():
    where, who = torch.tensor([3, 3]), torch.tensor([0, 1])
    assert Paired().number(where, who).unique().numel() == 1
    assert Independent().number(where, who).unique().numel() == 2
    rows = torch.arange(8.0).view(4, 2)
    assert torch.equal(Recorded(rows)(torch.tensor([2]), torch.empty(1, 2)), rows[2:3])


def test_time_that_is_up_ends_a_contest_after_a_round():
    x, _ = latents(4)
    late = fitted(schedule=Exhaustive(Even(64)), seconds=0.0).evidence(x)
    assert late.seen.unique().tolist() == [1]
    assert len(late.winners()) == 4


def test_huge_contests_are_held_in_turns(monkeypatch):
    monkeypatch.setattr("mezzotint.classify.contest.ERRORS", 3 * 8)
    x, _ = latents(5)
    classifier = fitted(schedule=Exhaustive(Even(8)))
    assert classifier.evidence(x).errors.shape == (5, 3, 8)
    assert not bool(classifier.evidence(x).errors.isnan().any())


# measures ----------------------------------------------------------------------------------------


def truth() -> tuple[Estimate, Truth]:
    x0, eps = SeededNoise([0])(torch.empty(1, 2, 3)), SeededNoise([1])(torch.empty(1, 2, 3))
    t = torch.tensor([0.4], dtype=torch.float64)
    scales = CHAIN.at(t, x0)
    x = scales.alpha * x0 + scales.sigma * eps
    guess = x0 + 0.3
    estimate = Estimate(guess, (x - scales.alpha * guess) / scales.sigma, torch.zeros_like(x))
    return estimate, Truth(x0, eps, x, scales, CHAIN.step(t).like(x0))


def test_measures_in_closed_form():
    estimate, wanted = truth()
    gap = float(0.3 * wanted.scales.alpha / wanted.scales.sigma)
    assert float(Squared()(estimate, wanted)) == pytest.approx(gap**2, rel=1e-4)
    assert float(Absolute()(estimate, wanted)) == pytest.approx(gap, rel=1e-4)
    assert float(Huber()(estimate, wanted)) == pytest.approx(gap**2 / 2, rel=1e-4)
    assert float(Squared(clean)(estimate, wanted)) == pytest.approx(0.09, rel=1e-4)
    assert float(Bound()(estimate, wanted)) == pytest.approx(float(bound(estimate, wanted)))
    both = Total((Squared(), Bound()))(estimate, wanted)
    assert float(both) == pytest.approx(gap**2 + float(bound(estimate, wanted)), rel=1e-4)


def test_a_velocity_error_is_what_a_flow_is_trained_on():
    estimate, wanted = truth()
    scales = Linear().at(torch.tensor([0.4], dtype=torch.float64), wanted.x0)
    x = scales.alpha * wanted.x0 + scales.sigma * wanted.eps
    flow = Truth(wanted.x0, wanted.eps, x, scales)
    eps = (x - scales.alpha * estimate.x0) / scales.sigma
    found = Squared(velocity)(Estimate(estimate.x0, eps), flow)
    assert float(found) == pytest.approx((0.3 / 0.4) ** 2, rel=1e-4)


def test_the_bound_of_a_model_without_a_variance_takes_the_posteriors():
    estimate, wanted = truth()
    plain = Estimate(estimate.x0, estimate.eps)
    assert float(Bound()(plain, wanted)) == pytest.approx(float(Bound()(estimate, wanted)))
    path = DiscreteVP()
    first = torch.tensor([1e-3], dtype=torch.float64)
    step, scales = path.step(first).like(wanted.x0), path.at(first, wanted.x0)
    last = wanted._replace(scales=scales, step=step)
    assert torch.equal(Bound(mix=1.0)(plain, last), Bound()(plain, last))  # none is at beta there
    with pytest.raises(ConfigError, match="needs a discrete chain"):
        Bound().check(Linear())
    with pytest.raises(ConfigError, match="needs a discrete chain"):
        DiffusionClassifier(Toy(Linear()), measure=Total((Squared(), Bound()))).fit(
            None, [0, 1]
        ).predict(torch.zeros(1, 4))


# what follows from errors ------------------------------------------------------------------------


def evidence(errors: list[list[list[float]]], owner: list[int] | None = None) -> Evidence:
    table = torch.tensor(errors)
    n = table.shape[2]
    ones = torch.ones(n, dtype=torch.float64)
    there = ~table.isnan()
    left = there.all(2)[:, None]
    return Evidence(table, left, Plan(ones, ones, (n,)), torch.tensor(owner or [0, 1, 2]), 16)


def test_scores_compare_on_shared_evaluations():
    """The second left after two: it is 1 behind there, although its own mean is the smaller one."""
    nan = math.nan
    found = evidence([[[1.0, 1.0, 9.0, 9.0], [2.0, 2.0, nan, nan], [6.0, 6.0, 14.0, 14.0]]])
    assert found.winners().tolist() == [0]
    assert found.scores()[0].tolist() == [5.0, 6.0, 10.0]
    assert found.forwards.tolist() == [10]


def test_whoever_left_never_beats_the_winner():
    nan = math.nan
    found = evidence([[[3.0, 3.0, 1.0, 1.0], [2.0, 2.0, nan, nan], [9.0, 9.0, nan, nan]]])
    scores = found.scores()[0]
    assert found.winners().tolist() == [0]
    assert scores[1] > scores[0] == 2.0


def test_the_certainty_is_the_gap_in_standard_errors():
    found = evidence([[[1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 9.0], [9.0, 9.0, 9.0, 9.0]]])
    gap = torch.tensor([1.0, 1.0, 1.0, 5.0])
    assert float(found.certainty()) == pytest.approx(float(gap.mean() / gap.std() * 2))
    mean, deviation = found.gaps()
    assert float(deviation[0, 1]) == pytest.approx(float(gap.std() / 2))
    assert float(mean[0, 0]) == float(deviation[0, 0]) == 0


def test_the_best_prompt_speaks_for_its_class():
    found = evidence([[[5.0, 5.0], [1.0, 1.0], [2.0, 2.0]]], owner=[0, 0, 1])
    assert found.by_class(found.scores(), 2).tolist() == [[1.0, 2.0]]


def test_the_posterior_is_that_of_the_paper():
    x, _ = latents(3)
    classifier = fitted(schedule=Exhaustive(Even(20)))
    found = classifier.evidence(x)
    wanted = (-16 * found.means()).softmax(1)
    assert torch.from_numpy(classifier.predict_proba(found)).allclose(wanted)
    classifier.temperature_ = 16.0
    assert torch.from_numpy(classifier.predict_proba(found)).allclose((-found.means()).softmax(1))


def test_priors_weigh():
    x, _ = latents(3)
    classifier = DiffusionClassifier(Toy(), schedule=Exhaustive(Even(5)), batch=4096)
    found = classifier.fit(None, range(3), priors=[1.0, 1.0, 1e9]).predict(x)
    assert found.tolist() == [2, 2, 2]
    assert log_priors((1.0, 3.0), 2).exp().tolist() == pytest.approx([0.25, 0.75])
    for wrong in ([1.0], [1.0, 0.0, 1.0]):
        with pytest.raises(DataError, match="expected one above 0 a class"):
            classifier.fit(None, range(3), priors=wrong)


def test_a_temperature_is_found_again():
    noise = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=noise, dtype=torch.float64) * 2
    y = torch.multinomial(logits.softmax(1), 1, generator=noise)[:, 0]
    assert temperature(logits * 7, y) == pytest.approx(7, rel=0.06)
    fit = Fitted.of(logits * 7, y)
    assert fit.after.nll < fit.before.nll
    assert fit.after.error < 0.03 < fit.before.error


def test_images_that_are_all_named_right_do_not_make_it_infinitely_sure():
    """Two of two right, and one more taken for wrong: p of the label becomes 2/3."""
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    sure = (logits / temperature(logits, torch.tensor([0, 1]))).softmax(1)
    assert float(sure[0, 0]) == pytest.approx(2 / 3, abs=1e-6)


def test_calibration_in_closed_form():
    p = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    found = Calibration.of(p.log(), torch.tensor([0, 1, 0]))
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.nll == pytest.approx(-(math.log(0.8) + math.log(0.2) + math.log(0.6)) / 3)
    assert found.error == pytest.approx((2 * 0.3 + 0.4) / 3)
    assert found.brier == pytest.approx((0.08 + 1.28 + 0.32) / 3)
    assert sum(each.count for each in found.bins) == 3


def test_fitting_on_images_fits_the_temperature():
    x, y = latents(60)
    classifier = DiffusionClassifier(Toy(), schedule=Exhaustive(Even(30)), batch=4096).fit(x, y)
    assert classifier.calibration_ is not None
    assert classifier.temperature_ == classifier.calibration_.temperature != 1
    assert classifier.calibration_.after.nll < classifier.calibration_.before.nll
    assert classifier.score(x, y) > 0.7


# learned times -----------------------------------------------------------------------------------


def test_learned_times_go_where_the_classes_differ():
    """Only t in (0.4, 0.6) tells anything; everywhere else the errors are loud noise."""
    noise = torch.Generator().manual_seed(0)
    t = (torch.arange(40).double() + 0.5) / 40
    y = torch.arange(90) % 3
    inside = (t > 0.4) & (t < 0.6)
    errors = torch.randn(90, 3, 40, generator=noise, dtype=torch.float64)
    errors = torch.where(inside, 0.3 * errors, 3 * errors)
    errors[torch.arange(90), y] -= inside.double()
    plan = Plan(t, torch.ones(40, dtype=torch.float64), (40,))
    kept = torch.ones(90, 1, 3, dtype=torch.bool)
    found = learned(Evidence(errors.float(), kept, plan, torch.arange(3), 1), y, 20)
    values, counts = torch.tensor(found.values), torch.tensor(found.counts)
    near = (values > 0.3) & (values < 0.7)
    assert float(near.double().mean()) > 0.7
    assert float(counts[near].mean()) > 2 * float(counts[~near].mean()) or bool(near.all())


@pytest.mark.parametrize("clear", [1.0, 100.0])
def test_learned_times_are_found_among_errors_of_every_size(clear):
    """A flow model's errors grow a million times towards data; told apart, all are still finite."""
    noise = torch.Generator().manual_seed(0)
    t = (torch.arange(50).double() + 0.5) / 50
    y = torch.arange(60) % 4
    errors = torch.randn(60, 4, 50, generator=noise, dtype=torch.float64)
    errors[torch.arange(60), y] -= clear * (t > 0.5)
    own = 30 * torch.rand(60, 1, 50, generator=noise, dtype=torch.float64)
    loudness = t**-4
    plan = Plan(t, torch.ones(50, dtype=torch.float64), (50,))
    seen = Evidence(
        (errors + own) * loudness, torch.ones(60, 1, 4).bool(), plan, torch.arange(4), 9
    )
    found = learned(seen, y, 30)
    values, counts = torch.tensor(found.values), torch.tensor(found.counts)
    assert float((values > 0.4).double().mean()) > 0.8
    expected = values.double() ** 4
    assert torch.allclose(counts.double() / counts.mean(), expected / expected.mean(), rtol=0.5)


def test_learned_times_need_all_errors():
    x, y = latents(6, apart=0.6)
    raced_ = fitted(schedule=Race(Even(100))).evidence(x)
    with pytest.raises(DataError, match="the race has left gaps"):
        learned(raced_, y, 10)


# labels ------------------------------------------------------------------------------------------


def test_labels_become_conditions():
    classes = np.unique(["dog", "cat"])
    assert ByName(("cow", "cat", "dog"))(classes).conditions.tolist() == [1, 2]
    assert ByNumber(10)(np.array([3, 7])).conditions.tolist() == [3, 7]
    assert ByRank()(classes).conditions.tolist() == [0, 1]
    table = Prompts(torch.eye(3), ("dog", "cat", "dog"))
    found = table(classes)
    assert found.owner.tolist() == [1, 0, 1]
    assert torch.equal(found.conditions, torch.eye(3))


@pytest.mark.parametrize(
    ("labelling", "labels", "said"),
    [
        (ByName(("cat", "dog")), ["cat", "dgo"], "no class 'dgo'; did you mean dog"),
        (ByName(("cat", "dog")), [0, 7], "no class 7"),
        (ByNumber(3), [0, 3], "label 3: expected class numbers 0 to 2"),
        (ByNumber(), ["cat", "dog"], "for names, give"),
        (Prompts(torch.eye(2), ("cat", "dog")), ["cat", "cow"], "no prompt for 'cow'"),
    ],
)
def test_unknown_labels_are_refused(labelling, labels, said):
    with pytest.raises(DataError, match=said):
        DiffusionClassifier(Toy(), labelling=labelling).fit(None, labels)


def test_several_prompts_a_class_compete_one_by_one():
    x, _ = latents(3)
    prompts = Prompts(torch.tensor([0, 1, 2, 2]), ("low", "low", "high", "high"))
    classifier = DiffusionClassifier(Toy(), labelling=prompts, batch=4096)
    found = classifier.fit(None, ["low", "high"]).predict(x.sign() * 0 + torch.tensor([-0.3]))
    assert found.tolist() == ["low"] * 3


def test_candidates_are_as_many_as_their_owners():
    contest = Contest(
        Toy(), Candidates(torch.arange(2), torch.arange(2)), Race(), Squared(), Paired()
    )
    assert len(contest.candidates) == 2
    assert device_of([Toy()]) == torch.device("cpu")
    assert device_of((torch.nn.Linear(1, 1, device="meta"),)) == torch.device("meta")


# uses --------------------------------------------------------------------------------------------


def test_a_wrong_label_is_doubted_and_comes_last():
    x, y = latents(30, apart=0.6)
    wrong = y.clone()
    wrong[3] = 2  # it is a 0
    classifier = fitted(schedule=Exhaustive(Even(60)))
    seen = classifier.evidence(x)
    found = Labelled.of(classifier, seen, wrong)
    assert 3 in found.suspects().tolist()
    assert int(found.suggested[3]) == 0
    assert found.ranking().tolist()[-1] == 3
    assert bool((found.behind >= 0).all())
    right = Labelled.of(classifier, seen, y)
    assert len(right.suspects()) < len(found.suspects())


def test_images_from_elsewhere_are_strange():
    x, _ = latents(40)
    classifier = fitted(schedule=Race(Even(40)))
    reference = classifier.evidence(x[:20])
    usual, odd = (
        strangeness(classifier.evidence(each), reference) for each in (x[20:], 4 * x[20:])
    )
    assert float(odd.mean()) > 0.9
    assert 0.2 < float(usual.mean()) < 0.8
    with pytest.raises(DataError, match="looked at at other times"):
        strangeness(fitted(schedule=Race(Even(50))).evidence(x), reference)
