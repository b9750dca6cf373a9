"""`mezzotint convert`: half the size, the same within rounding, with card and preview."""

import json

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from mezzotint import classifier, config, generator, stored
from mezzotint.data.embedded import Digits
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.official import dico, dit, kl_names, uvit_network, vq_names
from mezzotint.official.kl_names import to_official
from tests.cli.conftest import Cli
from tests.tiny import CLASSIFIER, TREE, finish, tiny
from tests.tokenizers import tiny_kl, tiny_vq


def test_bf16_halves_the_file_and_keeps_the_pictures(cli: Cli, model, tmp_path):
    sizes = {}
    for form in ("fp32", "bf16"):
        done = cli("convert", model, "--to", form, "--out", tmp_path / form, "--json")
        assert done.code == 0, done.err
        sizes[form] = json.loads(done.out)["bytes"]
    assert sizes["bf16"] < 0.75 * sizes["fp32"]
    made = {form: generator.load(tmp_path / form).sample(seeds=range(2)) for form in sizes}
    assert torch.equal(made["fp32"], generator.load(model).sample(seeds=range(2)))
    assert (made["bf16"].int() - made["fp32"].int()).abs().float().mean() < 2
    assert "preview.png" in (tmp_path / "bf16" / "README.md").read_text()
    with Image.open(tmp_path / "bf16" / "preview.png") as picture:
        assert picture.width > 8 * 64


