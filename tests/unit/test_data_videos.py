"""Videos become folders of frames, in order, at the rate that is asked for."""

import av
import numpy as np
import pytest
import torch

from mezzotint.data.clips import Clips
from mezzotint.data.videos import unpack
from mezzotint.errors import DataError


def film(path, count, *, rate=8, size=32):
    """Write a film that grows lighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            pixels = np.full((size, size, 3), 20 * index % 256, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def test_films_become_clips(tmp_path):
    film(tmp_path / "films" / "a" / "one.mp4", 9)
    film(tmp_path / "films" / "b" / "two.mp4", 5)
    counts = unpack(tmp_path / "films", tmp_path / "frames")
    assert counts == {"a/one": 9, "b/two": 5}
    clips = Clips(path=tmp_path / "frames", size=8, frames=4, held_out_share=0).train()
    assert (len(clips), clips.classes) == (3, ("a", "b"))
    light = clips.read(torch.tensor([0]))[0, 0].unflatten(0, (4, 8))[:, 4, 4]
    assert (light.int() - 20 * torch.arange(4)).abs().max() <= 6


def test_a_lower_rate_leaves_frames_out(tmp_path):
    film(tmp_path / "films" / "a" / "one.mp4", 9)
    assert unpack(tmp_path / "films", tmp_path / "frames", rate=4) == {"a/one": 5}
    assert unpack(tmp_path / "films", tmp_path / "more", rate=100) == {"a/one": 9}


@pytest.mark.parametrize(("rate", "asked", "kept"), [(30, 24, 24), (25, 8, 8), (24, 16, 16)])
def test_a_second_of_a_film_gives_as_many_frames_as_are_asked_for(tmp_path, rate, asked, kept):
    """Half of 30 were kept where 24 were asked for."""
    film(tmp_path / "films" / "a" / "one.mp4", rate, rate=rate)
    assert unpack(tmp_path / "films", tmp_path / "frames", rate=asked) == {"a/one": kept}


def test_what_is_no_film_is_named(tmp_path):
    with pytest.raises(DataError, match="no video there"):
        unpack(tmp_path, tmp_path / "frames")
    (tmp_path / "films" / "a").mkdir(parents=True)
    (tmp_path / "films" / "a" / "bad.mp4").write_bytes(b"not a film")
    with pytest.raises(DataError, match=r"bad\.mp4: not a video that can be read") as caught:
        unpack(tmp_path / "films", tmp_path / "frames")
    assert "\n" not in str(caught.value)
    film(tmp_path / "twice" / "a" / "one.mp4", 2)
    film(tmp_path / "twice" / "a" / "one.avi", 2)
    with pytest.raises(DataError, match="two videos of this name"):
        unpack(tmp_path / "twice", tmp_path / "frames")
