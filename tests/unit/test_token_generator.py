"""Generators that reveal tokens: seeds, guidance, light passes, saving, and what does not fit."""

import pytest
import torch

import mezzotint
from mezzotint import config, recipe
from mezzotint.adapting import Adapting
from mezzotint.autoguiding import autoguided
from mezzotint.errors import CheckpointError, ConfigError, DataError
from mezzotint.judges import judge_of
from mezzotint.masked.curves import Flat, Known, Ramp
from mezzotint.masked.diffusion_head import Diffusing
from mezzotint.masked.recap import recap
from mezzotint.steering import steered
from mezzotint.token_generator import TokenGenerator
from mezzotint.token_sampling import MaskedSampling
from mezzotint.training.experts import ExpertPlan
from tests.tiny import MASKED, finish, resolved, tiny


def untrained() -> TokenGenerator:
    made = resolved(tree=MASKED)
    torch.manual_seed(0)
    network = made.model.network.build().eval().requires_grad_(requires_grad=False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    classes = tuple(map(str, range(made.model.network.num_classes)))
    found = made.product(network, classes, {})
    assert isinstance(found, TokenGenerator)
    return found


@pytest.fixture
def model() -> TokenGenerator:
    return untrained()


def test_an_image_depends_on_its_class_and_seed_alone(model):
    images = model.sample(["3", "7"], seeds=range(3), batch=4)
    assert images.shape == (6, 3, 8, 8)
    assert images.dtype == torch.uint8
    alone = model.sample("7", seeds=1)
    assert int((images[4].int() - alone[0].int()).abs().max()) <= 1  # up to rounding
    assert not torch.equal(images[3], images[4])


def test_reuse_0_is_the_same_bit_for_bit_and_reuse_1_another_with_fewer_full_passes(model):
    plain = model.sample("1", seeds=range(2))
    assert torch.equal(model.sample("1", seeds=range(2), reuse=0, after=2), plain)
    light = model.with_sampling(reuse=1, after=1)
    assert light.masked.plan.passes == (3, 1)
    assert model.masked.plan.passes == (4, 0)
    images = light.sample("1", seeds=range(2))
    assert not torch.equal(images, plain)
    assert images.shape == plain.shape


def test_steps_yield_the_canvas_after_each_stage(model):
    frames = list(model.steps([1, 2], [0, 0]))
    assert len(frames) == 4
    assert [frame.t for frame in frames] == sorted((f.t for f in frames), reverse=True)
    assert frames[-1].t == 0
    assert frames[0].x.shape == (2, 3, 8, 8)
    blank = frames[0].x.abs().sum(1) == 0
    assert float(blank.float().mean()) == pytest.approx(frames[0].t)


def test_guidance_is_scaled_and_its_shape_kept(model):
    three = model.with_sampling(guidance=3.0)
    assert three.sampling.guidance == Ramp(1.0, 3.0, clock=Known())
    assert not torch.equal(latents(three), latents(model))
    plain = model.with_sampling(guidance=1.0)
    flat = model.with_recipe(model.sampling.model_copy(update={"guidance": Flat(1.0)}))
    assert torch.equal(latents(plain), latents(flat))


def latents(model: TokenGenerator) -> torch.Tensor:
    *_, last = model.steps([1], [2])
    return last.x


def test_the_head_can_be_changed_for_sampling_and_misspelt(model):
    tree = config.dump(model.sampling) | {
        "head": {"steps": 2, "temperature": {"kind": "flat", "value": 0.9}}
    }
    other = model.with_recipe(config.build(MaskedSampling, tree))
    head = other.masked.head
    assert (head.steps, head.temperature, head.repeats) == (2, Flat(0.9), 2)
    wrong = model.with_recipe(config.build(MaskedSampling, {**tree, "head": {"stesp": 2}}))
    with pytest.raises(
        ConfigError, match=r"sampling\.head\.stesp: unknown key; did you mean steps"
    ):
        wrong.sample("1")


def test_it_is_saved_and_loaded_and_its_digest_stays(model, tmp_path):
    model.save(tmp_path / "m")
    again = mezzotint.load(tmp_path / "m")
    assert isinstance(again, TokenGenerator)
    assert again.sampling == model.sampling
    assert torch.equal(again.sample("1", seeds=3), model.sample("1", seeds=3))
    assert again.digest == mezzotint.load(tmp_path / "m" / "model.safetensors").digest
    assert again.cost()["parameters"] == sum(p.numel() for p in model.denoiser.parameters())
    assert again.cost()["multiply_adds"] > 0
    assert again.to("cpu", autocast=torch.bfloat16).denoiser.autocast == torch.bfloat16
    assert again.sample("1", seeds=3).shape == (1, 3, 8, 8)
    assert again.sheet().size[0] > 0


def test_it_is_not_taken_for_a_denoiser(model):
    with pytest.raises(ConfigError, match="has no denoiser"):
        _ = model.guided


def test_settings_of_other_generators_are_unknown_here(model):
    with pytest.raises(ConfigError, match="sampler: unknown key"):
        model.sample("1", sampler="ddim")


def test_a_run_makes_one_and_goes_on_with_no_other_kind(tmp_path):
    run = finish(tiny(tmp_path, "train.steps=3", tree=MASKED))
    made = mezzotint.load(tmp_path)
    assert isinstance(made, TokenGenerator)
    assert len(made.classes) == 10
    assert run.state.step == 3
    with pytest.raises(ConfigError, match="holds a run of another recipe"):
        tiny(tmp_path).open()


def test_a_complete_recipe_comes_back_from_a_file():
    found = resolved(tree=MASKED)
    assert recipe.complete(config.dump(found)) == found
    assert found.changes(config.dump(found)) == []
    other = resolved("model.head.repeats=3", tree=MASKED)
    assert other.changes(config.dump(found)) == ["model.head.repeats"]
    assert isinstance(found.model.head, Diffusing)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.drop=0", r"sampling\.guidance needs a null class: set train\.drop above 0"),
        ("sampling.head={stesp: 3}", r"sampling\.head\.stesp: unknown key; did you mean steps"),
        ("sampling.order=confidence", r"sampling\.order: it looks at how sure.*use random, raster"),
        ("sampling.reuse=-1", "sampling.reuse: input should be greater than or equal to 0"),
        ("model.head.kind=categorcial", r"model\.head\.kind: unknown head .*categorical"),
        ("model.network.kind=dit", "model.network"),
        ("train.masking.low=1.5", r"train\.masking\.low"),
    ],
)
def test_a_recipe_that_does_not_fit_is_one_line(setting, message):
    with pytest.raises(ConfigError, match=message) as error:
        resolved(setting, tree=MASKED)
    assert "\n" not in str(error.value)


