"""Tuning: fronts and goals against their definitions, the space's recipes, and the halving."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch

from mezzotint import bench, config
from mezzotint.drawing import Drawing, Turn
from mezzotint.errors import ConfigError
from mezzotint.sampling import Sampling
from mezzotint.tune import search as searching
from mezzotint.tune.front import Budget, MaxLoss, dominates, front, goal_of, ranked
from mezzotint.tune.log import Log, Look
from mezzotint.tune.propose import proposal
from mezzotint.tune.search import OWN_TRIAL, Search
from mezzotint.tune.space import Computing, Range, known_precisions
from mezzotint.tune.spaces import space_of
from tests.unit.test_stitching import made


def look(ratio, distance, trial=0, **more):
    return Look(trial, 0, {"steps": 4}, Drawing(source="m"), ratio, distance, 10, **more)


POINTS = [(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0), (4.0, 1.0), (0.5, None)]
LOOKS = [look(ratio, distance, k) for k, (ratio, distance) in enumerate(POINTS)]


def test_the_front_is_what_none_dominates():
    found = front(LOOKS)
    assert [(each.ratio, each.distance) for each in found] == [(1, 5), (2, 3), (4, 1)]
    for each in LOOKS[:5]:
        assert (each in found) == (not any(dominates(o, each) for o in LOOKS[:5]))
    assert not dominates(LOOKS[0], LOOKS[0])
    assert all(a.ratio < b.ratio and a.value > b.value for a, b in pairwise(found))
    assert [each.distance for each in ranked(LOOKS)] == [1, 3, 5, 3, 4]
    assert front([]) == ranked([]) == []


def test_goals_choose():
    timed = [(each, each.ratio * 2) for each in LOOKS]
    own = replace(LOOKS[4], distance=2.95)
    assert Budget(4.0).best(timed, own) is LOOKS[1]
    assert Budget(1.5).best(timed, own) is None
    assert MaxLoss(0.02).best(timed, own) is LOOKS[1]
    assert MaxLoss(1.0).best(timed, own) is LOOKS[0]
    assert Budget(4.0).near(4.3)
    assert not Budget(4.0).near(4.5)


@pytest.mark.parametrize(
    ("budget", "loss", "wanted"),
    [
        ("0.5s", None, Budget(0.5)),
        ("80ms", None, Budget(0.08)),
        (".5", None, Budget(0.5)),
        (None, "2%", MaxLoss(0.02)),
        (None, "0 %", MaxLoss(0.0)),
    ],
)
def test_goals_are_read(budget, loss, wanted):
    assert goal_of(budget, loss) == wanted


@pytest.mark.parametrize(
    ("budget", "loss"), [(None, None), ("1s", "1%"), ("-1s", None), ("1m", None)]
)
def test_what_is_no_goal_is_refused(budget, loss):
    with pytest.raises(ConfigError, match="--budget"):
        goal_of(budget, loss)


@pytest.fixture
def models():
    return {"large": made(32, seed=1), "small": made(16, seed=2), "middle": made(24, seed=3)}


def test_a_space_leaves_out_what_does_not_work_on_the_path(models):
    space = space_of("large", models, ["small"], Computing())
    assert "respaced" not in space.grids  # a linear path is no chain
    assert {"own", "shifted"} <= space.grids.keys()
    assert "ddim" not in space.samplers  # the own sampler is that
    axes = space.axes()
    assert axes["part0"] == Range(0.0, 1.0, step=0.05)
    assert "precision" not in axes
    assert axes["scale"] == Range(1.0, 4.0)
    alone = space_of("large", models, [], Computing(("fp32", "bf16"))).axes()
    assert "part0" not in alone
    assert alone["precision"] == ("fp32", "bf16")
    unguided = {"large": made(null_row=False), "small": made()}
    assert "scale" not in space_of("small", unguided, ["large"], Computing()).axes()


def test_points_are_recipes_that_draw(models):
    space = space_of("large", models, ["small", "middle"], Computing(("fp32", "bf16")))
    point = {"steps": 4, "sampler": "heun", "grid": "shifted", "shift": 2.0, "scale": 1.5}
    point |= {"low": 0.1, "high": 0.7, "precision": "bf16", "part0": 0.5, "part1": 0.4}
    drawing = space.drawing(point)
    assert drawing.stitch == (
        Turn(source="small", fraction=0.5),
        Turn(source="middle", fraction=0.2),
    )
    assert drawing.precision == "bf16"
    one = drawing.of(models)
    wanted = {"sampler": "heun", "grid": {"kind": "shifted", "shift": 2.0}, "steps": 4}
    wanted["guidance"] = {"kind": "interval", "scale": 1.5, "low": 0.1, "high": 0.7}
    assert one.sampling == config.build(Sampling, wanted)
    assert one.denoiser.fractions == pytest.approx((0.5, 0.2, 0.3))
    assert one.denoiser.autocast is torch.bfloat16
    assert config.build(Drawing, config.dump(drawing)) == drawing
    assert drawing.name == "small:0.5 + middle:0.2 + large"
    whole = space.drawing({**point, "part0": 1.0, "part1": 1.0})
    assert [turn.source for turn in whole.stitch] == ["small"]
    firsts = [space.drawing(each) for each in space.first()]
    assert any(each.stitch for each in firsts)
    assert not firsts[0].stitch
    assert firsts[0].of(models).sampling.steps == models["large"].sampling.steps


def test_compiled_is_a_choice_where_asked_for(models):
    space = space_of("large", models, [], Computing(compiled=True))
    assert space.axes()["compiled"] == ("no", "yes")
    assert space.drawing({**space.own, "compiled": "yes"}).compiled
    drawn = [space.drawing(each) for each in space.first()]
    assert [(each.compiled, each.sampling["steps"]) for each in drawn if each.compiled] == [
        (True, models["large"].sampling.steps)
    ]


def test_unknown_precisions_are_refused():
    with pytest.raises(ConfigError, match="--precision fp16: did you mean"):
        known_precisions(["fp32", "fp16"])


def test_a_proposal_depends_on_the_looks_the_seed_and_its_number(models):
    space = space_of("large", models, ["small"], Computing())
    axes = space.axes()
    looks = []
    for number, params in enumerate(space.first()):
        drawing = space.drawing(params)
        looks.append(Look(number, 0, params, drawing, 1.0 + number, 5.0 - number, 10))
    first, again, other = (proposal(looks, axes, seed=0, number=number) for number in (20, 20, 21))
    assert first == again != other
    assert first.keys() == axes.keys()
    space.drawing(first).of(models)


@dataclass
class Table:
    """Instead of drawing: more steps are slower and better, and seeds are told."""

    asked: list[tuple[int, int]] = field(default_factory=list)

    def look(self, drawing, count, seed):
        self.asked.append((count, seed))
        steps = drawing.sampling.get("steps", 5)
        if steps == 4:
            raise ConfigError("four is not drawn")
        fraction = sum(turn.fraction for turn in drawing.stitch)
        return steps * (1 - 0.8 * fraction), 10 / steps + fraction + 100 / count

    def unit(self):
        return 0.01


def test_the_halving_looks_closer_at_fewer_with_other_seeds(models, tmp_path):
    space = space_of("large", models, ["small"], Computing())
    table, said = Table(), []
    log = Log(tmp_path / "log.jsonl", {"a": 1}).open()
    search = Search(
        bench=table,
        space=space,
        goal=Budget(0.04),
        log=log,
        trials=12,
        counts=(10, 20, 40),
        seed=7,
        watch=lambda what, done, total: said.append((what, done, total)),
    )
    last = search.run()
    stages = [list(log.at(stage)) for stage in range(3)]
    assert len(stages[0]) == 13
    assert 13 > len(stages[1]) >= len(stages[2]) > 1
    assert [each.trial for each in stages[2]] == [each.trial for each in last]
    assert all(stage[0].trial == OWN_TRIAL for stage in stages)
    assert len({seed for _, seed in table.asked}) == 3
    assert {count for count, _ in table.asked} == {10, 20, 40}
    assert {log.plain(each) for each in last} == {False, True}
    for each in last[1:]:  # what is near the budget is looked at again, and the fastest else
        group = [e for e in stages[0] if log.plain(e) is log.plain(each) and e.distance is not None]
        fastest = min(log.timed(e) for e in group if e.trial != OWN_TRIAL)
        assert log.timed(each) <= max(1.1 * 0.04, fastest)
    best = search.goal.best([(e, log.timed(e)) for e in last], search.own(last))
    assert best is not None
    assert log.timed(best) <= 0.04
    four = [each for each in stages[0] if each.drawing.sampling.get("steps") == 4]
    assert all(each.distance is None and "four" in each.why for each in four)
    assert said[-1][0] == "look 3 of 3"
    before = len(table.asked)
    reopened = Log(tmp_path / "log.jsonl", {"a": 1}).open()
    assert reopened.looks == log.looks
    assert replace(search, log=reopened).run() == last
    assert len(table.asked) == before


def test_every_second_proposal_is_of_the_model_alone(models, tmp_path):
    """Or the stitched settings would be tuned, and what they are compared with would not."""
    space = space_of("large", models, ["small"], Computing())
    first = len(list(space.first()))
    log = Log(tmp_path / "log.jsonl", {}).open()
    trials = first + 8
    Search(Table(), space, Budget(1.0), log, trials, (4,), 3, lambda *_: None).run()
    alone = [each for each in log.at(0) if each.trial >= first and log.plain(each)]
    assert {each.trial for each in alone} >= {n for n in range(first, trials) if n % 2}
    assert len({each.params["scale"] for each in alone}) == len(alone)  # searched, not the own one
    assert len(alone) < trials - first


def test_an_own_recipe_that_cannot_be_drawn_is_said(models, tmp_path):
    class Nothing(Table):
        def look(self, drawing, count, seed):
            raise ConfigError("no luck")

    log = Log(tmp_path / "log.jsonl", {}).open()
    space = space_of("large", models, [], Computing())
    search = Search(Nothing(), space, Budget(1.0), log, 1, (4, 8), 0, lambda *_: None)
    with pytest.raises(ConfigError, match="large cannot be drawn by its own recipe: no luck"):
        search.run()


def test_pairs_are_timed_in_turn(monkeypatch):
    now, heard = [0.0], []

    def job(name, takes):
        def run():
            heard.append(name)
            now[0] += takes * (1 + 0.5 * len(heard))  # the machine slows down

        return run

    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    found = bench.paired(job("a", 3.0), job("b", 1.0), 5)
    assert "".join(heard) == "ab" + "abbaabbaab"  # once to warm up, then in changing order
    assert found == pytest.approx(3.0, rel=0.35)


def test_a_look_is_timed_beside_the_yardstick_and_measured_on_its_own_seeds(models, monkeypatch):
    from mezzotint.evaluation.moments import Moments
    from tests.evaluating import Patches

    real = Moments.of(Patches()(models["large"].sample(seeds=range(20))).features)
    ones = searching.Bench(models, "large", Patches(), real, (), batch=8, rounds=2)
    drawing = Drawing(source="large", stitch=(Turn(source="small", fraction=0.4),))
    ratio, distance = ones.look(drawing, 30, 0)
    assert ratio > 0
    assert ones.look(drawing, 30, 0)[1] == distance != ones.look(drawing, 30, 1)[1]
    whole = drawing.model_copy(update={"stitch": ()})
    assert ones.look(whole, 30, 0)[1] < distance  # its samples are the reference
    assert ones.unit() > 0


@pytest.mark.parametrize("steps", [1, 2, 500])
def test_the_own_recipe_is_inside_of_its_space(steps):
    """500 steps were outside of it, and 2: the search stopped where Optuna was first asked."""
    space = space_of("m", {"m": made().with_sampling(steps=steps)}, [], Computing())
    looks = [
        Look(number, 0, params, space.drawing(params), 1.0 + number, 5.0 - number, 10)
        for number, params in enumerate(space.first())
    ]
    assert looks[0].params["steps"] == steps
    axes = space.axes()
    found = proposal(looks, axes, seed=0, number=9)["steps"]
    assert axes["steps"].low <= found <= axes["steps"].high
