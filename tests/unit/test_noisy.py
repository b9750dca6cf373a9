"""Noise-aware classifiers: what is trained, what comes out, and what steers."""

import math

import pytest
import torch

from mezzotint import classifier, config, noisy
from mezzotint.data.loader import Batch
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.noisy import NoisyClassifierConfig, Untimed
from mezzotint.training.noisy import TimesBetween
from tests.tiny import ALONE, CLASSIFIER, finish, resolved, tiny

TREE = {
    "model": {
        "kind": "noisy-classifier",
        "network": {"kind": "adm-classifier", "width": 32, "multipliers": [1], "blocks": 1},
        "path": {"kind": "discrete-vp", "steps": 100},
    },
    "data": CLASSIFIER["data"],
    "train": {**CLASSIFIER["train"], "steps": 3, "validate_every": 2, "validate_images": 8},
}


def test_a_run_makes_a_critic_that_is_loaded_back(tmp_path):
    run = finish(tiny(tmp_path / "run", tree=TREE))
    assert math.isfinite(run.state.loss)
    found = noisy.load(tmp_path / "run")
    assert found.classes == run.images.classes
    x, t = torch.randn(3, 3, 8, 8), torch.tensor([0.01, 0.5, 1.0], dtype=torch.float64)
    y = torch.tensor([0, 9, 4])
    wanted = found.logits(x, t).log_softmax(1)[torch.arange(3), y]
    assert torch.allclose(found.critic()(x, t, y), wanted)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8")
    assert '"held_out_accuracy_by_level": [' in lines
    assert found.cost()["parameters"] == sum(p.numel() for p in run.network.parameters())
    with pytest.raises(CheckpointError, match="a noisy-classifier model, but a classifier"):
        classifier.load(tmp_path / "run")


def test_the_objective_noises_each_image_by_its_own_seed():
    recipe = resolved(tree=TREE)
    network = recipe.model.network.build()
    objective = recipe.objective(network, ALONE.device)
    images = recipe.data.train()
    rows = torch.arange(4)
    batch = Batch(images.read(rows), images.labels[rows], [5, 6, 7, 8])
    whole, half = objective(batch), objective(Batch(batch.images[2:], batch.y[2:], [7, 8]))
    assert torch.allclose(whole.each[2:], half.each, atol=1e-5)
    assert torch.equal(whole.group[2:], half.group)


def test_a_range_of_times_is_kept():
    times = TimesBetween(0.2, 0.4)(torch.tensor([0.0, 0.5, 1 - 1e-12], dtype=torch.float64))
    assert times.tolist() == pytest.approx([0.4, 0.3, 0.2])
    assert float(times.min()) > 0.2


def test_a_network_that_reads_no_time_is_trained_all_the_same(tmp_path):
    network = {"kind": "residual", "widths": [8], "blocks": 1, "stride": 1}
    tree = {**TREE, "model": {**TREE["model"], "network": network}}
    run = finish(tiny(tmp_path / "run", tree=tree))
    reader = run.recipe.model.reader(run.network)
    assert isinstance(reader, Untimed)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(reader(x, torch.zeros(2)), reader(x, torch.ones(2)))


def test_any_network_of_timm_is_a_classifier(tmp_path):
    pytest.importorskip("timm")
    network = {"kind": "timm", "name": "resnet10t", "resize": 32}
    tree = {**CLASSIFIER, "model": {"kind": "classifier", "network": network}}
    tree["train"] = {**CLASSIFIER["train"], "steps": 1, "validate_images": 2}
    run = finish(tiny(tmp_path / "run", tree=tree))
    found = classifier.load(tmp_path / "run")
    images = run.images.read(torch.arange(2))
    assert found(images).shape == (2, 10)
    with pytest.raises(ConfigError, match="timm has no network 'resnet10x'; did you mean"):
        config.load(
            "network",
            {"kind": "timm", "name": "resnet10x", "channels": 3, "size": [8, 8], "num_classes": 2},
        ).build()


def test_a_generator_s_network_names_no_class():
    shape = {"channels": 3, "size": [4, 4], "num_classes": 2}
    wrong = {"kind": "dit", "width": 16, "depth": 1, "heads": 2, "patch": 2, **shape}
    with pytest.raises(ConfigError):
        config.build(NoisyClassifierConfig, {"network": wrong})
