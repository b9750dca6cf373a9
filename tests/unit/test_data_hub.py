import sys

import numpy as np
import pytest
import torch

from mezzotint.data.hub import HuggingFace, Torchvision
from mezzotint.errors import DataError, MissingExtraError


def cifar(root):
    """Write CIFAR10's files with random pictures, as torchvision lays them out."""
    import hashlib
    import pickle

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    sums = {}
    for name in names:
        content = pickle.dumps(
            {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 9]}
        )
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": [f"class{i}" for i in range(10)]})
    (folder / "batches.meta").write_bytes(meta)
    return sums, hashlib.md5(meta).hexdigest()


def test_a_torchvision_set_is_read_from_its_files(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    sums, meta = cifar(tmp_path)
    monkeypatch.setattr(CIFAR10, "train_list", [[n, s] for n, s in sums.items() if "data" in n])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    data = Torchvision(name="CIFAR10", root=tmp_path)
    train, held = data.train(), data.held_out()
    assert (len(train), len(held)) == (20, 4)
    assert train.classes[9] == "class9"
    assert held.labels.tolist() == [0, 1, 2, 9]
    direct = CIFAR10(tmp_path, train=False)
    expected = torch.from_numpy(np.asarray(direct[3][0]).copy()).permute(2, 0, 1)
    assert torch.equal(held.read(torch.tensor([3]))[0], expected)


def test_torchvision_never_downloads_unasked(tmp_path):
    with pytest.raises(DataError) as error:
        Torchvision(name="MNIST", root=tmp_path).train()
    assert "download: true" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.gz"))


def test_an_unknown_name_gets_the_nearest(tmp_path):
    with pytest.raises(DataError, match="did you mean CIFAR10"):
        Torchvision(name="CIFAR-10", root=tmp_path).train()


def test_hugging_face_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError) as error:
        HuggingFace(name="anything").train()
    assert "pip install 'mezzotint[data]'" in str(error.value)


def test_a_hugging_face_folder(tmp_path):
    pytest.importorskip("datasets")
    from PIL import Image

    for part, count in [("train", 3), ("test", 1)]:
        for c, name in enumerate(["ant", "cat"]):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for i in range(count):
                picture = Image.new("RGB", (8, 8), (c * 100, i, 0))
                picture.save(tmp_path / "data" / part / name / f"{i}.png")
    data = HuggingFace(name=str(tmp_path / "data"), size=8)
    train = data.train()
    assert train.classes == ("ant", "cat")
    assert train.labels.bincount().tolist() == [3, 3]
    assert sorted(train.read(torch.arange(6))[:, 0, 0, 0].tolist()) == [0, 0, 0, 100, 100, 100]
    assert len(data.held_out()) == 2
