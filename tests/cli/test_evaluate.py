"""`mezzotint evaluate` as a user runs it: on folders, on a model, on what cannot be measured."""

import json
import shutil

import pytest
import torch

from mezzotint import classifier, config
from mezzotint.checkpoint import read_tensors, write_tensors
from mezzotint.classifier import Classifier
from mezzotint.data.npz import open_npz, open_statistics
from mezzotint.evaluation.report import Report
from mezzotint.tokenizers.base import Pixels
from tests.evaluating import pictures, save_folder, save_npz
from tests.tokenizers import tiny_kl, tiny_vq

NAMES = ("cat", "dog", "red fox")


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """An untrained classifier of the classes that the tiny model draws."""
    network = {"kind": "residual", "widths": [8, 16], "blocks": 1, "stride": 1}
    shape = {"channels": 3, "size": [8, 8], "num_classes": 3}
    model = config.load("model", {"kind": "classifier", "network": network | shape})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = Pixels(size=8)
        tree = {"model": model, "tokenizer": tokenizer, "classes": NAMES}
        made = Classifier(model.build(), model, tokenizer, NAMES, tree)
    folder = tmp_path_factory.mktemp("classifiers") / "fox-judge"
    made.save(folder)
    return folder


@pytest.fixture
def space(judge):
    """What a distance in the features of that classifier is called after."""
    return f"fox-judge({classifier.load(judge).digest[:8]})"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def real(tmp_path):
    return save_folder(tmp_path / "real", pictures(60, classes=NAMES))


def one_line(outcome):
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("mezzotint: ")
    return outcome.err


def test_a_folder_against_a_folder(cli, tmp_path, real, judge, space):
    samples = save_folder(tmp_path / "samples", pictures(30, seed=1, classes=NAMES))
    out = tmp_path / "report"
    command = ["evaluate", samples, real, "--features", judge, "--judge", judge, "--out", out]
    outcome = cli(*command, "--json")
    assert outcome.code == 0, outcome.err
    values = json.loads(outcome.out)
    report = Report.read(out / "report.json")
    assert values[f"FD-{space}"] == report.scores[0].value > 0
    assert {f"KID-{space}", "precision", "recall", "class accuracy"} <= values.keys()
    assert report.protocol.samples_count == 30
    assert report.protocol.reference_count == 60
    assert "evaluate" in report.command
    assert f"FD-{space}" in (out / "report.html").read_text()
    assert str(report.protocol) in outcome.err
    assert "already holds results" in one_line(cli(*command))


def test_a_model_is_drawn_and_measured_and_goes_on_where_it_stopped(
    cli, tmp_path, model, real, judge
):
    command = ["evaluate", "--model", model, "--count", 300, "--steps", 1]
    command += ["--features", judge, "--judge", judge, "--out", tmp_path / "report"]
    command += [real]
    first = cli(*command, "--json")
    assert first.code == 0, first.err
    shards = sorted((tmp_path / "report" / "samples").glob("shard-*.npz"))
    assert [len(open_npz(each)) for each in shards] == [256, 44]
    assert open_npz(shards[0]).labels[:5].tolist() == [0, 1, 2, 0, 1]
    shards[1].unlink()
    before = shards[0].stat().st_mtime_ns
    again = cli(*command, "--json")
    assert again.code == 0, again.err
    assert "256 of 300 samples are there already" in again.err
    assert shards[0].stat().st_mtime_ns == before
    assert json.loads(again.out) == json.loads(first.out)
    other = cli(*command, "--guidance", 3)
    assert "samples made with another sampling" in one_line(other)
    report = Report.read(tmp_path / "report" / "report.json")
    assert report.protocol.steps == 1
    assert report.protocol.seeds == "0 to 299"
    assert report.protocol.labels == "as the reference"


def test_reconstructions_in_pairs(cli, tmp_path, real, judge, space):
    images = pictures(60, classes=NAMES)
    order = torch.tensor([k for c in range(3) for k in range(c, 60, 3)])
    noisy = (images.pixels[order].int() + 5).clamp(0, 255).to(torch.uint8)
    samples = save_npz(tmp_path / "a.npz", images.of(noisy, images.labels[order], NAMES))
    out = tmp_path / "report"
    outcome = cli(
        *("evaluate", samples, real, "--pairs", "--features", judge, "--judge", "none"),
        *("--out", out, "--json"),
    )
    assert outcome.code == 0, outcome.err
    values = json.loads(outcome.out)
    assert values["PSNR"] == pytest.approx(20 * torch.tensor(255 / 5).log10().item(), abs=0.3)
    assert "SSIM" not in values  # its window is larger than these images
    assert f"rFD-{space}" in values
    fewer = save_npz(tmp_path / "b.npz", images.only(torch.arange(20)))
    outcome = cli(
        *("evaluate", fewer, real, "--pairs", "--features", judge, "--judge", "none"),
        *("--out", tmp_path / "other"),
    )
    assert "20 reconstructions of 60 originals" in outcome.err


