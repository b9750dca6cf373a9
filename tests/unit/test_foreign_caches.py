"""Caches of other projects, written here as they write them, give what they hold."""

import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mezzotint import config
from mezzotint.data.latents import Latents
from mezzotint.errors import ConfigError, DataError
from mezzotint.noise import SeededNoise
from mezzotint.tokenizers.kl import moments
from tests.tokenizers import tiny_kl, tiny_vq

ROWS = torch.tensor([2, 0])
RANDOM = np.random.default_rng(0)


def numbers(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.fixture
def tokenizer():
    tree = {"kind": "stored", "source": str(tiny_kl()), "size": 8}
    return config.load("tokenizer", tree).build()


def read(path, tokenizer, seeds=(1, 2)):
    """Return what a generator would see of two items, and the data."""
    data = Latents(path=path, size=8)
    images = data.train()
    through = data.through(tokenizer)
    x = through.latents(through.encode(images.read(ROWS)), SeededNoise(seeds))
    return x, images, data


def test_mars_moments_are_codes(tokenizer, tmp_path):
    held = {"b": numbers(2, 8, 4, 4), "a": numbers(1, 8, 4, 4)}
    for name, table in held.items():
        (tmp_path / name).mkdir()
        for k, each in enumerate(table):
            np.savez(tmp_path / name / f"x{k}.JPEG.npz", moments=each, moments_flip=each[..., ::-1])
    x, images, data = read(tmp_path, tokenizer)
    assert images.classes == ("a", "b")
    assert images.labels.tolist() == [0, 1, 1]
    codes = torch.from_numpy(np.stack([held["b"][1], held["a"][0]]))
    assert torch.equal(x, tokenizer.latents(codes, SeededNoise((1, 2))))
    turned = data.mirror()(images.read(ROWS), torch.tensor([True, False]))
    assert torch.equal(turned[0, 0], codes[0].flip(2))
    assert torch.equal(turned[1, 0], codes[1])


def test_fast_dits_latents_are_drawn_and_scaled(tokenizer, tmp_path):
    held = numbers(12, 2, 4, 4, 4)
    for name in ("imagenet256_features", "imagenet256_labels"):
        (tmp_path / name).mkdir()
    for k, each in enumerate(held):
        np.save(tmp_path / "imagenet256_features" / f"{k}.npy", each)
        np.save(tmp_path / "imagenet256_labels" / f"{k}.npy", np.array([k % 5]))
    x, images, data = read(tmp_path, tokenizer)
    assert images.labels.tolist() == [k % 5 for k in range(12)]  # 10 comes after 9
    assert torch.equal(x, torch.from_numpy(held[[2, 0], 0]))
    turned = data.mirror()(images.read(ROWS), torch.tensor([True, True]))
    assert torch.equal(turned[:, 0], torch.from_numpy(held[[2, 0], 1]))
    (tmp_path / "imagenet256_labels" / "7.npy").unlink()
    with pytest.raises(DataError, match=r"7\.npy: missing; expected a label"):
        Latents(path=tmp_path, size=8).train()


def test_lightning_dits_latents_are_drawn_and_not_scaled(tokenizer, tmp_path):
    held = [numbers(2, 4, 4, 4), numbers(3, 4, 4, 4)]
    for k, each in enumerate(held):
        tensors = {"latents": each, "latents_flip": each[..., ::-1].copy()}
        tensors["labels"] = np.arange(len(each), dtype=np.int64)
        save_file(tensors, tmp_path / f"latents_rank00_shard{k:03d}.safetensors")
    x, images, _ = read(tmp_path, tokenizer)
    assert images.labels.tolist() == [0, 1, 0, 1, 2]
    assert images.flips
    z = torch.from_numpy(np.stack([held[1][0], held[0][0]]))
    model = tokenizer.model
    assert torch.allclose(x, (z - model.shift) * model.scale, atol=1e-5)


def test_edm2s_are_means_and_deviations(tokenizer, tmp_path):
    held = np.abs(numbers(3, 8, 4, 4)) + 0.1
    path = tmp_path / "edm2.zip"
    with zipfile.ZipFile(path, "w") as archive:
        labels = []
        for k, each in enumerate(held):
            with archive.open(f"00000/img{k:08d}.npy", "w") as entry:
                np.save(entry, each)
            labels.append([f"00000/img{k:08d}.npy", 3 - k])
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    _, images, _ = read(path, tokenizer)
    assert images.labels.tolist() == [3, 2, 1]
    mean, log_variance = moments(images.read(ROWS)[:, 0])
    assert torch.equal(mean, torch.from_numpy(held[[2, 0], :4]))
    deviation = (log_variance / 2).exp()
    assert torch.allclose(deviation, torch.from_numpy(held[[2, 0], 4:]), rtol=1e-5)


def test_what_is_missing_gets_one_line(tokenizer, tmp_path):
    with pytest.raises(DataError, match="no latent cache; expected a folder"):
        Latents(path=tmp_path / "none", size=8).train()
    (tmp_path / "c").mkdir()
    np.savez(tmp_path / "c" / "x.npz", moments=numbers(8, 3, 3))
    with pytest.raises(ConfigError, match=r"data\.size: missing"):
        Latents(path=tmp_path).train()
    data = Latents(path=tmp_path, size=8)
    with pytest.raises(ConfigError, match="name the one that did"):
        _ = data.tokenizer
    with pytest.raises(ConfigError, match="latents of 8 x 3 x 3 numbers, but the recipe's"):
        data.through(tokenizer)
    np.savez(tmp_path / "c" / "x.npz", other=numbers(1))
    with pytest.raises(DataError, match="has no array 'moments'"):
        Latents(path=tmp_path, size=8).train()
    (tmp_path / "c" / "x.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"x\.npz: cannot be read"):
        Latents(path=tmp_path, size=8).train()


def test_what_does_not_fit_together_is_one_line(tokenizer, tmp_path):
    vq = config.load("tokenizer", {"kind": "stored", "source": str(tiny_vq()), "size": 8}).build()
    (tmp_path / "mar" / "a").mkdir(parents=True)
    for k, flipped in enumerate((True, False, True)):
        held = {"moments": numbers(8, 4, 4)} | (
            {"moments_flip": numbers(8, 4, 4)} if flipped else {}
        )
        np.savez(tmp_path / "mar" / "a" / f"{k}.npz", **held)
    with pytest.raises(ConfigError, match="8 x 4 x 4 numbers, but"):
        Latents(path=tmp_path / "mar", size=8).through(vq)
    with pytest.raises(DataError, match="mirror images for all or for none") as caught:
        Latents(path=tmp_path / "mar", size=8).train().read(torch.arange(3))
    assert "\n" not in str(caught.value)
    (tmp_path / "lightning").mkdir()
    save_file({"latents": numbers(2, 4, 4, 4)}, tmp_path / "lightning" / "a.safetensors")
    with pytest.raises(DataError, match=r"a\.safetensors: has no tensor 'labels'"):
        Latents(path=tmp_path / "lightning", size=8).train()
    for name, array in (("x_features", numbers(1, 4, 4, 4)), ("x_labels", np.zeros(0))):
        (tmp_path / "fast" / name).mkdir(parents=True)
        np.save(tmp_path / "fast" / name / "0.npy", array)
    with pytest.raises(DataError, match="0 numbers, expected one label"):
        Latents(path=tmp_path / "fast", size=8).train()