def test_a_classifier_is_published_with_what_it_was_measured_at(cli: Cli, tmp_path):
    finish(tiny(tmp_path / "run", "train.steps=2", tree=CLASSIFIER))
    done = cli("convert", tmp_path / "run", "--out", tmp_path / "judge", "--json")
    assert done.code == 0, done.err
    judge = classifier.load(tmp_path / "judge")
    images = Digits().held_out()
    taken = judge(images.read(torch.arange(len(images)))).argmax(1)
    right = (taken == images.labels).float().mean().item()
    said = json.loads((tmp_path / "judge" / "config.json").read_text())["held_out"]
    assert said["images"] == len(images)
    assert said["accuracy"] == pytest.approx(right)
    assert sum(said["confusion"][3]) == int((images.labels == 3).sum())
    assert said["confusion"][3][7] == int(((images.labels == 3) & (taken == 7)).sum())
    card = (tmp_path / "judge" / "README.md").read_text()
    assert f"{right:.1%} of 359 images are named right" in card
    assert f"| **3** | {' | '.join(str(n or '') for n in said['confusion'][3])} | 37 |" in card
    assert sorted(each.name for each in (tmp_path / "judge").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_mistakes_get_one_line(cli: Cli, model, tmp_path):
    done = cli("convert", model, "--to", "fp16", "--out", tmp_path / "o")
    assert done.code == 1
    assert "did you mean bf16 or fp32" in done.err or "did you mean" in done.err
    assert not (tmp_path / "o").exists()


NETWORKS = {
    "dit": (dit, {"width": 16, "depth": 1, "heads": 2, "patch": 2}),
    "dico": (dico, {"width": 8, "depths": [1, 1, 1, 1, 1], "null_row": False}),
    "uvit": (uvit_network, {"width": 16, "depth": 2, "heads": 2, "patch": 2}),
}


@pytest.fixture(params=NETWORKS)
def official(request, tmp_path):
    """A recipe of a tiny network, a file of its random weights by official names, and it."""
    release, shape = NETWORKS[request.param]
    model = {**TREE["model"], "network": {"kind": request.param, **shape}}
    sampling = {} if shape.get("null_row") is False else TREE["sampling"]
    tree = {"model": model, "data": "digits", "train": {"steps": 1}, "sampling": sampling}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    known = {"channels": 3, "size": [8, 8], "num_classes": 7}
    network = config.load("network", {**model["network"], **known}).build()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    tensors = {k: v.contiguous() for k, v in release.to_official(network.state_dict()).items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    return tmp_path / "tiny.yaml", tmp_path / "weights.safetensors", network


def test_official_weights_come_in_and_go_out(cli: Cli, official, tmp_path):
    tree, weights, network = official
    done = cli("convert", weights, "--from", tree, "--to", "fp32", "--out", tmp_path / "model")
    assert done.code == 0, done.err
    made = generator.load(tmp_path / "model")
    assert made.classes == tuple("0123456")
    assert isinstance(made.denoiser, NetworkDenoiser)
    x, t, y = torch.ones(2, 3, 8, 8), torch.tensor([0.2, 0.9]).double(), torch.tensor([0, 6])
    with torch.no_grad():
        wanted = network(x, made.denoiser.path.network_time(t).float(), y)
    assert torch.equal(made.denoiser.outputs(x, t, y), wanted)
    back = tmp_path / "deep" / "back.safetensors"
    done = cli("convert", tmp_path / "model", "--to", "official", "--out", back)
    assert done.code == 0, done.err
    before, after = load_file(weights), load_file(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert cli("convert", tmp_path / "model", "--to", "official", "--out", back).code == 1


def test_classes_get_their_names(cli: Cli, official, tmp_path):
    tree, weights, _ = official
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\nf\ng\n")
    arguments = ("convert", weights, "--from", tree, "--classes", names)
    assert cli(*arguments, "--out", tmp_path / "model").code == 0
    assert generator.load(tmp_path / "model").classes == tuple("abcdefg")
    names.write_text("a\nb\n")
    done = cli(*arguments, "--out", tmp_path / "other")
    assert done.code == 1
    assert "2 names for a network of 7 classes" in done.err


def test_weights_of_something_else_get_one_line(cli: Cli, model, tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    out = tmp_path / "o"
    for arguments, complaint in (
        (("--from", "adm-64"), "1 of 1 tensors are not of"),
        (("--from", "emoji-judge"), "no official names for"),
        (("--classes", "x"), "need --from"),
        (("--to", "official"), "expected NAME.safetensors"),
    ):
        source = tmp_path / "w.safetensors" if "--from" in arguments else model
        done = cli("convert", source, *arguments, "--out", out)
        assert done.code == 1
        assert complaint in done.err
        assert done.err.strip().count("\n") == 0
        assert not out.exists()


def test_an_autoencoder_comes_in_too(cli: Cli, tmp_path):
    made = stored.load(tiny_kl())
    torch.save({"state_dict": to_official(made.network.state_dict())}, tmp_path / "kl.ckpt")
    arguments = ("convert", tmp_path / "kl.ckpt", "--from", "kl", "-o", "size=8")
    done = cli(*arguments, "-o", "scale=2", "--to", "fp32", "--out", tmp_path / "kl")
    assert done.code == 0, done.err
    again = stored.load(tmp_path / "kl")
    assert (again.model.scale, again.size) == (2.0, 8)
    images = torch.arange(2 * 3 * 64, dtype=torch.uint8).view(2, 3, 8, 8)
    assert torch.equal(again.encode(images), made.encode(images))
    done = cli(*arguments, "-o", "skale=2", "--out", tmp_path / "other")
    assert done.code == 1
    assert "skale: unknown key; did you mean scale" in done.err


@pytest.mark.parametrize(
    ("release", "folder", "names"),
    [
        ("kl", tiny_kl(), kl_names.DIFFUSERS),
        ("kl", tiny_kl(), kl_names.LATENT_DIFFUSION),
        ("vq", tiny_vq(), vq_names.LLAMAGEN),
        ("vq", tiny_vq("maskgit-vq"), vq_names.TAMING),
        ("vq", tiny_vq("maskgit-vq"), vq_names.OPEN_MUSE),
    ],
)
def test_tokenizers_come_in_and_go_out_by_official_names(
    cli: Cli, release, folder, names, tmp_path
):
    made = stored.load(folder)
    held = {n: t.contiguous() for n, t in names.to_official(made.network.state_dict()).items()}
    save_file(held, tmp_path / "official.safetensors")
    settings = ("-o", "size=8", *(("-o", "scale=1") if release == "kl" else ()))
    arguments = ("convert", tmp_path / "official.safetensors", "--from", release, *settings)
    done = cli(*arguments, "--to", "fp32", "--out", tmp_path / "made")
    assert done.code == 0, done.err
    assert stored.load(tmp_path / "made").fingerprint == made.fingerprint
    back = tmp_path / "back.safetensors"
    done = cli("convert", tmp_path / "made", "--to", "official", "--out", back)
    assert done.code == 0, done.err
    again = cli("convert", back, "--from", release, *settings, "--out", tmp_path / "2")
    assert again.code == 0, again.err


def test_kl_autoencoders_go_out_by_diffusers_names_and_nothing_else_does(cli: Cli, model, tmp_path):
    out = tmp_path / "d.safetensors"
    done = cli("convert", tiny_kl(), "--to", "diffusers", "--out", out)
    assert done.code == 0, done.err
    assert "encoder.mid_block.attentions.0.to_q.weight" in load_file(out)
    settings = ("-o", "size=8", "-o", "scale=1", "--to", "fp32")
    again = cli("convert", out, "--from", "kl", *settings, "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert stored.load(tmp_path / "again").fingerprint == stored.load(tiny_kl()).fingerprint
    for source in (tiny_vq(), model):
        done = cli("convert", source, "--to", "diffusers", "--out", tmp_path / "x.safetensors")
        assert done.code == 1
        assert "diffusers' names" in done.err
        assert not (tmp_path / "x.safetensors").exists()
