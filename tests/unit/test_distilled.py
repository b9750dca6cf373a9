"""Distillation in a run: the terms, who may teach, what a run tells of its teacher."""

import json
import shutil

import pytest
import torch

from mezzotint import config, load, recipe
from mezzotint.data.loader import Batch
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.noise import SeededNoise
from mezzotint.training.distillation import distilled, noise_term
from mezzotint.training.distilled import Distilled, mean_of
from tests.laws.models import PREDICTIONS
from tests.laws.test_law_11_resume import everything
from tests.tiny import ALONE, TREE, finish, resolved, tiny

LIT = {"kind": "lit", "width": 16, "depth": 2, "heads": 2, "patch": 4}
STUDENT = {**TREE, "model": {**TREE["model"], "network": LIT}}
LEARNED = (
    "model.prediction=learned-range",
    "model.path=discrete-vp",
    "model.network.outputs=2",
    "sampling.sampler=ancestral",
    "sampling.grid=respaced",
)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A teacher that predicts x0, and one with a learned variance; the first is the larger."""
    home = tmp_path_factory.mktemp("teachers")
    wide = ("model.network.width=32", "train.steps=3")
    return {
        "x0": str(finish(tiny(home / "x0", *wide)).folder),
        "learned": str(finish(tiny(home / "learned", *LEARNED, "train.steps=3")).folder),
    }


def taught(source, *settings):
    return f"train.teacher={{source: {source}}}", *settings


def moved(network):
    torch.manual_seed(3)
    for parameter in network.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def shown(images):
    rows = torch.arange(4)
    batch = Batch(images.read(rows), images.labels[rows], list(range(4)))
    return batch, torch.tensor([0.1, 0.4, 0.7, 1.0]).double(), batch.y


class Told:
    """A network that keeps what it is asked and answered."""

    def __init__(self, network):
        self.network, self.asked = network, []

    def __call__(self, *given):
        out = self.network(*given)
        self.asked.append((given, out))
        return out


def test_the_published_case_is_exact_at_the_same_input(teachers):
    made = resolved(*taught(teachers["learned"]), *LEARNED, tree=STUDENT)
    network = moved(made.model.network.build())
    objective = made.objective(network, ALONE.device)
    assert isinstance(objective, Distilled)
    batch, t, y = shown(made.data.held_out())
    own, guide = objective.denoiser, objective.teacher
    ears = Told(own.network), Told(guide.network)
    del own.network, guide.network
    object.__setattr__(own, "network", ears[0])
    object.__setattr__(guide, "network", ears[1])
    object.__setattr__(own, "parameters", network.parameters)
    loss = objective.at(batch, t, y, SeededNoise(batch.seeds))
    (ours, out), (theirs, answer) = ears[0].asked[0], ears[1].asked[0]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    plain = made.denoising(network, ALONE.device).at(batch, t, y, SeededNoise(batch.seeds))
    expected = distilled(plain.each, out, answer, 3)
    torch.testing.assert_close(loss.each, expected.detach())
    assert (expected > plain.each).all()
    loss.total.backward()
    assert not answer.requires_grad
    assert all(p.grad is None for p in objective.teacher.parameters())


@pytest.mark.parametrize("name", PREDICTIONS)
def test_only_the_mean_is_read_for_the_noise_term(name):
    inner = mean_of(PREDICTIONS[name])
    assert not hasattr(inner, "mean")
    assert not hasattr(inner, "inner")


def test_for_noise_the_term_is_the_squared_difference(tmp_path):
    eps = ("model.prediction=eps",)
    source = finish(tiny(tmp_path / "eps", *eps, "train.steps=1")).folder
    made = resolved(*taught(source), *eps, tree=STUDENT)
    network = moved(made.model.network.build())
    objective = made.objective(network, ALONE.device)
    batch, t, y = shown(made.data.held_out())
    noise = SeededNoise(batch.seeds)
    loss = objective.at(batch, t * 0.9, y, noise).each
    plain = made.denoising(network, ALONE.device)
    again = SeededNoise(batch.seeds)
    x0 = plain.tokenizer.latents(plain.tokenizer.encode(batch.images), again)
    scales = plain.denoiser.path.at(t * 0.9, x0)
    x = scales.alpha * x0 + scales.sigma * again(x0)
    outs = [d.outputs(x, t * 0.9, y) for d in (plain.denoiser, objective.teacher)]
    base = plain.at(batch, t * 0.9, y, SeededNoise(batch.seeds)).each
    torch.testing.assert_close(loss - base, 0.5 * noise_term(*outs, 3).detach())


def test_weights_of_nothing_are_no_teacher_at_all(teachers, tmp_path):
    plain = finish(tiny(tmp_path / "plain", tree=STUDENT))
    zero = f"train.teacher={{source: {teachers['x0']}, noise: 0, variance: 0}}"
    silent = finish(tiny(tmp_path / "silent", zero, tree=STUDENT))
    heard = finish(tiny(tmp_path / "heard", *taught(teachers["x0"]), tree=STUDENT))
    states = [everything(run) for run in (plain, silent, heard)]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert not all(torch.equal(states[0][n], states[2][n]) for n in states[0])


def test_a_run_tells_whom_it_learnt_from_and_what_that_cost(teachers, tmp_path):
    run = finish(tiny(tmp_path / "run", *taught(teachers["x0"]), tree=STUDENT))
    made, guide = load(run.folder), load(teachers["x0"])
    provenance = made.tree["provenance"]
    assert provenance["recipe"]["train"]["teacher"]["digest"] == guide.digest
    cost = provenance["cost"]
    assert cost["teacher"] == {**guide.cost(), "seen": 3 * 8}
    assert cost["student"] == {**made.cost(), "seen": 12 * 8}
    assert cost["teacher"]["parameters"] > cost["student"]["parameters"]
    card = (run.folder / "README.md").read_text()
    assert guide.digest in card
    assert str(cost["teacher"]["multiply_adds"]) in card
    lines = [json.loads(x) for x in (run.folder / "metrics.jsonl").read_text().splitlines()]
    found = run.recipe.denoising(run.averaged.network(), ALONE.device)
    assert type(found) is not Distilled
    own = recipe.complete(config.dump(run.recipe)).held_out(
        run.averaged.network(), ALONE.device, run.held_out
    )
    assert lines[-1]["held_out"] == pytest.approx(own["held_out"])


def test_a_run_in_two_parts_is_the_run_in_one_and_its_teacher_may_move(teachers, tmp_path):
    whole = finish(tiny(tmp_path / "whole", *taught(teachers["x0"]), tree=STUDENT))
    first = tiny(tmp_path / "parts", *taught(teachers["x0"]), tree=STUDENT)
    first.open()
    for _ in first.fit(lambda: first.state.step >= 5):
        pass
    shutil.copytree(teachers["x0"], tmp_path / "elsewhere")
    again = tiny(tmp_path / "parts", *taught(tmp_path / "elsewhere"), tree=STUDENT)
    ours, theirs = everything(finish(again)), everything(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_does_not_go_on_with_another_teacher(teachers, tmp_path):
    finish(tiny(tmp_path / "run", *taught(teachers["x0"]), "train.steps=2", tree=STUDENT))
    finish(tiny(tmp_path / "other", "train.steps=2"))
    run = tiny(tmp_path / "run", *taught(tmp_path / "other"), tree=STUDENT)
    with pytest.raises(ConfigError, match=r"another recipe .*train\.teacher\.digest"):
        run.open()
    pinned = config.read(tmp_path / "run" / "config.yaml")
    pinned["train"]["teacher"]["source"] = str(tmp_path / "other")
    with pytest.raises(ConfigError, match="is another model than the run's teacher"):
        recipe.resolve(pinned)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("model.path=cosine",), "its path is .*linear.*, the student's .*cosine"),
        (("model.prediction=velocity",), "its prediction is .*x0.*, the student's .*velocity"),
        (("data={kind: prints, size: 32, count: 64}",), "its latents are .3, 8, 8., the student's"),
    ],
)
def test_who_does_not_fit_is_refused_in_one_line(teachers, settings, said):
    with pytest.raises(ConfigError, match=said) as caught:
        resolved(*taught(teachers["x0"]), *settings, tree=STUDENT)
    assert "\n" not in str(caught.value)


def test_other_classes_no_null_class_and_no_model_are_refused_too(teachers, tmp_path):
    folder = tmp_path / "renamed"
    shutil.copytree(teachers["x0"], folder)
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, "classes": list("abcdefghij")}))
    with pytest.raises(ConfigError, match=r"classes are 10 \(a, b, c, …\), the student's 10 \(0"):
        resolved(*taught(folder), tree=STUDENT)
    bare = {**TREE, "sampling": {}}
    unguided = ("model.network.null_row=false", "train.drop=0", "train.steps=1")
    finish(tiny(tmp_path / "bare", *unguided, tree=bare))
    with pytest.raises(ConfigError, match=r"no null class, but train\.drop is 0\.1"):
        resolved(*taught(tmp_path / "bare"), tree=STUDENT)
    with pytest.raises(CheckpointError, match="neither a zoo model nor a path"):
        resolved(*taught("nobody"), tree=STUDENT)
    with pytest.raises(ConfigError, match=r"train\.teacher\.noyse: unknown key"):
        resolved("train.teacher={source: x, noyse: 1}", tree=STUDENT)


def test_a_teacher_may_have_been_trained_with_another_weighting(teachers):
    other = "model.prediction={kind: x0, weighting: uniform}"
    assert resolved(*taught(teachers["x0"]), other, tree=STUDENT).train.teacher.digest