def test_a_tokenizer_is_judged_on_images(cli, tmp_path, real, judge, space):
    common = ("--features", judge, "--judge", "none", "--json")
    out = tmp_path / "report"
    outcome = cli("evaluate", "--reconstruct", tiny_kl(), real, "--out", out, *common)
    assert outcome.code == 0, outcome.err
    values = json.loads(outcome.out)
    assert values["verdict"].startswith("This tokenizer does not fit these images: PSNR is ")
    assert f"rFD-{space}" in values
    report = Report.read(out / "report.json")
    assert {row.name for row in report.classes if row.psnr is not None} == set(NAMES)
    assert report.memorisation is None
    assert report.verdict == values["verdict"]
    html = (out / "report.html").read_text("utf-8")
    assert "The worst by PSNR: what came back, with its original on the right." in html
    assert "PSNR, dB" in html
    tokens = cli("evaluate", "--reconstruct", tiny_vq(), real, "--out", tmp_path / "t", *common)
    assert tokens.code == 0, tokens.err
    two = cli("evaluate", "--reconstruct", tiny_kl(), real, real, "--out", tmp_path / "x")
    assert "wants one folder of images" in one_line(two)
    odd = save_npz(tmp_path / "odd.npz", pictures(6, size=7))
    wrong = cli("evaluate", "--reconstruct", tiny_kl(), odd, "--out", tmp_path / "x", *common)
    assert "size 7 is not a multiple of 2" in one_line(wrong)
    assert not (tmp_path / "x").exists()


def test_a_reference_is_written_as_adm_reads_it(cli, tmp_path, real, judge, space):
    samples = save_folder(tmp_path / "samples", pictures(30, seed=1, classes=NAMES))
    path = tmp_path / "reference.npz"
    common = ["--features", judge, "--judge", "none", "--json"]
    first = cli(
        *("evaluate", samples, real, "--statistics", path, "--out", tmp_path / "a", *common)
    )
    assert first.code == 0, first.err
    assert len(open_npz(path)) == 60
    assert open_statistics(path).keys() == {"mu", "sigma"}
    second = cli("evaluate", samples, path, "--out", tmp_path / "b", *common)
    assert second.code == 0, second.err
    ours, theirs = json.loads(first.out), json.loads(second.out)
    assert theirs[f"FD-{space}"] == pytest.approx(ours[f"FD-{space}"], rel=1e-9)


def test_what_cannot_be_measured_is_one_line(cli, tmp_path, model, real, judge, monkeypatch):
    samples = save_folder(tmp_path / "samples", pictures(30, seed=1, classes=NAMES))
    out = ["--out", tmp_path / "report"]
    assert "give either SAMPLES" in one_line(cli("evaluate", *out))
    assert "give either SAMPLES" in one_line(cli("evaluate", samples, real, "--model", model, *out))
    assert "no reference given" in one_line(cli("evaluate", samples, *out))
    unknown = cli("evaluate", samples, real, "--features", "incepton", *out)
    assert "did you mean inception" in one_line(unknown)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    missing = one_line(cli("evaluate", samples, real, "--features", "inception", *out))
    assert "weights-inception-2015-12-05-6726825d.pth" in missing
    few = cli("evaluate", samples, real, "--features", judge, "--count", 31, *out)
    assert "30 samples, 31 were asked for" in one_line(few)
    small = save_npz(tmp_path / "small.npz", pictures(30, size=4))
    assert "4 px and real 8 px" in one_line(cli("evaluate", small, real, *out))
    pairs = cli("evaluate", samples, real, "--features", judge, "--steps", 3, *out)
    assert "--steps: only with --model" in one_line(pairs)
    inside = cli("evaluate", samples, real, "--out", tmp_path, "--force")
    assert "which is to be read" in one_line(inside)
    assert samples.is_dir()
    wrong = cli("evaluate", "--model", model, "digits:held-out", "--features", "nothing", *out)
    assert "no extractor 'nothing'" in one_line(wrong)
    assert not (tmp_path / "report" / "samples").exists()
    assert not (tmp_path / "report" / "report.json").exists()


def test_pictures_without_labels(cli, tmp_path, real, judge):
    flat, images = tmp_path / "flat", pictures(30, seed=1, classes=NAMES)
    flat.mkdir()
    for path in save_folder(tmp_path / "samples", images).rglob("*.png"):
        path.rename(flat / f"{path.parent.name}{path.name}")
    common = ["--features", judge, "--json"]
    for samples, reference in ((flat, real), (real, flat), (flat, flat)):
        out = tmp_path / f"{samples.name} {reference.name}"
        outcome = cli("evaluate", samples, reference, "--out", out, *common)
        assert outcome.code == 0, outcome.err
        assert "class accuracy" not in json.loads(outcome.out)
    judged = cli("evaluate", flat, real, "--judge", judge, "--out", tmp_path / "x", *common)
    assert judged.code == 0, judged.err


def test_samples_of_other_weights_are_not_taken_for_these(cli, tmp_path, model, real, judge):
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    command = ["evaluate", "--model", copy, real, "--count", 20, "--steps", 1]
    command += ["--features", judge, "--judge", "none", "--out", tmp_path / "report"]
    assert cli(*command).code == 0
    weights = copy / "model.safetensors"
    tensors, note = read_tensors(weights)
    write_tensors(weights, {name: tensor + 0.1 for name, tensor in tensors.items()}, note)
    assert "samples made with another weights_digest" in one_line(cli(*command))
