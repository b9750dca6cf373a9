"""Clips: pieces of folders of frames, one under another; what is too short is named."""

import pytest
import torch

from mezzotint import config
from mezzotint.data.draw import picture
from mezzotint.errors import DataError


def write(folder, counts, *, size=8):
    """Write clips whose frame number is in their brightness."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            frame = torch.full((3, size, size), 10 * index, dtype=torch.uint8)
            picture(frame).save(folder / name / f"{index:03d}.png")
    return folder


def clips(folder, **settings):
    tree = {"kind": "clips", "path": str(folder), "size": 8, "held_out_share": 0, **settings}
    return config.load("data", tree)


def test_pieces_follow_one_another(tmp_path):
    found = clips(write(tmp_path, {"a/one": 7, "b/two": 3}), frames=3).train()
    assert (len(found), found.classes, found.labels.tolist()) == (3, ("a", "b"), [0, 0, 1])
    strips = found.read(torch.tensor([1, 2]))
    assert strips.shape == (2, 3, 24, 8)
    assert strips[:, 0].unflatten(1, (3, 8))[..., 0, 0].tolist() == [[30, 40, 50], [0, 10, 20]]


def test_every_other_frame(tmp_path):
    found = clips(write(tmp_path, {"a/one": 9}), frames=3, every=2).train()
    strips = found.read(torch.arange(len(found)))
    assert strips[:, 0].unflatten(1, (3, 8))[..., 0, 0].tolist() == [[0, 20, 40]]
    shortest = clips(write(tmp_path / "b", {"a/one": 5}), frames=3, every=2).train()
    assert len(shortest) == 1


def test_a_clip_that_is_too_short_is_named(tmp_path):
    folder = write(tmp_path, {"a/one": 4, "a/two": 2})
    with pytest.raises(DataError) as caught:
        clips(folder, frames=3).train()
    assert "a/two: 2 frames, but a clip needs 3" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(clips(folder, frames=3, skip_short=True).train()) == 1
    with pytest.raises(DataError, match="no clip of 5 frames"):
        clips(folder, frames=5, skip_short=True).train()


def test_whole_clips_are_held_out(tmp_path):
    names = {f"a/{k}": 4 for k in range(20)}
    wanted = clips(write(tmp_path, names), frames=2, held_out_share=0.5)
    train, held_out = wanted.train(), wanted.held_out()
    assert len(train) + len(held_out) == 40
    assert len(train) % 2 == len(held_out) % 2 == 0
    assert 0 < len(held_out) < 40
    assert train.digest != held_out.digest


def test_frames_are_ordered_by_number(tmp_path):
    for index in range(12):
        folder = tmp_path / "a" / "one"
        folder.mkdir(parents=True, exist_ok=True)
        frame = torch.full((3, 8, 8), 10 * index, dtype=torch.uint8)
        picture(frame).save(folder / f"{index + 1}.png")
    found = clips(tmp_path, frames=4).train()
    light = found.read(torch.arange(3))[:, 0].unflatten(1, (4, 8))[..., 0, 0]
    assert light.flatten().tolist() == [10 * index for index in range(12)]


def test_folders_say_which_clips_are_held_out(tmp_path):
    write(tmp_path, {"train/a/one": 4, "train/b/two": 8, "test/a/three": 4})
    wanted = clips(tmp_path, frames=4, held_out_share=0.5)
    assert (len(wanted.train()), len(wanted.held_out())) == (3, 1)
    assert wanted.train().classes == wanted.held_out().classes == ("a", "b")
