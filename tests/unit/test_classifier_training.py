"""Training a classifier by the common loop: what it costs, what is logged, what comes out."""

import json
import math

import pytest
import torch
from torch import nn

from mezzotint import classifier, config
from mezzotint.data.loader import Batch
from mezzotint.errors import ConfigError
from mezzotint.tokenizers.base import Pixels
from mezzotint.training.augment import Mirrored
from mezzotint.training.objectives import Classifying
from tests.tiny import CLASSIFIER, finish, resolved, tiny


def batch(count: int = 6) -> Batch:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 8, 8), generator=draws, dtype=torch.uint8)
    return Batch(images, torch.arange(count) % 3, range(count))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_smoothed_cross_entropy(smoothing):
    read, shown = network(), batch()
    loss = Classifying(read, Pixels(size=8), 3, smoothing=smoothing)(shown)
    log_p = read(shown.images.float() / 127.5 - 1).log_softmax(1)
    wanted = (1 - smoothing) * torch.eye(3)[shown.y] + smoothing / 3
    torch.testing.assert_close(loss.each, -(wanted * log_p).sum(1))
    torch.testing.assert_close(loss.total, loss.each.mean())
    assert loss.total.requires_grad
    assert torch.equal(loss.group, shown.y)


def test_the_loss_of_an_image_depends_on_its_own_seed():
    objective = Classifying(network(), Pixels(size=8), 3, (Mirrored(),))
    whole = batch()
    together = objective(whole).each
    plain = Classifying(network(), Pixels(size=8), 3)(whole).each
    assert 0 < int((together != plain).sum()) < len(whole)
    for row in range(len(whole)):
        one = slice(row, row + 1)
        alone = objective(Batch(whole.images[one], whole.y[one], whole.seeds[one])).each
        torch.testing.assert_close(alone[0], together[row])


def test_a_run_makes_a_classifier_and_says_how_good_it_is(tmp_path):
    run = finish(tiny(tmp_path, tree=CLASSIFIER))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 5, 6, 9, 10, 12]
    assert len(lines[0]["loss_by_class"]) == 10
    shown = {"held_out", "held_out_accuracy", "held_out_mean_accuracy", "held_out_by_class"}
    assert shown <= lines[1].keys()
    assert lines[-1]["held_out"] < math.log(10) * 1.5
    assert not (tmp_path / "samples").exists()
    made = classifier.load(tmp_path)
    images = run.held_out.read(torch.arange(5))
    assert torch.equal(made(images), run.product()(images))
    average = run.ema.averages[0.9]["head.weight"]
    assert torch.equal(made.network.head.weight, average)
    assert "classifier.load" in (tmp_path / "README.md").read_text()
    assert "sampling" not in json.loads((tmp_path / "config.json").read_text())


def test_a_classifier_learns(tmp_path):
    settings = ("train.steps=80", "train.batch=32", "train.lr=1e-2", "train.augmentations=[]")
    watched = ("train.validate_every=80", "train.validate_images=100")
    run = tiny(tmp_path, *settings, *watched, tree=CLASSIFIER)
    for _ in run.steps():
        pass
    found = run.averaged.held_out(run.held_out)
    assert found["held_out_mean_accuracy"] > 0.6
    assert run.averaged.held_out(run.held_out) == found


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("train.drop=0.1", "train.drop: unknown key"),
        ("train.sample_every=5", "train.sample_every: unknown key"),
        ("sampling.steps=5", "sampling: unknown key"),
        ("train.smoothing=1", "train.smoothing: "),
        ("train.augmentations=[mirored]", "unknown augmentation 'mirored'; did you mean mirrored?"),
        ("model.network={kind: dit, width: 16, depth: 1, heads: 2, patch: 4}", "model.network: "),
        ("model.mirrored=perhaps", "model.mirrored: expected true or false, got 'perhaps'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(setting, complaint):
    with pytest.raises(ConfigError) as caught:
        resolved(setting, tree=CLASSIFIER)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_of_another_kind_in_the_same_folder_is_refused(tmp_path):
    finish(tiny(tmp_path, "train.steps=1", tree=CLASSIFIER))
    with pytest.raises(ConfigError, match="holds a run of another recipe"):
        tiny(tmp_path).open()


def test_settings_of_comfort_are_not_differences():
    recipe = resolved(tree=CLASSIFIER)
    assert resolved("train.validate_every=3", tree=CLASSIFIER).changes(config.dump(recipe)) == []
    changed = resolved("train.smoothing=0.2", "model.mirrored=false", tree=CLASSIFIER)
    assert changed.changes(config.dump(recipe)) == ["model.mirrored", "train.smoothing"]


def test_a_classifier_starts_from_another_by_the_names_of_its_classes(tmp_path):
    first = finish(tiny(tmp_path / "first", tree=CLASSIFIER))
    second = tiny(tmp_path / "second", tree=CLASSIFIER, init_from=tmp_path / "first")
    second.open()
    assert torch.equal(second.network.head.weight, first.ema.averages[0.9]["head.weight"])
    assert any("classes known by name" in line for line in second.inherited)
    assert not any("null" in line for line in second.inherited)
