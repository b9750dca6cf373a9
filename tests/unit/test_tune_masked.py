"""Tuning of masked models: the space's recipes, and what is left out."""

from dataclasses import replace

import pytest

from mezzotint import config
from mezzotint.drawing import Drawing
from mezzotint.errors import ConfigError
from mezzotint.evaluation.moments import Moments
from mezzotint.masked.curves import Along, Ramp
from mezzotint.token_sampling import MaskedSampling
from mezzotint.tune.log import Log, Look
from mezzotint.tune.propose import proposal
from mezzotint.tune.search import Bench
from mezzotint.tune.space import Computing, Range
from mezzotint.tune.spaces import space_of
from tests.evaluating import Patches
from tests.unit.test_token_generator import untrained

POINT = {"steps": 4, "order": "halton", "reveal": "arccos", "light": "1", "full": 0.5}
POINT |= {"scale": 1.75, "precision": "bf16"}


@pytest.fixture
def model():
    return untrained()


def test_points_are_recipes_that_draw(model):
    models = {"m": model}
    space = space_of("m", models, [], Computing(("fp32", "bf16")))
    axes = space.axes()
    assert axes["steps"] == Range(2, 8, whole=True)  # twice its own
    assert axes["light"] == ("0", "1", "2")
    assert axes["precision"] == ("fp32", "bf16")
    assert axes["scale"] == Range(1.0, 4.0)
    # The head is a denoiser, which cannot tell how sure it is; the own schedule is the cosine.
    assert axes["order"] == ("own", "random", "halton")
    assert axes["reveal"] == ("own", "arccos")
    drawing = space.drawing(POINT)
    made = drawing.of(models)
    wanted = {
        "steps": 4,
        "order": {"kind": "halton", "size": (4, 4)},
        "reveal": {"kind": "revealed", "curve": "arccos"},
        "reuse": 1,
        "after": 2,
        "guidance": config.dump(Ramp(1.0, 1.75, clock=config.load("clock", "known"))),
    }
    assert made.sampling == config.build(MaskedSampling, wanted)
    assert made.masked.plan.passes == (3, 1)
    assert config.load("along", config.dump(made.sampling.guidance)) == made.sampling.guidance
    assert isinstance(made.sampling.guidance, Along)
    assert config.build(Drawing, config.dump(drawing)) == drawing
    firsts = [space.drawing(each) for each in space.first()]
    assert firsts[0].of(models).sampling == model.sampling
    assert {each.sampling["reuse"] for each in firsts} == {0, 1, 2}
    for each in firsts:
        assert each.of(models).sample("1", seeds=0).shape == (1, 3, 8, 8)


def test_full_passes_at_the_start_mean_nothing_without_light_ones(model):
    space = space_of("m", {"m": model}, [], Computing())
    assert space.drawing({**POINT, "light": "0", "precision": "fp32"}).sampling["after"] == 0


def test_what_a_network_cannot_do_is_left_out(model, monkeypatch):
    monkeypatch.delattr(type(model.denoiser), "extend")
    axes = space_of("m", {"m": model}, [], Computing()).axes()
    assert "light" not in axes
    assert "full" not in axes
    nameless = {"m": replace(model, classes=())}
    assert "scale" not in space_of("m", nameless, [], Computing()).axes()


def test_a_release_that_reuses_by_itself_has_that_as_its_own_point(model):
    light = model.with_sampling(reuse=3, after=1)
    space = space_of("m", {"m": light}, [], Computing())
    assert space.axes()["light"] == ("3", "0", "1", "2")
    first = space.drawing(next(iter(space.first())))
    assert (first.sampling["reuse"], first.sampling["after"]) == (3, 1)


@pytest.mark.parametrize(
    ("small", "computing", "wanted"),
    [
        (["small"], Computing(), "m: a masked model cannot be stitched with small"),
        ([], Computing(compiled=True), "m: --compile: a masked model is not compiled"),
    ],
)
def test_what_does_not_fit_is_one_line(model, small, computing, wanted):
    with pytest.raises(ConfigError, match=wanted):
        space_of("m", {"m": model, "small": model}, small, computing)


def test_light_passes_are_not_plain(model, tmp_path):
    def look(**sampling):
        return Look(0, 0, {}, Drawing(source="m", sampling=sampling), 1.0, 1.0, 8)

    log = Log(tmp_path / "log.jsonl", {"recipe": config.dump(model.sampling)}).open()
    assert log.plain(look())
    assert log.plain(look(reuse=0))
    assert not log.plain(look(reuse=1))
    light = config.dump(model.with_sampling(reuse=1).sampling)
    by_itself = Log(tmp_path / "other.jsonl", {"recipe": light}).open()
    assert not by_itself.plain(look())


def test_a_look_at_a_masked_model_is_timed_and_measured(model):
    images = model.sample(seeds=range(4))
    real = Moments.of(Patches()(images).features)
    bench = Bench({"m": model}, "m", Patches(), real, (), batch=8, rounds=1)
    space = space_of("m", {"m": model}, [], Computing())
    ratio, distance = bench.look(space.drawing({**POINT, "precision": "fp32"}), 16, 0)
    assert ratio > 0
    own = bench.look(Drawing(source="m"), 16, 0)[1]
    assert 0 <= own != distance


@pytest.mark.parametrize(("steps", "after"), [(1, 0), (3, 1), (20, 30)])
def test_the_own_recipe_is_inside_of_its_space(model, steps, after):
    own = model.with_sampling(steps=steps, reuse=1, after=after)
    space = space_of("m", {"m": own}, [], Computing())
    looks = [
        Look(number, 0, params, space.drawing(params), 1.0 + number, 5.0 - number, 10)
        for number, params in enumerate(space.first())
    ]
    assert looks[0].drawing.of({"m": own}).masked.plan == own.masked.plan
    proposal(looks, space.axes(), seed=0, number=9)
