"""Steering a generator: classes by name, noise schedules, sizes, sections of a recipe."""

from dataclasses import replace

import pytest
import torch

from mezzotint import classifier, config, generator, judges
from mezzotint.autoguiding import autoguided
from mezzotint.diffusion.guidance import Autoguided
from mezzotint.diffusion.paths import Cosine
from mezzotint.diffusion.scales import Constant, Interval
from mezzotint.diffusion.steering import AtEstimate, AtNoisy
from mezzotint.errors import ConfigError
from mezzotint.judges import CleanJudge, judge_of
from mezzotint.steering import Steering, matched, steered


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from tests.tiny import finish, tiny

    folder = tmp_path_factory.mktemp("generator") / "digits"
    finish(tiny(folder, "train.steps=1", "train.validate_images=0"))
    return generator.load(folder)


@pytest.fixture(scope="module")
def guide():
    return judge_of("digits-guide")


def test_scale_0_draws_what_the_generator_draws(model, guide):
    plain = model.sample([3], seeds=[1], steps=3)
    assert torch.equal(steered(model, guide, 0.0).sample([3], seeds=[1], steps=3), plain)
    assert not torch.equal(steered(model, guide, 50.0).sample([3], seeds=[1], steps=3), plain)


def test_an_image_depends_on_its_class_and_seed_alone(model, guide):
    made = steered(model, guide, 5.0)
    whole = made.sample([3, 4], seeds=[1, 2], steps=3)
    alone = made.sample([4], seeds=[2], steps=3)
    assert (whole[3:].int() - alone.int()).abs().max() <= 1


def test_without_classes_the_critic_s_are_drawn(model, guide):
    blind = replace(model, classes=())
    made = steered(blind, guide, 1.0)
    assert made.classes == guide.classes
    assert made.unlabelled == 10
    assert steered(model, guide, 1.0).unlabelled is None
    assert steered(model, guide, 1.0, unlabelled=True).unlabelled == 10
    with pytest.raises(ConfigError, match="no null class, so it cannot be left unlabelled"):
        steered(replace(model, null=None), guide, 1.0, unlabelled=True)


def test_classes_are_matched_by_name():
    assert matched(("b", "a"), ("a", "b", "c")) == (1, 0)
    with pytest.raises(ConfigError, match="no class called d, which the generator draws; it has a"):
        matched(("a", "d"), ("a", "b"))


def test_a_clean_classifier_sees_the_clean_image(guide, model):
    assert isinstance(steered(model, guide, 1.0).look, AtEstimate)
    assert isinstance(steered(model, guide, 1.0, look=AtNoisy()).look, AtNoisy)
    emoji = CleanJudge(classifier.load("emoji-guide"))
    with pytest.raises(ConfigError, match="the critic has no class called"):
        steered(model, emoji, 1.0)
    with pytest.raises(ConfigError, match="judges nothing"):
        judge_of("emoji-dit-tiny")


def test_a_critic_of_another_noise_is_refused(model, guide):
    class Other:
        def __getattr__(self, name):
            return getattr(guide, name)

        path = Cosine()

    with pytest.raises(ConfigError, match="was trained on the noise of Cosine"):
        steered(model, Other(), 1.0)


def test_images_are_resized_for_the_critic():
    made = generator.load("emoji-dit-tiny")
    judge = judges.judge_of("digits-guide")
    named = replace(made, classes=judge.classes)
    images = steered(named, judge, 1.0).sample([0], seeds=[0], steps=2)
    assert images.shape == (1, 3, 32, 32)


def test_a_weaker_model_pushes_away(model):
    plain = model.sample([3], seeds=[1], steps=2, guidance=1.0)
    same = autoguided(model, model, 3.0).sample([3], seeds=[1], steps=2, guidance=1.0)
    assert (same.int() - plain.int()).abs().max() <= 1
    both = autoguided(model, model, 3.0).sample([3], seeds=[1], steps=2, guidance=2.0)
    free = model.sample([3], seeds=[1], steps=2, guidance=2.0)
    assert (both.int() - free.int()).abs().max() <= 1
    with pytest.raises(ConfigError, match="expected a model of the same classes"):
        autoguided(model, replace(model, classes=model.classes[::-1]), 2.0)
    off = autoguided(model, model, 2.0).with_sampling(guidance=Interval(1.0, 0.2, 0.4))
    assert isinstance(off.guided, Autoguided)
    odd = autoguided(model, model, 2.0).with_sampling(guidance=2.0)
    odd = replace(odd, sampling=odd.sampling.model_copy(update={"channels": 1}))
    with pytest.raises(ConfigError, match="all channels and plain"):
        _ = odd.guided


def test_a_section_is_read():
    found = config.build(Steering, {"critic": "x", "scale": 3, "sees": "x_t"})
    assert found.scale == Constant(3.0)
    assert isinstance(found.sees, AtNoisy)
    gate = {"kind": "interval", "scale": 2.0, "high": 0.8, "outside": 0.0}
    assert config.build(Steering, {"critic": "x", "scale": gate}).scale == Interval(2.0, 0, 0.8, 0)
    for tree, said in (
        ({"critic": "x", "sees": "x1"}, "expected x_t or x0"),
        ({"critic": "x", "weaker": "y"}, "one of the two at a time"),
        ({"unlabelled": True}, "need a critic"),
        ({"critics": "x"}, "did you mean critic"),
    ):
        with pytest.raises(ConfigError, match=said):
            config.build(Steering, tree)