def test_another_kind_of_model_is_no_generator(tmp_path):
    finish(tiny(tmp_path, "train.steps=1", tree=MASKED))
    from mezzotint import classifier

    with pytest.raises(CheckpointError, match="a masked model, but a classifier model is wanted"):
        classifier.load(tmp_path)


def test_recap_takes_what_load_returns(model):
    light = recap(model, reuse=1, after=1)
    assert isinstance(light, TokenGenerator)
    assert light.masked.plan == recap(model.masked, reuse=1, after=1).plan
    assert torch.equal(recap(model, reuse=0).sample("1", seeds=2), model.sample("1", seeds=2))


def test_nothing_steers_what_walks_from_no_noise(model, tmp_path):
    for verb in (
        lambda: steered(model, judge_of("digits-guide"), 1.0),
        lambda: autoguided(model, model, 2.0),
        lambda: Adapting.of("digits-guide", str(saved(model, tmp_path)), ExpertPlan(), tmp_path),
    ):
        with pytest.raises(ConfigError, match="a masked model walks from no noise"):
            verb()


def saved(model, folder):
    model.save(folder / "masked")
    return folder / "masked"


def test_numbers_stand_for_flat_curves_and_heads_keep_their_kind(model):
    tree = config.dump(model.sampling)
    flat = config.build(MaskedSampling, {**tree, "guidance": 3, "head": {"temperature": 0.9}})
    assert flat.guidance == Flat(3)
    assert flat.head_of(model.denoiser.head).temperature == Flat(0.9)
    inner = config.build(MaskedSampling, {**tree, "head": {"temperature": {"value": 0.8}}})
    assert inner.head_of(model.denoiser.head).temperature == Flat(0.8)
    other = config.build(MaskedSampling, {**tree, "head": {"kind": "categorical"}})
    with pytest.raises(ConfigError, match="the model's head is diffusion, not categorical"):
        other.head_of(model.denoiser.head)


def test_labels_and_seeds_are_as_many(model):
    with pytest.raises(DataError, match="2 labels, 1 seeds: expected one of each"):
        list(model.stream([1, 2], [0]))


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("sampling.order={kind: halton, size: [4, 5]}", "4 x 5 is 20 tokens, expected 16"),
        ("sampling={steps: 14, reveal: at-least-one}", "14 steps of at least one token"),
    ],
)
def test_a_recipe_that_could_not_draw_is_refused_before_it_trains(setting, wanted):
    """It trained for a thousand steps first, and ended at its first picture."""
    with pytest.raises(ConfigError, match=wanted):
        resolved(setting, tree=MASKED)
