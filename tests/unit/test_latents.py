"""The latent cache: the same bytes however it is made, read in place, and worth the images."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mezzotint import config
from mezzotint.data.cache import check, open_cache, read_manifest
from mezzotint.data.embedded import Digits
from mezzotint.data.encode import Job, fill, finish, missing, start
from mezzotint.data.latents import Cached, Latents
from mezzotint.data.loader import Batch
from mezzotint.data.unlabelled import Bare, Unlabelled
from mezzotint.errors import ConfigError, DataError, OutputError
from mezzotint.evaluation.choices import trained_on
from mezzotint.noise import SeededNoise
from mezzotint.recipe import resolve
from mezzotint.tokenizers.base import Pixels
from tests.tokenizers import EVERY, tiny_kl, tiny_vq, write_kl, write_of

STORED = {"kind": "stored", "source": str(tiny_kl()), "size": 8}


def images(count=70):
    return Digits().train().only(torch.arange(count))


def job(tree=STORED, count=70, **more):
    made_by = config.load("tokenizer", tree).pinned()
    about = config.dump(made_by)
    return Job(images(count), made_by.build(), about, {"kind": "digits"}, per_shard=32, **more)


def written(wanted, folder):
    start(wanted, folder)
    fill(wanted, folder, missing(wanted, folder))
    finish(wanted, folder)
    return folder


def content(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_codes_are_those_of_the_tokenizer_and_read_in_any_order(tmp_path):
    wanted = job(precision="fp32", flips=True)
    cache = open_cache(written(wanted, tmp_path / "c"))
    pictures = images()
    assert (len(cache), cache.size, cache.classes) == (70, 8, pictures.classes)
    assert torch.equal(cache.labels, pictures.labels)
    rows = torch.tensor([69, 3, 33, 3])
    found = cache.read(rows)
    assert found.shape == (4, 2, 8, 4, 4)
    codes = wanted.tokenizer.encode(pictures.read(torch.arange(70)))
    mirrored = wanted.tokenizer.encode(pictures.read(torch.arange(70)).flip(3))
    assert torch.allclose(found[:, 0], codes[rows], atol=1e-5)
    assert torch.allclose(found[:, 1], mirrored[rows], atol=1e-5)
    half = open_cache(written(job(), tmp_path / "h"))
    assert half.read(rows).dtype == torch.float16
    assert torch.allclose(half.read(rows)[:, 0].float(), codes[rows], atol=1e-2)


def test_a_shard_is_what_anyone_can_read(tmp_path):
    folder = written(job(), tmp_path / "c")
    tensors = load_file(folder / "latents-00002-of-00003.safetensors")
    assert {n: tuple(t.shape) for n, t in tensors.items()} == {
        "codes": (6, 8, 4, 4),
        "label": (6,),
        "index": (6,),
    }
    assert tensors["index"].tolist() == list(range(64, 70))


def test_statistics_are_of_all_latents_as_a_generator_sees_them(tmp_path):
    source = write_kl(tmp_path / "kl", scale=3.0)
    tree = {"kind": "stored", "source": str(source), "size": 8}
    folder = written(job(tree, precision="fp32"), tmp_path / "c")
    said = read_manifest(folder).statistics
    tokenizer = config.load("tokenizer", tree).build()
    x = tokenizer.latents(tokenizer.encode(images().pixels), SeededNoise(range(70)))
    assert said["mean"] == pytest.approx(x.mean((0, 2, 3)).tolist(), abs=0.3)
    assert said["deviation"] == pytest.approx(x.std((0, 2, 3)).tolist(), rel=0.15)
    used = read_manifest(written(job({**STORED, "source": str(tiny_vq())}), tmp_path / "v"))
    codes = open_cache(tmp_path / "v").read(torch.arange(70))
    assert codes.dtype == torch.int16
    counts = torch.bincount(codes.flatten().long())
    share = counts[counts > 0] / counts.sum()
    assert used.statistics["used"] == int((counts > 0).sum())
    assert used.statistics["perplexity"] == pytest.approx(
        float(torch.exp(-(share * share.log()).sum()))
    )


def test_a_job_that_is_cut_goes_on_to_the_same_bytes(tmp_path):
    whole = content(written(job(flips=True), tmp_path / "whole"))
    wanted, folder = job(flips=True), tmp_path / "cut"
    start(wanted, folder)
    fill(wanted, folder, [1])
    draft = folder / f".{wanted.name(0)}.77.part" / wanted.name(0)
    draft.parent.mkdir()
    draft.write_bytes(b"half a sha")
    with pytest.raises(DataError, match=r"no manifest\.json"):
        open_cache(folder)
    start(wanted, folder)
    assert missing(wanted, folder) == [0, 2]
    assert content(written(wanted, folder)) == whole
    # Two processes: each takes every other of the missing ones.
    shared = tmp_path / "shared"
    lost = missing(wanted, shared)
    for rank in (1, 0):
        fill(wanted, shared, lost[rank::2])
    finish(wanted, shared)
    assert content(shared) == whole
    assert missing(wanted, shared) == []


def test_another_job_is_not_mixed_in(tmp_path):
    folder = written(job(), tmp_path / "c")
    for other in (job(precision="fp32"), job(flips=True), job(count=69)):
        with pytest.raises(OutputError, match=r"latents of another job|holds something else"):
            start(other, folder)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds something else \(thesis\.txt\)"):
        start(job(), folder)
    with pytest.raises(DataError, match="no images"):
        start(replace(job(), images=images(0)), tmp_path / "none")


def test_damage_is_named_with_its_checksum_and_mended(tmp_path):
    folder = written(job(), tmp_path / "c")
    path, before = folder / "latents-00001-of-00003.safetensors", content(folder)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    said = read_manifest(folder).shards[1].digest
    with pytest.raises(DataError, match=rf"latents-00001.*SHA-256 is \w{{64}}, expected {said}"):
        open_cache(folder)
    assert len(open_cache(folder, verify=False)) == 70
    path.write_bytes(damaged[:-8])
    with pytest.raises(DataError, match=r"latents-00001.*bytes, expected"):
        check(folder, read_manifest(folder).shards[1], verify=False)
    path.unlink()
    with pytest.raises(DataError, match=r"latents-00001.*missing"):
        check(folder, read_manifest(folder).shards[1], verify=False)
    path.write_bytes(damaged)
    assert missing(job(), folder) == [1]
    assert content(written(job(), folder)) == before


def test_a_manifest_of_another_time_gets_one_line(tmp_path):
    folder = written(job(), tmp_path / "c")
    tree = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(tree | {"format": 9}))
    with pytest.raises(DataError, match="a cache of format 9, expected 1"):
        open_cache(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        open_cache(folder)


def test_what_half_precision_cannot_hold_is_refused():
    class Loud(Pixels):
        def encode(self, images):
            return images.float() * 1e6

    with pytest.raises(DataError, match="images 0 to 1: a code is beyond fp16; encode with"):
        replace(job(), tokenizer=Loud(size=8)).encode(torch.arange(2), flip=False)


TREE = {
    "model": {
        "kind": "diffusion",
        "network": {"kind": "dit", "width": 16, "depth": 1, "heads": 2, "patch": 2},
    },
    "train": {"steps": 2, "batch": 4, "precision": "float32"},
}


def losses(tree, rows):
    recipe = resolve(tree)
    torch.manual_seed(3)
    network = recipe.network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.1)
    objective = recipe.objective(network, torch.device("cpu"))
    data = recipe.data.train()
    return objective(Batch(data.read(rows), data.labels[rows], [5, 6, 7])).each


MAR = {
    "kind": "masked",
    "network": {
        "kind": "mar",
        "width": 16,
        "depth": 2,
        "heads": 2,
        "buffer": 2,
        "patch": 1,
        "head": {"kind": "token-mlp", "width": 6, "depth": 1},
    },
    "head": "diffusion",
}


ALIKE = {"masking": {"kind": "truncated-normal", "shared": True}}  # as MAR wants it


@pytest.mark.parametrize(
    ("model", "more"), [(TREE["model"], {}), (MAR, ALIKE)], ids=["diffusion", "masked"]
)
@pytest.mark.parametrize("flip", [False, True])
def test_training_on_a_cache_is_training_on_the_images(tmp_path, flip, model, more):
    """The same times, labels, mirror images and noise, so the same losses."""
    made_by = config.load("tokenizer", STORED).pinned()
    wanted = Job(
        Digits().train(), made_by.build(), config.dump(made_by), {}, precision="fp32", flips=flip
    )
    folder = written(wanted, tmp_path / "c")
    train = {**TREE["train"], **more, "flip": flip}
    rows = torch.tensor([5, 900, 31])
    tree = {"model": model, "train": train}
    on_images = {**tree, "data": "digits", "tokenizer": dict(STORED)}
    on_cache = {**tree, "data": {"kind": "latents", "path": str(folder)}}
    assert torch.allclose(losses(on_images, rows), losses(on_cache, rows), rtol=1e-5)


def test_a_cache_of_another_tokenizer_is_refused(tmp_path):
    folder = written(job(), tmp_path / "c")
    other = write_kl(tmp_path / "other", seed=1)
    data = {"kind": "latents", "path": str(folder)}
    tree = {**TREE, "data": data, "tokenizer": {"kind": "stored", "source": str(other)}}
    recipe = resolve(tree)
    with pytest.raises(ConfigError, match=r"were made by the tokenizer \w{16}, but") as caught:
        recipe.objective(recipe.model.network.build(), torch.device("cpu"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="holds no mirror images"):
        Latents(path=folder).mirror()
    assert len(Latents(path=folder).held_out()) == 0


def test_a_cache_leads_to_the_pictures_it_was_made_of(tmp_path):
    pictures = Digits().train()
    made_by = config.load("tokenizer", STORED).pinned()
    about = config.dump(made_by)
    folder = written(Job(pictures, made_by.build(), about, {"kind": "digits"}), tmp_path / "c")
    data = {"kind": "latents", "path": str(folder)}
    made = {"provenance": {"recipe": {"data": data}, "data_digest": open_cache(folder).digest}}
    training, held_out, why = trained_on(made)
    assert why == ""
    assert training.pictures.digest == pictures.digest
    assert held_out is not None


def test_a_cache_without_labels_is_a_cache_still(tmp_path):
    folder = written(job(), tmp_path / "c")
    data = Unlabelled(inner=Latents(path=folder))
    assert data.train().classes == ()
    assert data.tokenizer == Latents(path=folder).tokenizer
    tokenizer = config.load("tokenizer", data.tokenizer).build()
    assert isinstance(data.through(tokenizer), Cached)
    pictures, digest = data.pictures()
    assert isinstance(pictures, Unlabelled)
    assert digest == Bare(images()).digest
    with pytest.raises(ConfigError, match="no mirror images"):
        data.mirror()
    assert Unlabelled(inner=Digits()).pictures()[1] is None


def test_a_classifier_wants_images(tmp_path):
    folder = written(job(), tmp_path / "c")
    network = {"kind": "residual", "widths": [8], "blocks": 1}
    tree = {
        "model": {"kind": "classifier", "network": network},
        "data": {"kind": "latents", "path": str(folder)},
        "train": {"steps": 1},
    }
    recipe = resolve(tree)
    with pytest.raises(ConfigError, match="this model is trained on images"):
        recipe.objective(recipe.model.network.build(), torch.device("cpu"))


@pytest.mark.parametrize("kind", EVERY)
def test_codes_of_every_tokenizer_are_kept(kind, tmp_path):
    """Those of the transformers are views, which a file refused."""
    tree = {"kind": "stored", "source": str(write_of(tmp_path / "t", EVERY[kind])), "size": 8}
    wanted = job(tree, precision="fp32", flips=True)
    cache = open_cache(written(wanted, tmp_path / "c"))
    rows = torch.tensor([69, 3])
    codes = wanted.tokenizer.encode(images().read(rows))
    assert torch.allclose(cache.read(rows)[:, 0].to(codes.dtype), codes, atol=1e-4)
    data = Latents(path=tmp_path / "c")
    through = data.through(wanted.tokenizer)
    seen = through.latents(through.encode(data.train().read(rows)), SeededNoise([1, 2]))
    given = wanted.tokenizer.latents(codes, SeededNoise([1, 2]))
    assert torch.allclose(seen.float(), given.float(), atol=1e-4)


@pytest.mark.parametrize("text", ["{", "[1]", '{"format": 0}'])
def test_a_damaged_manifest_is_one_line_and_nothing_is_written_over_it(text, tmp_path):
    wanted = job()
    folder = written(wanted, tmp_path / "c")
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: .*again") as caught:
        missing(wanted, folder)
    assert "\n" not in str(caught.value)
    assert (folder / "manifest.json").read_text() == text
