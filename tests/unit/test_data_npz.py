"""ADM's .npz files: read from the disk, checked, and refused in one line."""

import numpy as np
import pytest
import torch

from mezzotint.data.npz import extractor_of, open_npz, open_statistics, write_npz
from mezzotint.data.shards import open_shards, shard_name
from mezzotint.data.write import npz_stream
from mezzotint.errors import DataError
from tests.evaluating import pictures, save_npz


def refused(path, **arrays):
    np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        open_npz(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pictures_come_back_as_other_tools_wrote_them(tmp_path, save):
    images = pictures(7)
    array = images.pixels.permute(0, 2, 3, 1).numpy()
    save(tmp_path / "a.npz", arr_0=array, arr_1=images.labels.numpy())
    found = open_npz(tmp_path / "a.npz")
    assert found.read(torch.tensor([6, 0])).equal(images.pixels[[6, 0]])
    assert found.labels.equal(images.labels)
    assert found.classes == ("0", "1")


def test_a_fortran_ordered_array_is_the_same_array(tmp_path):
    images = pictures(5)
    array = np.asfortranarray(images.pixels.permute(0, 2, 3, 1).numpy())
    np.savez(tmp_path / "a.npz", arr_0=array)
    assert open_npz(tmp_path / "a.npz").read(torch.arange(5)).equal(images.pixels)


def test_pictures_are_mapped_and_not_loaded(tmp_path):
    save_npz(tmp_path / "a.npz", pictures(5))
    assert isinstance(open_npz(tmp_path / "a.npz").pixels.base, np.memmap)


def test_bad_arrays_are_refused_with_what_to_do(tmp_path):
    path, good = tmp_path / "a.npz", np.full((3, 8, 8, 3), 9, np.uint8)
    assert "no arr_0 inside, it holds images" in refused(path, images=good)
    assert "float32 from -1 to -1" in refused(path, arr_0=np.full((3, 8, 8, 3), -1, np.float32))
    assert "grey" in refused(path, arr_0=good[..., :1])
    assert "channels come last" in refused(path, arr_0=good.transpose(0, 3, 1, 2))
    assert "uint8 from 0 to 1" in refused(path, arr_0=good // 9)
    assert "as high as wide" in refused(path, arr_0=good[:, :4])
    assert "no image" in refused(path, arr_0=good[:0])
    assert "expected 3 labels" in refused(path, arr_0=good, arr_1=np.zeros(2, int))
    assert "arr_0 is float64" in refused(path, arr_0=np.float64(3))
    assert "arr_0 is <U3" in refused(path, arr_0=np.array(["one", "two"]))
    assert "labels from -1" in refused(path, arr_0=good, arr_1=np.array([-1, 0, 0]))


def test_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, arr_0=np.array([{}, {}], dtype=object))
    with pytest.raises(DataError, match="objects, which could run code"):
        open_npz(path)
    np.savez(path, arr_0=np.full((2, 8, 8, 3), 9, np.uint8), arr_1=np.array([{}, {}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        open_npz(path)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = save_npz(tmp_path / "a.npz", pictures(50))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"a\.npz: not a readable \.npz"):
        open_npz(path)


def test_statistics_and_their_maker(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    assert open_statistics(path).keys() == {"mu", "sigma"}
    assert extractor_of(path) == ""
    write_npz(path, {"extractor": np.array("abc")})
    assert extractor_of(path) == "abc"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(4))
    with pytest.raises(DataError, match=r"mu is \(3,\) and sigma \(4, 4\)"):
        open_statistics(path)
    np.savez(path, sigma=np.eye(4))
    with pytest.raises(DataError, match=r"mu is None and sigma \(4, 4\)"):
        open_statistics(path)


def write_shard(folder, images, first, count):
    with npz_stream(folder / shard_name(first, count), count, (8, 8)) as write:
        rows = slice(first, first + count)
        write(images.pixels[rows], images.labels[rows].tolist(), [0] * count)


def test_shards_are_one_set(tmp_path):
    images = pictures(10)
    for first, count in ((0, 4), (4, 4), (8, 2)):
        write_shard(tmp_path, images, first, count)
    found = open_shards(tmp_path, 10, images.classes)
    rows = torch.tensor([9, 3, 4, 0, 8])
    assert found.read(rows).equal(images.pixels[rows])
    assert found.labels.equal(images.labels)
    assert len(found) == 10
    assert found.digest != open_shards(tmp_path, 8, images.classes).digest


def test_a_shorter_last_shard_gives_way_to_a_whole_one(tmp_path):
    images = pictures(8)
    write_shard(tmp_path, images, 0, 4)
    write_shard(tmp_path, images, 4, 2)
    assert len(open_shards(tmp_path, 6, images.classes)) == 6
    write_shard(tmp_path, images, 4, 4)
    assert len(open_shards(tmp_path, 8, images.classes)) == 8
    assert len(open_shards(tmp_path, 6, images.classes)) == 6
    with pytest.raises(DataError, match="8 of 9 images are there"):
        open_shards(tmp_path, 9, images.classes)
