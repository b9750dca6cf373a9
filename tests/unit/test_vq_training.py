"""Training of tokenizers with a codebook: what the penalty is, and what a run says of its codes."""

import json
from dataclasses import replace

import pytest
import torch

from mezzotint import config, stored
from mezzotint.averaged import publish
from mezzotint.evaluation.paired import PSNR
from mezzotint.noise import SeededNoise
from mezzotint.recipe import resolve
from mezzotint.run import Run
from mezzotint.tokenizers.vq import COMMITMENT, ENTROPY, Codebook, use
from mezzotint.training.distributed import Ranks
from tests.tokenizers import VQ

TREE = {
    "model": {"kind": "tokenizer", "network": {"kind": "vq", **VQ}},
    "data": "digits",
    "train": {
        "steps": 6,
        "batch": 8,
        "lr": 1e-3,
        "precision": "float32",
        "weights": {"penalty": 0.1},
        "log_every": 2,
        "validate_every": 3,
        "validate_images": 32,
        "sample_every": 6,
    },
}
ALONE = Ranks(0, 1, torch.device("cpu"))


def test_entropy_is_least_for_sure_choices_of_all_codes():
    """With codes far apart: -log K when all are chosen alike, 0 when one is, log K - log K else."""
    book = Codebook(4, 2, spherical=False)
    with torch.no_grad():
        book.weight.copy_(torch.tensor([[9.0, 0], [0, 9], [-9, 0], [0, -9]]))
    all_alike = book.weight.detach().T[None, :, :, None]
    one = all_alike[:, :, :1].expand(1, 2, 4, 1)
    middle = torch.zeros(1, 2, 4, 1)
    log4 = torch.tensor(4.0).log().item()
    assert book.entropy(all_alike, 0.01).item() == pytest.approx(-log4, abs=1e-3)
    assert book.entropy(one, 0.01).item() == pytest.approx(0, abs=1e-3)
    assert book.entropy(middle, 0.01).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", ["vq", "maskgit-vq"])
def test_the_penalty_is_made_of_its_parts(kind):
    tree = {**TREE, "model": {"kind": "tokenizer", "network": {"kind": kind, **VQ}}}
    network = resolve(tree).model.network.build()
    x = torch.rand(3, 3, 8, 8) * 2 - 1
    found = network.reconstruct(x, SeededNoise(range(3)))
    features = network.features(x)
    made = network.codebook(features)
    entropy = network.codebook.entropy(features, 0.01)
    wanted = made.codebook() + COMMITMENT * made.commitment() + ENTROPY * entropy
    assert torch.allclose(found.penalty, wanted)
    assert torch.allclose(found.images, network.decode(network.encode(x)), atol=1e-3)
    (found.images.square().mean() + found.penalty.mean()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.encoder.conv_in.weight.grad.any()


def test_use_counts_codes():
    said = use(torch.tensor([[0, 0, 3, 3]]), 8)
    assert said["used"] == 2
    assert said["perplexity"] == pytest.approx(2.0)
    assert use(torch.arange(8), 8)["perplexity"] == pytest.approx(8.0)


def test_a_run_says_how_many_codes_are_used_and_makes_a_tokenizer(tmp_path):
    run = Run(resolve(TREE), tmp_path / "run", ALONE)
    run.open()
    for _ in run.fit():
        pass
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "held_out" in line][-1]
    assert 1 <= last["held_out_codes_perplexity"] <= last["held_out_codes_used"] <= VQ["codes"]
    assert any("loss_penalty" in line for line in lines)
    made = stored.load(tmp_path / "run")
    assert (made.model.scale, made.model.shift) == (1.0, 0.0)
    assert made.spec.vocabulary == VQ["codes"]
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def trained(folder, until):
    """Train in a folder up to a step, and return the weights."""
    run = Run(resolve(TREE), folder, ALONE)
    run.open()
    for _ in run.fit(lambda: run.state.step >= until):
        pass
    return run.network.state_dict()


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path):
    whole = trained(tmp_path / "a", 6)
    trained(tmp_path / "b", 2)
    parts = trained(tmp_path / "b", 6)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_published_tokenizer_tells_how_held_out_images_come_back(tmp_path):
    run = Run(resolve(TREE), tmp_path / "run", ALONE)
    run.open()
    for _ in run.fit():
        pass
    publish(stored.load(tmp_path / "run"), tmp_path / "shared", torch.float32)
    made = stored.load(tmp_path / "shared")
    images = resolve(TREE).data.held_out()
    given = images.read(torch.arange(len(images)))
    psnr = PSNR()(made.restored(given), given)
    found = made.tree["held_out"]
    assert found["images"] == len(images)
    assert found["psnr"] == pytest.approx(float(psnr.mean()))
    assert found["psnr_by_class"]["3"] == pytest.approx(float(psnr[images.labels == 3].mean()))
    assert found["codes_used"] == len(made.encode(given).unique())
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "an image of 8 px becomes 16 tokens (4 x 4), each one of " in card
    assert f"PSNR {found['psnr']:.2f} dB" in card
    assert "(preview.png)" in card
    assert (tmp_path / "shared" / "preview.png").exists()


def test_a_tokenizer_without_its_data_is_published_all_the_same(tmp_path):
    run = Run(resolve(TREE), tmp_path / "run", ALONE)
    run.open()
    for _ in run.fit():
        pass
    tree = config.dump(stored.load(tmp_path / "run").tree)
    tree["provenance"]["recipe"]["data"] = {"kind": "folder", "path": str(tmp_path / "gone")}
    publish(replace(stored.load(tmp_path / "run"), tree=tree), tmp_path / "out", torch.float32)
    assert "held_out" not in stored.load(tmp_path / "out").tree
