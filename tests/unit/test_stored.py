"""Tokenizers that are models: opened, drawn from, trained on, and refused when they are others."""

import shutil

import pytest
import torch

import mezzotint
from mezzotint import checkpoint, config, recipe, stored
from mezzotint.errors import CheckpointError, ConfigError, DataError
from mezzotint.noise import SeededNoise
from tests.tiny import finish, resolved, tiny
from tests.tokenizers import EVERY, write_kl, write_of

IMAGES = torch.arange(3 * 3 * 8 * 8).view(3, 3, 8, 8).remainder(251).to(torch.uint8)


@pytest.fixture
def folder(tmp_path):
    return write_kl(tmp_path / "kl", scale=0.5)


def settings(folder, *more):
    return (f"tokenizer={{kind: stored, source: {folder}}}", "model.network.patch=2", *more)


def complaint(kind, function, *arguments):
    with pytest.raises(kind) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shapes_and_types(folder):
    made = stored.Stored(source=str(folder), size=8).build()
    assert made.spec.shape == (4, 4, 4)
    assert made.spec.image == (8, 8)
    codes = made.encode(IMAGES)
    assert codes.shape == (3, 8, 4, 4)
    assert torch.equal(made.encode(IMAGES), codes)
    latents = made.latents(codes, SeededNoise(range(3)))
    assert (latents.shape, latents.dtype) == ((3, 4, 4, 4), torch.float32)
    back = made.decode(latents)
    assert (back.shape, back.dtype) == (IMAGES.shape, torch.uint8)
    assert made.encode(IMAGES[:0]).shape == (0, 8, 4, 4)


def test_latents_are_scaled_draws_and_decode_undoes_the_scale(tmp_path):
    tree = {"kind": "tokenizer", "scale": 0.5, "shift": 0.25, "size": 8}
    plain = stored.load(write_kl(tmp_path / "plain"))
    model = config.load("model", {**tree, "network": plain.model.network})
    made = model.open({}, plain.network.state_dict(), "here")
    codes = plain.encode(IMAGES)
    z = plain.latents(codes, SeededNoise(range(3)))
    mean, log_variance = codes.chunk(2, dim=1)
    eps = SeededNoise(range(3))(mean)
    torch.testing.assert_close(z, mean + (log_variance / 2).exp() * eps)
    x = made.latents(codes, SeededNoise(range(3)))
    torch.testing.assert_close(x, (z - 0.25) * 0.5)
    assert (made.decode(x).int() - plain.decode(z).int()).abs().max() <= 1


def test_latents_do_not_depend_on_the_batch(folder):
    made = stored.load(folder)
    all_ = made.latents(made.encode(IMAGES), SeededNoise([5, 6, 7]))
    for row, seed in enumerate([5, 6, 7]):
        alone = made.latents(made.encode(IMAGES[row : row + 1]), SeededNoise([seed]))
        torch.testing.assert_close(alone[0], all_[row], rtol=1e-5, atol=1e-6)


def test_blocks_change_nothing(folder, monkeypatch):
    made = stored.load(folder)
    codes = made.encode(IMAGES)
    latents = made.latents(codes, SeededNoise(range(3)))
    images = made.decode(latents)
    monkeypatch.setattr(stored, "_AT_A_TIME", 1)
    torch.testing.assert_close(made.encode(IMAGES), codes, rtol=1e-5, atol=1e-6)
    assert (made.decode(latents).int() - images.int()).abs().max() <= 1


def test_log_variances_are_clamped(folder):
    made = stored.load(folder)
    codes = torch.cat([torch.zeros(1, 4, 1, 1), torch.full((1, 4, 1, 1), 99.0)], dim=1)
    deviation = made.network.draw(codes, torch.ones_like)
    torch.testing.assert_close(deviation, torch.full_like(deviation, 10.0).exp())


def test_a_process_opens_a_tokenizer_once_and_sees_another(folder):
    first = stored.load(folder)
    assert stored.load(folder) is first
    assert stored.Stored(source=str(folder), size=16).build().network is first.network
    shutil.rmtree(folder)
    second = stored.load(write_kl(folder, seed=1, scale=0.5))
    assert second.fingerprint != first.fingerprint


def test_the_fingerprint_is_of_weights_shape_and_scale_alone(folder, tmp_path):
    first = stored.load(folder)
    assert stored.load(write_kl(tmp_path / "elsewhere", scale=0.5)).fingerprint == first.fingerprint
    others = [write_kl(tmp_path / "a"), write_kl(tmp_path / "b", seed=1, scale=0.5)]
    assert len({first.fingerprint, *(stored.load(o).fingerprint for o in others)}) == 3
    assert first.at(16).spec.fingerprint == first.fingerprint
    first.save(tmp_path / "saved")
    assert stored.load(tmp_path / "saved").fingerprint == first.fingerprint


def test_opening_draws_nothing(folder):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    stored.load(folder)
    assert torch.equal(torch.rand(1), expected)


