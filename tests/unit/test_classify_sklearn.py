"""The Diffusion Classifier as scikit-learn sees it; every check that does not apply says why."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from mezzotint.classify import DiffusionClassifier
from mezzotint.classify.labelling import ByRank
from mezzotint.classify.schedules import Exhaustive
from mezzotint.classify.times import Even
from mezzotint.diffusion.paths import Linear
from mezzotint.errors import ConfigError, DataError
from tests.unit.test_classify import Toy, fitted, latents

DO_NOT_APPLY = {
    "check_classifiers_train": "wants 83 % on data of its own, but nothing is trained here: the "
    "denoiser was, on other data",
    "check_supervised_y_2d": "wants scikit-learn's own warning for a column of labels, which is "
    "read without one: scikit-learn is not imported here",
    "check_parameters_default_constructible": "wants defaults of plain types, but ours are parts: "
    "frozen dataclasses, which no call can change",
}


def test_scikit_learns_checks_pass():
    estimator = DiffusionClassifier(
        Toy(Linear()), labelling=ByRank(), schedule=Exhaustive(Even(2)), batch=8192
    )
    with warnings.catch_warnings():
        # It follows the rules without inheriting them, and pandas need not be installed.
        warnings.simplefilter("ignore")
        found = check_estimator(estimator, on_fail=None, expected_failed_checks=DO_NOT_APPLY)
    failed = {each["check_name"]: each["exception"] for each in found if each["status"] == "failed"}
    assert not failed
    assert sum(each["status"] == "passed" for each in found) >= 45
    excused = {each["check_name"] for each in found if each["status"] == "xfail"}
    assert excused == set(DO_NOT_APPLY)


def test_it_works_inside_of_scikit_learn():
    x, y = latents(30, apart=0.6)
    flat = x.flatten(1).numpy()
    classifier = DiffusionClassifier(Toy(), schedule=Exhaustive(Even(10)), batch=8192)
    assert cross_val_score(classifier, flat, y.numpy(), cv=3).mean() > 0.8
    piped = make_pipeline(FunctionTransformer(lambda each: each / 2), classifier)
    assert piped.fit(2 * flat, y.numpy()).score(2 * flat, y.numpy()) > 0.8


def test_parameters_are_what_was_given():
    toy = Toy()
    classifier = DiffusionClassifier(toy, batch=7)
    assert classifier.get_params()["batch"] == 7
    assert classifier.set_params(batch=9).batch == 9
    with pytest.raises(ConfigError, match="Invalid parameter 'bath'"):
        classifier.set_params(bath=9)
    copy = clone(classifier.fit(None, [0, 1]))
    assert copy.denoiser is toy  # a network is not copied
    assert not hasattr(copy, "classes_")
    assert repr(copy).startswith("DiffusionClassifier(batch=9, denoiser=")


def test_before_it_is_fitted_it_says_so():
    for method in ("predict", "predict_proba", "decision_function", "evidence"):
        with pytest.raises(NotFittedError, match="call fit"):
            getattr(DiffusionClassifier(Toy()), method)(np.zeros((1, 4)))


def test_two_classes_have_one_decision():
    x, _ = latents(4)
    classifier = DiffusionClassifier(Toy(), schedule=Exhaustive(Even(8)), batch=8192)
    classifier.fit(None, [0, 2])
    decisions, p = classifier.decision_function(x), classifier.predict_proba(x)
    assert decisions.shape == (4,)
    assert np.allclose(1 / (1 + np.exp(-decisions)), p[:, 1])
    assert np.array_equal(classifier.predict(x) == 2, decisions > 0)


def test_all_answers_agree():
    x, y = latents(12)
    classifier = fitted()
    found = classifier.evidence(x)
    p = classifier.predict_proba(found)
    assert np.array_equal(p.argmax(1), classifier.predict(found))
    assert np.array_equal(found.owner[found.winners()].numpy(), classifier.predict(found))
    assert np.allclose(p.sum(1), 1)
    assert np.allclose(np.log(p), classifier.predict_log_proba(found))
    assert classifier.score(found, y) == np.mean(p.argmax(1) == y.numpy())


X, Y = latents(6)
BAD = [
    (lambda c: c.fit(None, [3]), "only one class was given, 3"),
    (lambda c: c.fit(None, []), "expected one label an image, at least one"),
    (lambda c: c.fit(None, None), "requires y to be passed"),
    (lambda c: c.fit(None, [0.5, 1.0]), "Unknown label type"),
    (lambda c: c.fit(X, Y[:5]), "6 images and 5 labels"),
    (lambda c: c.predict(X[:0]), "minimum of 1 is required"),
    (lambda c: c.predict(X * torch.nan), "contains NaN"),
    (lambda c: c.predict(torch.zeros(4)), "Reshape your data"),
    (lambda c: c.predict(X.numpy() * 1j), "Complex data not supported"),
    (lambda c: c.calibrate(X, [0, 1, 2, 3, 4, 5]), "label 3 is not among the classes"),
    (lambda c: c.calibrate(X[:1], [0]), "at least two, better hundreds"),
    (lambda c: c.calibrate(X, [0]), "6 images and 1 labels"),
    (lambda c: c.score(X, [0]), "6 images and 1 labels"),
]


@pytest.mark.parametrize(("act", "said"), BAD)
def test_bad_input_gets_one_clear_line(act, said):
    with pytest.raises(DataError, match=said) as caught:
        act(fitted())
    assert "\n" not in str(caught.value)
