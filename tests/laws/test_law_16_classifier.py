"""Law 16: the diffusion classifier on Gaussian classes agrees with Bayes."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.classify import DiffusionClassifier
from mezzotint.classify.contest import Independent, Paired
from mezzotint.classify.measures import Absolute, Bound, Squared, Total, clean, velocity
from mezzotint.classify.schedules import Exhaustive, Nested, Official, Race
from mezzotint.classify.times import Even
from mezzotint.diffusion.estimate import Estimate
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.paths import DiscreteVP, Linear, Path
from mezzotint.noise import SeededNoise
from tests.laws.models import PATHS

CLASSES, SIZE = 3, (1, 4, 4)
DEVIATION = 0.5


@dataclass(frozen=True)
class GaussianClasses:
    """The best denoiser of classes N(mean_k, s^2), in closed form; class K is their middle."""

    path: Path
    means: Tensor

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        alpha, sigma, _, _ = self.path.at(t, x)
        variance = alpha**2 * DEVIATION**2 + sigma**2
        gap = (x - alpha * self.means[y]) / variance
        return Estimate(self.means[y] + alpha * DEVIATION**2 * gap, sigma * gap)


def means(apart: float = 0.6) -> Tensor:
    drawn = SeededNoise(range(CLASSES))(torch.empty(CLASSES, *SIZE)) * apart
    return torch.cat([drawn, drawn.mean(0, keepdim=True)])


def images(each: int, apart: float = 0.6) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, the classes they are of, and log p(x | c)."""
    y, middles = torch.arange(CLASSES).repeat_interleave(each), means(apart)
    x = middles[y] + DEVIATION * SeededNoise(range(100, 100 + len(y)))(torch.empty(len(y), *SIZE))
    squares = ((x[:, None] - middles[None, :CLASSES]) ** 2).flatten(2).sum(2)
    return x, y, -squares / (2 * DEVIATION**2)


def classifier(made: GaussianClasses, schedule: Any, **settings: Any) -> DiffusionClassifier:
    return DiffusionClassifier(made, schedule=schedule, batch=4096, **settings)


def agreement(classifier: DiffusionClassifier, each: int = 25) -> float:
    """Return how often a classifier and Bayes' rule say the same."""
    x, _, likelihood = images(each)
    named = torch.from_numpy(classifier.fit(None, range(CLASSES)).predict(x))
    return float((named == likelihood.argmax(1)).double().mean())


@pytest.mark.parametrize("path", PATHS)
def test_a_classifier_on_any_path_agrees_with_bayes(path):
    made = GaussianClasses(PATHS[path], means())
    measure = Squared(velocity) if path == "sit-linear" else Squared()
    assert agreement(classifier(made, Exhaustive(Even(100)), measure=measure)) >= 0.97


@pytest.mark.parametrize(
    "schedule",
    [Race(Even(100)), Official((20, 100), (2, 1)), Nested((20, 100), (2, 1))],
    ids=["race", "official", "nested"],
)
def test_dropping_candidates_agrees_too(schedule):
    made = GaussianClasses(DiscreteVP(), means())
    assert agreement(classifier(made, schedule)) >= 0.97


@pytest.mark.parametrize(
    "measure",
    [Absolute(), Bound(), Total((Squared(), Bound())), Squared(clean)],
    ids=["l1", "vb", "l2+vb", "x0"],
)
def test_every_measure_agrees(measure):
    made = GaussianClasses(DiscreteVP(), means())
    assert agreement(classifier(made, Exhaustive(Even(100)), measure=measure)) >= 0.97


def test_a_denoiser_around_a_denoiser_is_a_denoiser():
    made = GaussianClasses(Linear(), means())
    plain = DiffusionClassifier(made).fit(None, range(CLASSES))
    guided = DiffusionClassifier(ClassifierFree(made, 1.0, null=CLASSES)).fit(None, range(CLASSES))
    x, _, _ = images(10)
    assert plain.evidence(x).errors.nan_to_num().equal(guided.evidence(x).errors.nan_to_num())


def test_pairing_is_what_makes_few_evaluations_enough():
    made = GaussianClasses(DiscreteVP(), means(0.25))
    x, _, likelihood = images(60, 0.25)
    agreed = {}
    for draws in (Paired(), Independent()):
        found = classifier(made, Exhaustive(Even(10)), draws=draws).fit(None, range(CLASSES))
        named = torch.from_numpy(found.predict(x))
        agreed[type(draws)] = float((named == likelihood.argmax(1)).double().mean())
    assert agreed[Paired] > agreed[Independent] + 0.1


def test_the_likelihood_is_found_up_to_a_constant():
    """Differences of the weighted errors are the differences of log p(x | c).

    For Gaussian classes E|eps - eps_c|^2 - E|eps - eps_k|^2 at a time is

        (sigma alpha / v)^2 (|x0 - m_c|^2 - |x0 - m_k|^2),    v = alpha^2 s^2 + sigma^2
    """
    made = GaussianClasses(DiscreteVP(), means())
    x, _, likelihood = images(8)
    made_of = classifier(made, Exhaustive(Even(200)))
    evidence = made_of.fit(None, range(CLASSES)).evidence(x)
    alpha, sigma, _, _ = made.path.scales(evidence.plan.t)
    gain = (sigma * alpha / (alpha**2 * DEVIATION**2 + sigma**2)) ** 2
    expected = likelihood * (2 * DEVIATION**2) * float(gain.mean()) / math.prod(SIZE)
    found = -evidence.means()
    apart = [values[:, :1] - values for values in (found, expected)]
    spread = evidence.gaps()[1].max()
    assert (apart[0] - apart[1]).abs().max() < 5 * spread
    assert torch.corrcoef(torch.stack([each.flatten() for each in apart]))[0, 1] > 0.995