def test_sizes_that_the_stride_does_not_divide(folder):
    said = complaint(ConfigError, stored.Stored(source=str(folder), size=9).build)
    assert "size 9 is not a multiple of 2" in said
    assert "size 7" in complaint(ConfigError, config.load, "model", {
        "kind": "tokenizer", "network": stored.load(folder).model.network, "size": 7,
    })  # fmt: skip


# In a recipe ---------------------------------------------------------------------------------


def test_a_recipe_knows_size_and_fingerprint(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    found = resolved(*settings("kl"))
    fingerprint = stored.load(folder).fingerprint
    assert found.tokenizer == stored.Stored(source=str(folder), size=8, fingerprint=fingerprint)
    assert (found.model.network.channels, found.model.network.size) == (4, (4, 4))
    assert recipe.complete(config.dump(found)) == found


def test_a_run_trains_saves_loads_and_samples(folder, tmp_path):
    run = finish(tiny(tmp_path / "run", *settings(folder)))
    assert run.done
    made = mezzotint.load(tmp_path / "run")
    assert made.tree["tokenizer"]["fingerprint"] == stored.load(folder).fingerprint
    images = made.sample(["3", "4"], seeds=[1, 2])
    assert (images.shape, images.dtype) == ((4, 3, 8, 8), torch.uint8)
    alone = made.sample(["4"], seeds=[2])
    assert (alone[0].int() - images[3].int()).abs().max() <= 1
    made.save(tmp_path / "copy")
    copied = mezzotint.load(tmp_path / "copy")
    assert torch.equal(copied.sample(["3", "4"], seeds=[1, 2]), images)
    assert copied.digest == made.digest


def test_a_run_goes_on_where_its_tokenizer_has_moved_to_but_not_with_another(folder, tmp_path):
    finish(tiny(tmp_path / "run", *settings(folder, "train.steps=2")))
    moved = folder.rename(tmp_path / "moved")
    longer = finish(tiny(tmp_path / "run", *settings(moved, "train.steps=3")))
    assert longer.state.step == 3
    other = write_kl(tmp_path / "other", seed=1)
    run = tiny(tmp_path / "run", *settings(other, "train.steps=3"))
    assert "tokenizer.fingerprint differ" in complaint(ConfigError, run.open)


@pytest.fixture
def trained(folder, tmp_path):
    finish(tiny(tmp_path / "run", *settings(folder, "train.steps=1")))
    return tmp_path / "run"


def test_a_generator_refuses_another_tokenizer(folder, trained):
    wanted = stored.load(folder).fingerprint
    shutil.rmtree(folder)
    write_kl(folder, seed=1)
    said = complaint(CheckpointError, mezzotint.load, trained)
    assert f"{wanted} is wanted here" in said
    assert f"its fingerprint is {stored.load(folder).fingerprint}" in said


def test_a_run_that_has_begun_needs_the_file_no_more(folder, tmp_path):
    run = tiny(tmp_path / "run", *settings(folder, "train.steps=1"))
    shutil.rmtree(folder)
    assert finish(run).done


def test_a_generator_says_that_its_tokenizer_is_missing(folder, trained):
    shutil.rmtree(folder)
    said = complaint(CheckpointError, mezzotint.load, trained)
    assert "the tokenizer cannot be opened" in said
    assert str(folder) in said


def test_what_is_no_tokenizer_is_refused(folder, trained):
    said = complaint(CheckpointError, stored.Stored(source=str(trained), size=8).build)
    assert "a diffusion model, but a tokenizer model is wanted here" in said
    assert "a tokenizer model, but a diffusion" in complaint(
        CheckpointError, mezzotint.load, folder
    )


# As a model ----------------------------------------------------------------------------------


def test_it_tells_its_cost(folder):
    made = stored.load(folder)
    found = made.cost()
    assert found["parameters"] == sum(p.numel() for p in made.network.parameters())
    assert made.at(16).cost()["multiply_adds"] > 3 * found["multiply_adds"]


def test_it_is_published_in_bf16_as_another_tokenizer(folder, tmp_path):
    from mezzotint.averaged import publish

    publish(stored.load(folder), tmp_path / "half", torch.bfloat16)
    half = stored.load(tmp_path / "half")
    assert half.fingerprint != stored.load(folder).fingerprint
    sizes = [(f / checkpoint.WEIGHTS).stat().st_size for f in (tmp_path / "half", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    text = (tmp_path / "half" / "README.md").read_text()
    assert "A kl tokenizer: an image of 8 px becomes 4 x 4 x 4 numbers (E = 64), less " in text
    assert " and multiplied by 0.5 for a generator. How it was trained is not recorded." in text
    assert "held-out" not in text.lower()  # nothing tells which images it was trained on
    assert "tokenizer: {kind: stored, source: half}" in text


@pytest.mark.parametrize("kind", EVERY)
def test_sides_that_the_stride_does_not_divide_are_one_line(kind, tmp_path):
    made = stored.load(write_of(tmp_path / "t", EVERY[kind]))
    images = torch.zeros(1, 3, 9, 8, dtype=torch.uint8)
    for verb in (made.encode, made.restored):
        with pytest.raises(DataError, match="images of 9 x 8 pixels, but"):
            verb(images)
