"""A tiny DiT learns the digits: the held-out loss falls, and a classifier reads what it draws.

Measured: held-out loss 0.276 (0.276 to 0.279 with three seeds), 99 % of 500 samples read as asked,
40 s of one shared core for everything.
"""

import json
import os
import subprocess
import sys

from tests.house.source import ROOT

HELD_OUT = 0.30
ACCURACY = 0.95
SECONDS = 60


def test_digits_are_learnt_in_a_minute(tmp_path):
    command = [sys.executable, "-m", "tests.learn.digits", str(tmp_path / "run")]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    print(report)
    assert report["judge"] >= 0.95, "the judge itself must know digits"
    assert report["held_out"] <= HELD_OUT
    assert report["accuracy"] >= ACCURACY
    assert report["distinct"] >= 490, "the samples of a class differ"
    assert report["seconds"] <= SECONDS
