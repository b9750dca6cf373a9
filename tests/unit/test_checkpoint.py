"""Checkpoints: round trips, and one line with the path for each way in which a file is bad."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from mezzotint import checkpoint, load
from mezzotint.checkpoint import read_model, read_pickle, read_tensors, write_model, write_tensors
from mezzotint.errors import CheckpointError, ConfigError, OutputError
from mezzotint.training import resume
from tests.tiny import finish, tiny

STORED = Path(__file__).with_name("format-1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    finish(tiny(folder, "train.steps=2"))
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """Return a copy of a model folder that a test may damage."""
    for name in ("model.safetensors", "config.json"):
        shutil.copy(trained / name, tmp_path)
    return tmp_path


def complaint(kind, path, function, *arguments):
    """Return the one line in which a user is told about `path`."""
    with pytest.raises(kind) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# Round trips ---------------------------------------------------------------------------------


def test_a_model_is_the_same_after_a_round_trip(trained, tmp_path):
    first = load(trained)
    first.save(tmp_path)
    second = load(tmp_path)
    ours, theirs = second.denoiser.network.state_dict(), first.denoiser.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert read_model(tmp_path)[1] == read_model(trained)[1]
    assert second.classes == first.classes
    assert torch.equal(second.sample(["3"], seeds=[1, 2]), first.sample(["3"], seeds=[1, 2]))


def test_files_are_as_readable_as_any_other(model):
    (model / "other").touch()
    load(model).save(model)
    modes = {path.name: path.stat().st_mode for path in model.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_the_file_alone_is_enough(model):
    alone = model / "elsewhere.safetensors"
    (model / "model.safetensors").rename(alone)
    assert load(alone).classes == tuple("0123456789")


def test_bf16_halves_the_file_and_rounds_the_trained_weights_alone(trained, tmp_path):
    generator = load(trained)
    generator.save(tmp_path, dtype=torch.bfloat16)
    tensors, _ = read_tensors(tmp_path / "model.safetensors")
    assert tensors["positions"].dtype == torch.float32
    back = load(tmp_path).denoiser.network.state_dict()
    for name, tensor in generator.denoiser.network.state_dict().items():
        exact = tensor if name == "positions" else tensor.to(torch.bfloat16).float()
        assert torch.equal(back[name], exact)
    sizes = [(f / "model.safetensors").stat().st_size for f in (tmp_path, trained)]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_model_stored_by_the_first_format_is_read():
    """Written by mezzotint 0.1; never to be written anew."""
    generator = load(STORED)
    assert generator.classes == ("no", "yes")
    images = generator.sample(seeds=[0], steps=2)
    assert images.flatten(1).float().mean(1).tolist() == pytest.approx([127.5, 127.5], abs=60)


def test_older_formats_are_brought_up_one_by_one(model, monkeypatch):
    def second(tensors, tree):
        return {f"net.{name}": tensor for name, tensor in tensors.items()}, tree | {"two": True}

    def third(tensors, tree):
        return tensors, tree | {"three": tree["two"]}

    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    monkeypatch.setattr(checkpoint, "MIGRATIONS", {1: second, 2: third})
    tensors, tree = read_model(model)
    assert all(name.startswith("net.") for name in tensors)
    assert (tree["format"], tree["two"], tree["three"]) == (3, True, True)
    monkeypatch.setattr(checkpoint, "MIGRATIONS", {})
    assert "format 1" in complaint(CheckpointError, model, read_model, model)


# Files that are not what they should be -------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_cut_short(model, share):
    path = model / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "not a complete safetensors file" in complaint(CheckpointError, path, load, model)


def test_noise_and_a_folder_in_its_place(model):
    path = model / "model.safetensors"
    path.write_bytes(os.urandom(5000))
    complaint(CheckpointError, path, load, model)
    path.unlink()
    path.mkdir()
    complaint(CheckpointError, path, load, model)


def test_nothing_there(tmp_path):
    complaint(CheckpointError, tmp_path / "gone", load, tmp_path / "gone")
    assert "no model.safetensors" in complaint(CheckpointError, tmp_path, load, tmp_path)


@pytest.mark.parametrize("note", [None, {"mezzotint": "[1]"}, {"mezzotint": '{"format": "x"}'}])
def test_of_another_project(tmp_path, note):
    path = tmp_path / "theirs.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata=note)
    assert "not a mezzotint model" in complaint(CheckpointError, path, load, path)


def test_a_damaged_header(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata={"mezzotint": '{"format": 1'})
    assert "damaged" in complaint(CheckpointError, path, load, path)


def test_of_a_later_format(model):
    tensors, tree = read_model(model)
    write_tensors(model / "model.safetensors", tensors, tree | {"format": 99})
    assert "pip install -U mezzotint" in complaint(CheckpointError, model, load, model)


@pytest.mark.parametrize("part", ["model", "tokenizer", "classes"])
def test_a_part_of_the_config_is_missing(model, part):
    tensors, tree = read_model(model)
    del tree[part]
    write_model(model, tensors, tree)
    assert f"{part}: missing" in complaint(CheckpointError, model, load, model)


@pytest.mark.parametrize(
    ("change", "complaint_of"),
    [
        ({"model": {"kind": "diffusion"}}, "network: missing"),
        ({"model": {"kind": "difusion"}}, "did you mean diffusion"),
        ({"model": {}}, "kind: missing"),
        ({"tokenizer": {"kind": "pixels"}}, "size: missing"),
        ({"sampling": {"stepz": 4}}, "stepz: unknown key; did you mean steps"),
    ],
)
def test_a_config_that_is_not_understood(model, change, complaint_of):
    tensors, tree = read_model(model)
    write_model(model, tensors, tree | change)
    assert complaint_of in complaint(CheckpointError, model, load, model)


def test_a_config_that_does_not_fit_the_tensors(model):
    tensors, tree = read_model(model)
    tree["model"]["network"]["depth"] = 3
    write_model(model, tensors, tree)
    assert "missing: blocks.2." in complaint(CheckpointError, model, load, model)
    tree["model"]["network"] |= {"depth": 2, "num_classes": 4}
    write_model(model, tensors, tree)
    assert "10 names for a network of 4" in complaint(CheckpointError, model, load, model)
    tree["classes"] = tree["classes"][:4]
    write_model(model, tensors, tree)
    assert "label.table.weight has shape" in complaint(CheckpointError, model, load, model)


# Pickles ---------------------------------------------------------------------------------------


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_could_run_code_is_refused_and_does_not_run(tmp_path):
    path, proof = tmp_path / "model.pt", tmp_path / "ran"
    torch.save({"model": {"weight": torch.ones(2)}, "args": Bomb(proof)}, path)
    for read in (read_pickle, load):
        assert "could run code" in complaint(CheckpointError, path, read, path)
    assert not proof.exists()


@pytest.mark.parametrize("key", [None, *checkpoint.HELD])
def test_a_pickle_of_tensors_is_read(tmp_path, key):
    path = tmp_path / "model.pt"
    tensors = {"weight": torch.arange(3.0)}
    torch.save(tensors if key is None else {key: tensors, "step": 3}, path)
    assert torch.equal(read_pickle(path)["weight"], tensors["weight"])
    assert "without a mezzotint config" in complaint(CheckpointError, path, load, path)


@pytest.mark.parametrize("average", ["ema", "model_ema"])
def test_the_average_is_preferred(tmp_path, average):
    path = tmp_path / "model.pt"
    torch.save({"model": {"w": torch.zeros(1)}, average: {"w": torch.ones(1)}}, path)
    assert read_pickle(path)["w"] == 1


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256))])
def test_a_file_that_is_no_pickle(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    complaint(CheckpointError, path, read_pickle, path)


def test_a_pickle_of_something_else(tmp_path):
    path = tmp_path / "model.pt"
    torch.save([1, 2], path)
    assert "expected a table of tensors" in complaint(CheckpointError, path, read_pickle, path)


# Disks and folders ------------------------------------------------------------------------------


def full_when_flushing(_descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_when_writing(_tensors, path, metadata=None):
    Path(path).write_bytes(b"half of it")
    raise SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )


@pytest.mark.parametrize("where", ["flushing", "writing"])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(model, monkeypatch, where):
    path = model / "model.safetensors"
    before = path.read_bytes()
    names = sorted(p.name for p in model.iterdir())
    if where == "flushing":
        monkeypatch.setattr(os, "fsync", full_when_flushing)
    else:
        monkeypatch.setattr(checkpoint, "save_file", full_when_writing)
    message = complaint(OutputError, path, load(model).save, model)
    assert "the disk is full; free some space" in message
    assert path.read_bytes() == before
    assert sorted(p.name for p in model.iterdir()) == names


def test_a_run_on_a_full_disk_ends_in_one_line_and_goes_on_later(tmp_path, monkeypatch):
    expected = finish(tiny(tmp_path / "whole")).network.state_dict()
    run = tiny(tmp_path / "run", "train.save_minutes=0")
    run.open()
    with monkeypatch.context() as patch:
        for state in run.fit():
            if state.step == 4:
                patch.setattr(checkpoint, "save_file", full_when_writing)
                break
        complaint(OutputError, tmp_path / "run", lambda: list(run.fit()))
    resumed = tiny(tmp_path / "run")
    assert resumed.open()
    assert resumed.state.step == 4
    assert all(torch.equal(t, expected[n]) for n, t in finish(resumed).network.state_dict().items())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "run"
    complaint(OutputError, path, tiny(path).open)


# Run folders ------------------------------------------------------------------------------------


def copied(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_the_run_of_another_recipe(trained):
    settings = ("train.lr=0.5", "model.network.depth=1", "train.steps=2")
    message = complaint(ConfigError, trained, tiny(trained, *settings).open)
    assert "(model.network.depth, train.lr differ)" in message
    assert "--force" in message


def test_the_run_of_a_recipe_that_is_not_understood(trained, tmp_path):
    folder = copied(trained, tmp_path)
    (folder / "config.yaml").write_text("model: {kind: nothing}\n")
    complaint(ConfigError, folder / "config.yaml", tiny(folder).open)
    (folder / "config.yaml").write_text("model: [")
    complaint(ConfigError, folder / "config.yaml", tiny(folder).open)


def test_a_recipe_that_lacks_a_later_setting_is_still_the_same(trained, tmp_path):
    folder = copied(trained, tmp_path)
    lines = (folder / "config.yaml").read_text().splitlines(keepends=True)
    (folder / "config.yaml").write_text("".join(x for x in lines if "patience" not in x))
    assert tiny(folder, "train.steps=2").open()


def test_the_run_on_other_images(trained, tmp_path):
    folder = copied(trained, tmp_path)
    run = tiny(folder, "train.steps=2")
    run.images = run.images.only(torch.arange(100))
    assert "other images" in complaint(ConfigError, folder, run.open)


def test_a_damaged_state_gives_way_to_the_one_before(trained, tmp_path):
    folder = copied(trained, tmp_path)
    finish(tiny(folder, "train.steps=3"))
    older, newer = resume.files(folder / "resume")
    newer.write_bytes(newer.read_bytes()[:1000])
    run = tiny(folder, "train.steps=3")
    assert run.open()
    assert run.state.step == 2
    older.write_bytes(b"")
    complaint(CheckpointError, newer, tiny(folder, "train.steps=3").open)


def test_a_state_of_something_else(trained, tmp_path):
    folder = copied(trained, tmp_path)
    [path] = resume.files(folder / "resume")
    save_file({"weight": torch.ones(2)}, path)
    assert "not the state of a run" in complaint(CheckpointError, path, tiny(folder).open)
    _, note = read_tensors(resume.files(trained / "resume")[0])
    write_tensors(path, {"network/weight": torch.ones(2)}, note)
    assert "missing" in complaint(CheckpointError, path, tiny(folder).open)
