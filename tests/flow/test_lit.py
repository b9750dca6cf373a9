"""A LiT made of a DiT is an ordinary model: converted, started from, guided, drawn in shards."""

import json

import pytest
import torch

from mezzotint import generator
from mezzotint.checkpoint import read_model, read_tensors
from mezzotint.convert import lit_from_dit
from mezzotint.data.shards import open_shards
from mezzotint.draws import Draws
from mezzotint.networks.lit import LiT
from mezzotint.official.lit import from_official
from tests.cli.conftest import cli as _cli
from tests.tiny import CLASSIFIER, TREE, finish, tiny

cli = _cli
LIT = {**TREE["model"]["network"], "kind": "lit"}
STUDENT = {**TREE, "model": {**TREE["model"], "network": LIT}}


@pytest.fixture(scope="module")
def dit(tmp_path_factory):
    return finish(tiny(tmp_path_factory.mktemp("dit") / "run", "train.steps=40")).folder


@pytest.fixture
def lit(cli, dit, tmp_path):
    done = cli("convert", dit, "--to", "lit", "--heads", 2, "--out", tmp_path / "lit", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["bytes"] > 0
    return done, tmp_path / "lit"


def test_the_folder_holds_the_lit_and_says_whose(lit, dit):
    done, folder = lit
    teacher, made = generator.load(dit), generator.load(folder)
    expected, record = lit_from_dit(teacher.denoiser.network, heads=2)
    state = made.denoiser.network.state_dict()
    assert isinstance(made.denoiser.network, LiT)
    assert all(torch.equal(state[n], tensor) for n, tensor in expected.state_dict().items())
    for line in record.words():
        assert line in done.err
    ours, theirs = made.tree, teacher.tree
    assert ours["provenance"]["converted"]["digest"] == teacher.digest
    assert ours["provenance"]["converted"]["source"] == str(dit)
    for name in ("tokenizer", "classes", "sampling"):
        assert ours[name] == theirs[name]
    assert {**ours["model"], "network": 0} == {**theirs["model"], "network": 0}
    assert "converted" in (folder / "README.md").read_text()


def test_what_cannot_be_converted_is_one_line_and_writes_nothing(cli, dit, lit, tmp_path):
    finish(tiny(tmp_path / "judge", "train.steps=1", tree=CLASSIFIER))
    (tmp_path / "text.safetensors").write_text("no tensors")
    for source, heads, said in (
        (lit[1], ("--heads", 2), "a LiT is made of a DiT, not of a LiT"),
        (tmp_path / "judge", (), "a LiT is made of a generator that is a DiT"),
        (dit, ("--heads", 3), "width 16 must be a multiple of heads 3"),
        (dit, (), "width 16 is of no published LiT"),
        (tmp_path / "text.safetensors", (), "not a complete safetensors file"),
    ):
        done = cli("convert", source, "--to", "lit", *heads, "--out", tmp_path / "none")
        assert done.code == 1
        assert said in done.err
        assert done.err.strip().count("\n") == 0
        assert not (tmp_path / "none").exists()
    done = cli("convert", dit, "--heads", 2, "--out", tmp_path / "none")
    assert (done.code, "it needs --to lit" in done.err) == (1, True)
    done = cli("convert", dit, "--attention", "--out", tmp_path / "none")
    assert (done.code, "it needs --to lit" in done.err) == (1, True)
    assert not (tmp_path / "none").exists()


def test_attention_is_inherited_where_it_is_asked_for(cli, dit, tmp_path):
    out = tmp_path / "near"
    done = cli("convert", dit, "--to", "lit", "--heads", 2, "--attention", "--out", out)
    assert done.code == 0, done.err
    given, (state, _) = generator.load(dit).denoiser.network.state_dict(), read_model(out)
    assert torch.equal(state["blocks.0.attn.proj.weight"], given["blocks.0.attn.proj.weight"])
    assert "fresh 4: blocks.*.attn.conv" in done.err


@pytest.mark.parametrize("through", ["the dit itself", "its conversion"])
def test_a_run_starts_from_it_without_its_attention(dit, lit, tmp_path, through):
    source = dit if through == "the dit itself" else lit[1]
    run = tiny(tmp_path / "run", tree=STUDENT, init_from=source)
    fresh = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
    run.open()
    given, _ = read_model(source)
    for name, tensor in run.network.state_dict().items():
        taken = "attn" not in name or source != dit
        assert torch.equal(tensor, (given if taken else fresh)[name]), name
    words = "\n".join(run.inherited)
    assert ("not used: blocks.0.attn" in words) == (source == dit)
    # Names and sizes of the output projection fit, and yet it is not taken.
    assert source != dit or not torch.equal(
        run.network.blocks[0].attn.proj.weight, given["blocks.0.attn.proj.weight"]
    )


def test_a_dit_takes_no_attention_of_a_lit(lit, tmp_path):
    run = tiny(tmp_path / "run", init_from=lit[1])
    fresh = run.network.blocks[0].attn.proj.weight.clone()
    run.open()
    assert torch.equal(run.network.blocks[0].attn.proj.weight, fresh)
    assert "kept 24 of 32 tensors" in run.inherited[1]


@pytest.fixture(scope="module")
def trained(dit, tmp_path_factory):
    """A LiT that started from the DiT and learnt from it."""
    teaching = f"train.teacher={{source: {dit}}}"
    folder = tmp_path_factory.mktemp("lit") / "run"
    run = tiny(folder, "train.steps=40", teaching, tree=STUDENT, init_from=dit)
    return generator.load(finish(run).folder)


def test_guidance_at_scale_one_is_none_and_above_it_moves_every_image(trained):
    plain, one, two = (trained.sample(seeds=range(2), guidance=scale) for scale in (1.0, 1.0, 4.0))
    assert torch.equal(plain, one)
    assert (plain.flatten(1) != two.flatten(1)).any(1).all()
    x, t = torch.randn(3, 3, 8, 8), torch.full((3,), 0.5).double()
    y, null = torch.tensor([1, 2, 3]), torch.full((3,), 10)
    guided = trained.with_sampling(guidance=4.0).guided(x, t, y).x0
    with torch.no_grad():
        with_class, without = (trained.denoiser(x, t, each).x0 for each in (y, null))
    torch.testing.assert_close(guided, without + 4.0 * (with_class - without))


def test_it_is_drawn_in_shards_image_by_image(trained, tmp_path):
    shares = (1,) * len(trained.classes)
    draws = Draws(trained, "lit", tmp_path, 20, seed=7, batch=6, shares=shares)
    draws.open()
    assert sum(draws.draw()) == 20
    found = open_shards(tmp_path, 20, trained.classes)
    expected = trained.sample(int(found.labels[13]), seeds=20)
    assert (found.read(torch.tensor([13])).int() - expected.int()).abs().max() <= 1


def test_convert_and_back_is_the_same_model(cli, trained, tmp_path):
    trained.save(tmp_path / "model")
    done = cli("convert", tmp_path / "model", "--to", "fp32", "--out", tmp_path / "copy")
    assert done.code == 0, done.err
    again = generator.load(tmp_path / "copy")
    assert again.digest == trained.digest
    assert torch.equal(again.sample(seeds=range(2)), trained.sample(seeds=range(2)))
    done = cli(
        "convert", tmp_path / "model", "--to", "official", "--out", tmp_path / "o.safetensors"
    )
    assert done.code == 0, done.err
    tensors, _ = read_tensors(tmp_path / "o.safetensors")
    state = trained.denoiser.network.state_dict()
    back = from_official(tensors)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
