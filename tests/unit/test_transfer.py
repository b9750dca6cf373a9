"""Starting from another model: equal tensors are kept, class rows meet by name, the rest is new."""

import json
import shutil

import pytest
import torch

from mezzotint import load
from mezzotint.checkpoint import read_model
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.dit import DiTConfig
from mezzotint.training.transfer import transfer
from tests.tiny import finish, tiny

TABLE = "label.table.weight"


def network(classes, seed=0, **changes):
    torch.manual_seed(seed)
    shape = {"channels": 3, "size": (8, 8), "width": 16, "depth": 2, "heads": 2, "patch": 4}
    built = DiTConfig(**shape | {"num_classes": classes} | changes).build()
    with torch.no_grad():
        for name, p in built.named_parameters():
            if name != "positions":
                p.copy_(torch.randn(p.shape))
    return built


def test_rows_are_matched_by_the_names_of_the_classes():
    old, new = network(3), network(4, seed=1)
    before = new.state_dict()[TABLE].clone()
    report = transfer(new, old.state_dict(), ("cat", "dog", "owl"), ("owl", "ant", "cat", "bee"))
    theirs, ours = old.state_dict(), new.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name != TABLE)
    expected = torch.stack([theirs[TABLE][2], before[1], theirs[TABLE][0], before[3]])
    assert torch.equal(ours[TABLE][:4], expected)
    assert torch.equal(ours[TABLE][4], theirs[TABLE][3]), "null to null"
    assert report.classes == ("cat", "owl")
    assert report.others == ("ant", "bee")
    assert report.null
    assert not report.fresh
    assert not report.unused
    assert report.words() == [
        f"kept {len(ours)} of {len(ours)} tensors",
        "classes known by name: cat, owl",
        "classes that start anew: ant, bee",
        "the null class is kept",
    ]


def test_another_head_and_another_depth_start_anew():
    old, new = network(2, outputs=2, depth=3), network(2, seed=1)
    before = new.head.linear.weight.detach().clone()
    report = transfer(new, old.state_dict(), ("a", "b"), ("a", "b"))
    assert report.fresh == ("head.linear.weight", "head.linear.bias")
    assert torch.equal(new.head.linear.weight, before)
    assert report.unused[-2:] == ("head.linear.weight", "head.linear.bias")
    assert all(name.startswith("blocks.2.") for name in report.unused[:-2])
    assert "new: head.linear.weight, head.linear.bias" in report.words()


def test_a_null_row_that_is_missing_on_either_side_is_not_invented():
    old, new = network(2, null_row=False), network(2, seed=1)
    before = new.state_dict()[TABLE][2].clone()
    report = transfer(new, old.state_dict(), ("a", "b"), ("a", "b"))
    assert not report.null
    assert torch.equal(new.state_dict()[TABLE][2], before)
    assert "the null class starts anew" in report.words()
    report = transfer(network(2, null_row=False), network(2).state_dict(), ("a", "b"), ("a", "b"))
    assert not report.null


def test_to_and_from_a_model_without_classes():
    report = transfer(network(2), network(0).state_dict(), (), ("a", "b"))
    assert (report.classes, report.others, report.null) == ((), ("a", "b"), True)
    report = transfer(network(0), network(2).state_dict(), ("a", "b"), ())
    assert (report.classes, report.others, report.null) == ((), (), True)


def test_another_width_leaves_nothing_and_says_so():
    old = network(2, width=32).state_dict()
    new = network(2)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"^x/y: nothing fits"):
        transfer(new, old, ("a", "b"), ("a", "b"), "x/y")
    assert all(torch.equal(before[name], tensor) for name, tensor in new.state_dict().items())


def test_a_run_starts_from_another_and_records_it(tmp_path):
    finish(tiny(tmp_path / "old", "train.steps=3"))
    tensors, _ = read_model(tmp_path / "old")
    run = tiny(tmp_path / "new", "model.prediction=velocity", init_from=tmp_path / "old")
    assert not run.open()
    assert all(torch.equal(t, tensors[name]) for name, t in run.network.state_dict().items())
    assert all(
        torch.equal(t, tensors[name.partition("/")[2]]) for name, t in run.ema.state().items()
    )
    # 3 steps of 8 images.
    assert run.inherited[0] == f"started from {tmp_path / 'old'}, which had seen 24 images"
    assert "classes known by name: 0, 1, 2, 3, 4, 5 and 4 more" in run.inherited
    assert run.inherited[-1].startswith("its prediction was {'kind': 'x0'")
    for _ in run.fit(lambda: run.state.step >= 2):
        pass
    recorded = load(tmp_path / "new").tree["provenance"]["inherited"]
    assert recorded == list(run.inherited)
    assert f", {run.inherited[0]}. The weights" in (tmp_path / "new" / "README.md").read_text()
    json.loads((tmp_path / "new" / "config.json").read_text())


def test_a_resumed_run_does_not_start_from_it_again(tmp_path):
    finish(tiny(tmp_path / "old", "train.steps=3"))
    whole = tiny(tmp_path / "whole", init_from=tmp_path / "old")
    expected = finish(whole).network.state_dict()
    first = tiny(tmp_path / "parts", init_from=tmp_path / "old")
    first.open()
    for _ in first.fit(lambda: first.state.step >= 5):
        pass
    other = tiny(tmp_path / "parts", init_from=tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"started from .*old; leave --init-from out"):
        other.open()
    shutil.rmtree(tmp_path / "old")  # it is not looked at again
    second = tiny(tmp_path / "parts", init_from=tmp_path / "old")
    assert finish(second).inherited == list(first.inherited)
    assert all(torch.equal(t, expected[n]) for n, t in second.network.state_dict().items())


def test_a_source_that_is_no_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone"):
        tiny(tmp_path / "new", init_from=tmp_path / "gone").open()
    assert not (tmp_path / "new").exists()
