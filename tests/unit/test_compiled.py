"""A compiled network learns as a plain one does, in bfloat16 as in float32."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

RECIPE = {
    "model": {
        "kind": "diffusion",
        "network": {"kind": "dit", "width": 64, "depth": 1, "heads": 2, "patch": 1},
        "path": "linear",
        "prediction": "velocity",
    },
    "data": "digits",
    "train": {"steps": 3, "batch": 4, "lr": 1e-3, "precision": "bf16", "log_every": 1},
}


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_compiled_bfloat16_training_is_that_of_the_plain_network(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))

    def losses(compiled: str) -> list[float]:
        run = tmp_path / compiled
        # In a process of its own: here, types are checked at every call, which is not compiled.
        command = [sys.executable, "-m", "mezzotint", "train", str(recipe), "--out", str(run)]
        command += ["-o", f"train.compile={compiled}", "-o", "train.validate_every=1000"]
        subprocess.run([*command, "-o", "train.sample_every=1000"], check=True, capture_output=True)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert not any("not_finite" in line for line in lines)
        return [line["loss"] for line in lines]

    assert losses("true") == pytest.approx(losses("false"), rel=0.01)
