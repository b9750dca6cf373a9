"""The loop: a guard against numbers that are none, pieces of a batch, clipping, rates, averages."""

import json
import math

import pytest
import torch
from torch import nn

from mezzotint.errors import ConfigError, NumericError
from mezzotint.training.ema import EMA
from mezzotint.training.optim import ConstantRate, CosineRate, FinalRate, adamw, learning_rate
from tests.tiny import finish, resolved, tiny


def spoil(run, steps, value=math.nan):
    """Make the loss of some steps a number that is none, by way of one output of the network."""

    def hook(_module, _inputs, output):
        if run.state.step in steps and output.requires_grad:
            output = output.clone()
            output[0, 0, 0, 0] = value
        return output

    run.network.register_forward_hook(hook)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_without_a_number_is_skipped_and_recorded(tmp_path, value):
    run = tiny(tmp_path, "train.log_every=1")
    spoil(run, {4, 5}, value)
    run.open()
    before, old = {}, {}
    for state in run.fit():
        after = {name: p.detach().clone() for name, p in run.network.named_parameters()}
        averages = {name: average.clone() for name, average in run.ema.state().items()}
        assert state.skipped == (state.step in {5, 6})
        assert state.in_a_row == {5: 1, 6: 2}.get(state.step, 0)
        if state.skipped:
            assert all(torch.equal(after[name], before[name]) for name in after)
            assert all(torch.equal(averages[n], old[n]) for n in averages)
        before, old = after, averages
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"]: line["not_finite"] for line in lines if "not_finite" in line} == {
        5: "loss",
        6: "loss",
    }
    assert [line["skipped"] for line in lines if line["step"] in {4, 5, 6, 7}] == [0, 1, 1, 0]
    assert all(torch.isfinite(p).all() for p in run.network.parameters())


def test_a_gradient_without_a_number_is_skipped_too(tmp_path):
    run = tiny(tmp_path)
    weight = run.network.head.linear.weight
    weight.register_hook(lambda g: g * math.inf if run.state.step == 3 else g)
    run.open()
    assert [state.step for state in run.fit() if state.skipped] == [4]


def test_it_stops_after_some_in_a_row_and_says_what_to_do(tmp_path):
    run = tiny(tmp_path, "train.patience=3")
    spoil(run, range(2, 100))
    run.open()
    with pytest.raises(NumericError, match=r"step 5: .* 3 steps in a row; lower train\.lr"):
        list(run.fit())
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert (json.loads(last)["step"], json.loads(last)["not_finite"]) == (5, "loss")


def test_skips_that_are_not_in_a_row_do_not_stop_it(tmp_path):
    run = tiny(tmp_path, "train.patience=2")
    spoil(run, {2, 4, 6, 8})
    assert finish(run).done


def gradient(folder, *settings):
    run = tiny(folder, "train.clip=null", *settings)
    with torch.no_grad():
        for p in run.network.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    state = next(run.steps())
    return state, {name: p.grad for name, p in run.network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("pieces", [2, 3, 5, 8, 20])
def test_pieces_add_up_to_the_batch(tmp_path, pieces):
    whole, expected = gradient(tmp_path)
    cut, found = gradient(tmp_path, f"train.accumulate={pieces}")
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    torch.testing.assert_close(cut.each, whole.each, rtol=1e-5, atol=0)
    assert torch.equal(cut.group, whole.group)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_norm_and_keeps_the_direction(tmp_path):
    free, expected = gradient(tmp_path)
    clipped, found = gradient(tmp_path, f"train.clip={free.norm / 4}")
    total = math.sqrt(sum(float((g**2).sum()) for g in expected.values()))
    assert free.norm == pytest.approx(total, rel=1e-5)
    assert clipped.norm == free.norm
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value / 4, rtol=1e-4, atol=1e-7)
    _, untouched = gradient(tmp_path, f"train.clip={free.norm * 2}")
    assert all(torch.equal(untouched[name], value) for name, value in expected.items())


def rates(decay, *, warmup=0, steps=10):
    return [
        learning_rate(k, peak=2.0, warmup=warmup, steps=steps, decay=decay) for k in range(steps)
    ]


def test_warm_up_rises_to_the_peak_in_equal_steps():
    assert rates(ConstantRate(), warmup=4)[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates(ConstantRate()) == [2.0] * 10


def test_the_cosine_is_one():
    expected = [1 + math.cos(math.pi * k / 10) for k in range(10)]
    assert rates(CosineRate()) == pytest.approx(expected)
    assert CosineRate(last=0.1)(1.0) == pytest.approx(0.1)
    assert CosineRate(last=0.1)(7.0) == pytest.approx(0.1)
    assert CosineRate()(0.5) == pytest.approx(0.5)


def test_the_final_fall_is_straight():
    found = rates(FinalRate(share=0.5, last=0.2))
    assert found[:6] == [2.0] * 6
    assert found[6:] == pytest.approx([2 * (0.2 + 0.8 * k / 5) for k in (4, 3, 2, 1)])
    assert FinalRate(share=0.5, last=0.2)(1.0) == pytest.approx(0.2)


def test_the_loop_uses_the_rate_of_its_step(tmp_path):
    run = tiny(tmp_path)
    plan = run.recipe.train
    assert [state.lr for state in run.steps()] == [plan.rate(k) for k in range(plan.steps)]


def test_averages_follow_their_closed_form_with_warm_up():
    module = nn.Linear(1, 1, bias=False)
    ema = EMA(module, (0.5, 0.999))
    expected = {decay: module.weight.item() for decay in ema.decays}
    for step in range(1, 60):
        with torch.no_grad():
            module.weight.fill_(math.sin(step))
        ema.update(step)
        for decay in expected:
            kept = min(decay, (1 + step) / (10 + step))
            expected[decay] = kept * expected[decay] + (1 - kept) * math.sin(step)
    for decay, value in expected.items():
        assert ema.averages[decay]["weight"].item() == pytest.approx(value, rel=1e-5)
    ema.restart()
    assert all(torch.equal(average, module.weight) for average in ema.state().values())


def test_only_matrices_decay_unless_all_shall():
    def dims(decay_vectors):
        options = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.3}
        groups = adamw(nn.Linear(3, 2), **options, decay_vectors=decay_vectors).param_groups
        return [(g["weight_decay"], [p.dim() for p in g["params"]]) for g in groups]

    assert dims(decay_vectors=False) == [(0.3, [2]), (0.0, [1])]
    assert dims(decay_vectors=True) == [(0.3, [2, 1]), (0.0, [])]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("train.steps=0", r"train\.steps: .*greater than or equal to 1, got 0"),
        ("train.ema=[0.9, 0.9]", r"train: ema \(0\.9, 0\.9\) names a decay twice"),
        ("train.ema=[1.0]", r"train\.ema\.0: .*less than 1, got 1\.0"),
        ("train.decay={kind: final, share: 0}", r"train\.decay\.share: .*greater than 0, got 0"),
        ("train.times={kind: logit-normal, deviation: 0}", r"train\.times\.deviation: "),
        ("train.precision=fp16", r"train\.precision: .*'float32'.* got 'fp16'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(setting, complaint):
    with pytest.raises(ConfigError, match=complaint):
        resolved(setting)
