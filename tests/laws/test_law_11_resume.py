"""Law 11: train k, save, load, train m equals train k + m: losses, weights, averages, moments."""

import pytest
import torch

from tests.tiny import CLASSIFIER, MASKED, RIVAL, TOKENIZER, TREE, finish, tiny

CLASSIFIERS = {
    "classifier": (),
    "classifier, cut into pieces, depthwise": (
        "train.accumulate=3",
        "model.network={kind: depthwise, widths: [8, 16], blocks: 1, patch: 1}",
    ),
}
MASKEDS = {
    "masked, with dropout": (),
    "masked, cut into pieces, mirrored": ("train.accumulate=3", "train.flip=true"),
}
SETTINGS = {
    "plain": (),
    "cut into pieces": ("train.accumulate=3", "train.clip=null"),
    "mirrored, unbalanced": ("train.flip=true", "data.balanced=false"),
    "velocity": ("model.prediction=velocity", "model.path=cosine", "train.decay=constant"),
    "discrete": (
        "model.prediction={kind: learned-range}",
        "model.path=discrete-vp",
        "model.network.outputs=2",
        "sampling.sampler=ancestral",
        "sampling.grid=respaced",
    ),
}


def losses(run):
    return [(state.step, state.loss, state.norm, state.lr) for state in run.fit()]


def everything(run):
    optimiser = run.optimiser.state_dict()["state"]
    moments = {f"{i}/{n}": t for i, entry in optimiser.items() for n, t in entry.items()}
    return run.network.state_dict() | run.ema.state() | moments


TOKENIZERS = {
    "tokenizer": (),
    "tokenizer with a rival, cut into pieces": (
        f"train.adversarial={RIVAL}",
        "train.freeze=true",
        "train.accumulate=2",
        "train.pixel=huber",
    ),
}
RUNS = [(TREE, each) for each in SETTINGS.values()]
RUNS += [(CLASSIFIER, each) for each in CLASSIFIERS.values()]
RUNS += [(TOKENIZER, each) for each in TOKENIZERS.values()]
RUNS += [(MASKED, each) for each in MASKEDS.values()]
IDS = [*SETTINGS, *CLASSIFIERS, *TOKENIZERS, *MASKEDS]


def start(folder, tree, settings):
    """Return how runs begin: what is frozen has to be trained first."""
    if "train.freeze=true" not in settings:
        return {"tree": tree}
    finish(tiny(folder, "train.steps=1", tree=tree))
    return {"tree": tree, "init_from": folder}


@pytest.mark.parametrize(("tree", "settings"), RUNS, ids=IDS)
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path, tree, settings):
    options = start(tmp_path / "start", tree, settings)
    whole = tiny(tmp_path / "whole", *settings, **options)
    whole.open()
    expected = losses(whole)

    first = tiny(tmp_path / "parts", *settings, **options)
    first.open()
    found = []
    for state in first.fit(lambda: first.state.step >= 5):
        found.append((state.step, state.loss, state.norm, state.lr))
    assert first.state.step == 5
    assert not first.done

    second = tiny(tmp_path / "parts", *settings, **options)
    assert second.open()
    assert second.state.step == 5
    found += losses(second)

    assert found == expected
    ours, theirs = everything(second), everything(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_settings_of_comfort_move_no_bit_and_may_change_on_the_way(tmp_path):
    whole = finish(tiny(tmp_path / "whole"))
    first = tiny(tmp_path / "parts", "train.log_every=1", "train.sample_every=2")
    first.open()
    for _ in first.fit(lambda: first.state.step >= 4):
        pass
    second = finish(tiny(tmp_path / "parts", "train.validate_every=3", "train.save_minutes=0"))
    ours, theirs = everything(second), everything(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_run_can_be_made_longer(tmp_path):
    steady = "train.decay=constant"
    whole = finish(tiny(tmp_path / "whole", steady))
    finish(tiny(tmp_path / "parts", steady, "train.steps=7"))
    longer = finish(tiny(tmp_path / "parts", steady))
    ours, theirs = everything(longer), everything(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_a_network_draws_by_itself_is_the_same_after_a_restart(tmp_path):
    """Dropout draws from the global generator, which a checkpoint does not hold."""

    def dropping(run):
        run.network.blocks[0].mlp.append(torch.nn.Dropout(0.5))
        return run

    whole = dropping(tiny(tmp_path / "whole"))
    whole.open()
    expected = losses(whole)
    first = dropping(tiny(tmp_path / "parts"))
    first.open()
    for _ in first.fit(lambda: first.state.step >= 5):
        torch.rand(3)
    second = dropping(tiny(tmp_path / "parts"))
    second.open()
    torch.rand(7)
    assert losses(second) == expected[5:]
