"""Every network over codes goes the whole way: it learns, is resumed, saved, sampled, repainted."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from mezzotint import load, recipe
from mezzotint.data.loader import Batch
from mezzotint.errors import ConfigError, DataError
from mezzotint.masked.masking import Each
from mezzotint.masked.plan import Power
from mezzotint.repaint import repaint, repainting
from tests.laws import test_law_11_resume as law_11
from tests.masked_models import KINDS
from tests.tiny import TREE, finish, resolved, tiny
from tests.tokenizers import tiny_kl, tiny_vq

STEPS = ("train.steps=60", "train.lr=3e-3", "train.sample_every=60")
MAGE = {"kind": "truncated-normal", "mean": 0.55, "deviation": 0.25}
NAT = {"ranker": "categorical", "lagging": True, "reveal": "at-least-one"}


def tree(kind: str, **sampling: Any) -> dict[str, Any]:
    """Return the recipe of a tiny network over 4 x 4 codes of 8 px digits."""
    known = ("codes", "size", "num_classes")
    network = {key: value for key, value in KINDS[kind].items() if key not in known}
    train = {key: value for key, value in TREE["train"].items() if key != "times"}
    head = {"kind": "categorical", "smoothing": 0.1}
    return {
        **TREE,
        "model": {"kind": "masked", "network": {"kind": kind, **network}, "head": head},
        "tokenizer": {"kind": "stored", "source": str(tiny_vq())},
        "train": {**train, **({"masking": MAGE} if kind == "mage" else {})},
        "sampling": {"steps": 4, "order": "confidence", **sampling},
    }


def loss(run) -> float:
    return run.recipe.held_out(run.network, run.ranks.device, run.held_out)["held_out"]


@pytest.fixture(scope="module", params=["maskgit", "mage"])
def trained(request, tmp_path_factory):
    """A finished run, and its held-out loss before the first step."""
    run = tiny(tmp_path_factory.mktemp(request.param) / "run", *STEPS, tree=tree(request.param))
    before = loss(run)
    return finish(run), before


def test_its_loss_falls(trained):
    run, before = trained
    assert run.recipe.model.network.codes == 16
    assert loss(run) < 0.9 * before


@pytest.mark.parametrize("kind", ["nat", "mage"])
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path, kind):
    law_11.test_a_run_in_two_parts_is_the_run_in_one(tmp_path, tree(kind), ())


@pytest.mark.parametrize("kind", ["nat", "uvit-bert", "halton"])
def test_other_networks_train_and_sample(tmp_path, kind):
    head = {"head": {"codes": 16}} if kind == "halton" else NAT
    run = finish(tiny(tmp_path / "run", "train.steps=2", tree=tree(kind, **head)))
    model = load(run.folder)
    assert model.sample([3], seeds=[0, 1]).shape == (2, 3, 8, 8)
    assert model.with_sampling(reuse=1).masked.plan.passes == (2, 2)
    assert model.sample([3], seeds=[0], reuse=1, after=1, guidance=2.0).shape == (1, 3, 8, 8)


def test_it_is_saved_and_loaded_and_an_image_is_its_seed_s(trained, tmp_path):
    model = load(trained[0].folder)
    model.save(tmp_path / "copy")
    images = model.sample([1, 7], seeds=range(2))
    assert torch.equal(load(tmp_path / "copy").sample([1, 7], seeds=range(2)), images)
    assert torch.equal(model.sample([7], seeds=[1]), images[3:])
    assert torch.equal(model.sample([1, 7], seeds=range(2), reuse=0), images)
    assert model.cost()["parameters"] > 0


def holes(*rows: int) -> torch.Tensor:
    """Return holes of so many rows of pixels from the top."""
    return (
        torch.arange(8)[None, :, None].expand(len(rows), 8, 8) < torch.tensor(rows)[:, None, None]
    )


def test_only_the_hole_is_painted_and_holes_may_differ(trained):
    model = load(trained[0].folder)
    images = trained[0].held_out.read(torch.arange(3))
    hole = holes(4, 0, 6)
    changed = repaint(model, images, hole, [3, 3, 5], seeds=[1, 2, 3])
    outside = ~hole[:, None].expand_as(images)
    assert torch.equal(changed[outside], images[outside])
    assert torch.equal(changed[1], images[1])
    assert not torch.equal(changed[0], images[0])
    for row, (name, seed) in enumerate(((3, 1), (3, 2), (5, 3))):
        alone = repaint(model, images[row : row + 1], hole[row : row + 1], [name], seeds=[seed])
        assert torch.equal(alone[0], changed[row])


def test_what_does_not_fit_is_refused(trained):
    model = load(trained[0].folder)
    images = trained[0].held_out.read(torch.arange(1))
    with pytest.raises(DataError, match="1 images, 1 holes, 2 classes, 1 seeds: expected as many"):
        repaint(model, images, holes(4), [1, 2], seeds=[0])
    with pytest.raises(DataError, match=r"images of \(4, 8\), .*expected \(8, 8\)"):
        repaint(model, images[:, :, :4], holes(4)[:, :4], [1], seeds=[0])
    with pytest.raises(DataError, match="class 10 is out of range, expected 0 to 9"):
        repaint(model, images, holes(4), [10], seeds=[0])
    with pytest.raises(DataError, match="the hole is empty"):
        repainting(model, images[0], torch.zeros(8, 8, dtype=torch.bool))
    with pytest.raises(
        ConfigError, match="steps: input should be greater than or equal to 1, got 0"
    ):
        model.with_sampling(steps=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer": {"kind": "stored", "source": str(tiny_kl())}}, "works on codes"),
        ({"tokenizer": "pixels"}, "it gives real numbers"),
        ({"model": {**tree("nat")["model"], "network": {"kind": "nat", "codes": 9}}}, "codes: 9"),
        ({"model": {**tree("nat")["model"], "network": {"kind": "dit"}}}, "works on real numbers"),
    ],
)
def test_a_recipe_whose_tokens_do_not_fit_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        recipe.resolve({**tree("nat"), **changes})
    assert "\n" not in str(caught.value)


def test_dropped_labels_need_a_null_class():
    plain = tree("maskgit")
    plain["model"]["network"]["null_row"] = False
    with pytest.raises(ConfigError, match=r"set model\.network\.null_row to true, or drop to 0"):
        recipe.resolve(plain)


def test_small_holes_are_filled_whatever_the_recipe_s_stages(trained):
    """Sixteen stages of at least one token could not fill a hole of two."""
    model = load(trained[0].folder).with_sampling(steps=12, reveal="at-least-one", reuse=1)
    images = trained[0].held_out.read(torch.arange(3))
    hole = torch.zeros(3, 8, 8, dtype=torch.bool)
    hole[0, 0, 0], hole[1, :2, :4], hole[2] = True, True, True
    changed = repaint(model, images, hole, [3, 3, 5], seeds=4, batch=1)
    outside = ~hole[:, None].expand_as(images)
    assert torch.equal(changed[outside], images[outside])
    one = repaint(model, images[1:2], hole[1:2], [3], seeds=[4])
    assert torch.equal(one[0], changed[1])


@pytest.mark.parametrize("by_image", [False, True])
def test_an_image_has_a_masked_token_at_least(by_image):
    """Where each token is decided by itself, some had none, and their loss was 0 / 0."""
    made = resolved(tree=tree("nat"))
    objective = made.objective(made.model.network.build(), torch.device("cpu"))
    found = replace(objective, drop=0.0, masking=Each(Power(0.1)), by_image=by_image)
    images = made.data.train()
    rows = torch.arange(64)
    loss = found(Batch(images.read(rows), images.labels[rows], rows.tolist()))
    assert loss.each.isfinite().all()
    assert loss.total.isfinite()
