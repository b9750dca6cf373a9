"""DESIGN 4.7, law 12: load(dump(c)) == c, for every part that diffusion is built of."""

import pytest

from mezzotint import config, kinds

ROLES = [
    *("path", "schedule", "prediction", "weighting", "grid", "scale", "sampler", "rule"),
    *("diffusion", "sde-step", "target", "correction", "plan"),
]
PLAIN = [(role, kind) for role in ROLES for kind in kinds.names(role)]
NEEDS = {("prediction", "leading"): {"inner": "velocity"}}
FULL = [
    ("path", {"kind": "discrete-vp", "schedule": "cosine", "steps": 50, "clock_shift": 1.0}),
    ("prediction", {"kind": "learned-range", "mean": {"kind": "x0", "weighting": "min-snr"}}),
    ("grid", {"kind": "nested", "outer": {"kind": "log-snr", "end": 0.01}, "plan": "uniform"}),
    ("grid", {"kind": "respaced", "sections": [10, 15, 20]}),
    ("sampler", {"kind": "euler-maruyama", "diffusion": {"kind": "sbdm", "norm": 0.5}}),
    ("sampler", {"kind": "dpm-solver", "plan": {"kind": "fast", "order": 2}, "target": "noise"}),
    ("sampler", {"kind": "runge-kutta", "rule": "heun3", "land": False}),
    ("scale", {"kind": "interval", "scale": 3.0, "low": 0.2, "high": 0.8}),
]


@pytest.mark.parametrize(("role", "kind"), PLAIN, ids="-".join)
def test_law_12_a_part_survives_being_written(role, kind):
    part = config.load(role, {"kind": kind, **NEEDS.get((role, kind), {})})
    written = config.dump(part)
    assert written["kind"] == kind
    assert config.load(role, written) == part


@pytest.mark.parametrize(("role", "tree"), FULL)
def test_law_12_a_tree_survives_being_written(role, tree):
    part = config.load(role, tree)
    assert config.load(role, config.dump(part)) == part
    assert part != config.load(role, {"kind": tree["kind"]})
