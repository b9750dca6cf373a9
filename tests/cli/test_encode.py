"""`mezzotint encode`: a cache in a folder, gone on with, and trained on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mezzotint import load
from mezzotint.data.cache import open_cache
from mezzotint.evaluation.choices import trained_on
from tests.cli.conftest import Cli
from tests.tokenizers import tiny_kl, tiny_vq, write_kl

SHAPE = {"kind": "dit", "width": 16, "depth": 1, "heads": 2, "patch": 2}
RECIPE = {
    "model": {"kind": "diffusion", "network": SHAPE},
    "data": "digits",
    "train": {"steps": 3, "batch": 4, "precision": "float32", "validate_images": 4},
}


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.is_file()}


def test_images_are_encoded_once_and_trained_on(cli: Cli, tmp_path):
    out = tmp_path / "latents"
    arguments = ("encode", tiny_kl(), "digits", "--out", out, "--shard", "1000", "--json")
    done = cli(*arguments)
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["images"], said["held_out"], said["item"]) == (1438, 359, "8 x 4 x 4 F16")
    before = content(out)
    shown = json.loads(cli("show", out, "--json").out)
    assert (shown["images"], shown["manifest"]["shards"]) == (1438, 2)
    again = cli(*arguments)
    assert again.code == 0, again.err
    assert "2 of 2 files are there and whole" in again.err
    assert content(out) == before
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    data = f"data={{kind: latents, path: {out}}}"
    done = cli("train", tmp_path / "tiny.yaml", "-o", data, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "359 held out" in done.err
    other = write_kl(tmp_path / "other", seed=9)
    wrong = ("-o", data, "-o", f"tokenizer={{kind: stored, source: {other}}}")
    done = cli("train", tmp_path / "tiny.yaml", *wrong, "--out", tmp_path / "run2")
    assert done.code == 1
    assert "were made by the tokenizer" in done.err
    assert done.err.strip().count("\n") == 0
    shutil.rmtree(out)  # a model goes about without its cache, and knows its pictures all the same
    training, held_out, why = trained_on(load(tmp_path / "run").tree)
    assert training is not None, why
    assert held_out is not None
    assert (training.kind, len(held_out.pictures)) == ("digits", 359)


def test_tokens_are_counted(cli: Cli, tmp_path):
    done = cli("encode", tiny_vq(), "digits", "--out", tmp_path / "t", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["item"] == "4 x 4 I16"
    assert 1 <= said["perplexity"] <= said["used"] <= 16


def test_a_killed_job_goes_on_to_the_same_bytes(tmp_path):
    command = [sys.executable, "-m", "mezzotint", "encode", str(tiny_kl()), "digits", "--flip"]
    command += ["--shard", "60", "--device", "cpu", "--out"]
    quiet = {"env": os.environ, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, str(tmp_path / "cut")], **quiet) as job:
        until = time.monotonic() + 120
        while not list((tmp_path / "cut").glob("latents-00002*")) and time.monotonic() < until:
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
    assert not (tmp_path / "cut" / "manifest.json").exists()
    for name in ("cut", "whole"):
        subprocess.run([*command, str(tmp_path / name)], check=True, **quiet)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert len(open_cache(tmp_path / "cut")) == 1438


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nothing", "digits"), "nothing: neither a zoo model nor a path"),
        ((tiny_kl(), "digits", "--precision", "fp8"), "--precision fp8"),
        ((tiny_kl(), "nowhere"), "nowhere: no such folder"),
        ((tiny_kl(), "prints", "--size", "9"), "9"),
    ],
)
def test_bad_input_gets_one_line(cli: Cli, arguments, complaint, tmp_path):
    done = cli("encode", *arguments, "--out", tmp_path / "o")
    assert done.code == 1, done.err
    assert complaint in done.err
    assert done.err.strip().count("\n") == 0
    assert not (tmp_path / "o" / "manifest.json").exists()


def test_what_is_there_is_not_overwritten(cli: Cli, tmp_path):
    out = tmp_path / "o"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    done = cli("encode", "pixels", "digits", "--out", out)
    assert done.code == 1
    assert "holds something else (thesis.txt)" in done.err
    assert cli("encode", "pixels", "digits", "--out", out, "--force").code == 0
    assert (tmp_path / "o.1" / "thesis.txt").read_text() == "mine"
    done = cli("encode", "pixels", "digits", "--out", out, "--flip")
    assert done.code == 1
    assert "latents of another job" in done.err
