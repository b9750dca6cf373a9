"""`mezzotint tune`: a search over tiny models, that goes on, and what its recipe draws."""

import json
from contextlib import contextmanager

import pytest
import torch
import yaml

from mezzotint.tune.log import NAME
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import one_line
from tests.evaluating import pictures, save_folder
from tests.unit.test_token_generator import untrained

NAMES = ("cat", "dog", "red fox")
LOOKS = 5


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    real = save_folder(tmp_path / "real", pictures(40, classes=NAMES, size=8))
    return (
        *("--reference", real, "--features", "digits-judge", "--trials", LOOKS),
        *("--count", 12, "--final", 18, "--batch", 6, "--rounds", 1, "--precision", "fp32"),
    )


def test_a_search_writes_its_front_and_a_recipe_that_draws(
    cli: Cli, model, small, tmp_path, options
):
    out = tmp_path / "tuned"
    command = ("tune", model, small, "--budget", "100s", *options, "--out", out)
    done = cli(*command, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    tree = json.loads((out / "front.json").read_text())
    assert tree["chosen"] == told["chosen"]
    name = next(key for key in tree["chosen"] if key.startswith("FD-"))
    assert tree["chosen"][name] == min(row[name] for row in tree["looks"])
    assert tree["chosen"]["count"] == 18
    assert tree["best_plain"]["drawing"]["stitch"] == []
    seconds = [row["seconds"] for row in tree["front"]]
    distances = [row[name] for row in tree["front"]]
    assert seconds == sorted(seconds)
    assert distances == sorted(distances, reverse=True)
    assert (out / "front.svg").read_text().startswith("<svg")
    page = (out / "tune.html").read_text()
    assert "mezzotint tune" in page
    assert "Not beaten in both by another" in page

    lines = (out / NAME).read_text().splitlines()
    stages = [json.loads(line)["stage"] for line in lines[1:]]
    assert stages.count(0) == LOOKS + 1
    assert stages.count(0) > stages.count(1) >= stages.count(2) > 1

    chosen = yaml.safe_load((out / "chosen.yaml").read_text())
    assert chosen == tree["chosen"]["drawing"]
    drawn = cli("sample", "-c", out / "chosen.yaml", "--seeds", 0, "--out", tmp_path / "s")
    assert drawn.code == 0, drawn.err
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["sampling"]["steps"] == chosen["sampling"].get("steps", 3)

    again = cli(*command, "--json")  # whole: nothing is drawn anew
    assert again.code == 0, again.err
    assert f"{len(stages)} looks are there already" in again.err
    assert json.loads(again.out) == told


def test_a_stopped_search_goes_on(cli: Cli, model, small, tmp_path, options):
    out = tmp_path / "tuned"
    command = ("tune", model, small, "--max-loss", "5%", *options, "--out", out, "--json")
    assert cli(*command).code == 0
    whole = (out / NAME).read_text().splitlines()
    kept = whole[: 1 + LOOKS]
    (out / NAME).write_text("\n".join(kept) + "\n")
    done = cli(*command)
    assert done.code == 0, done.err
    lines = (out / NAME).read_text().splitlines()
    assert lines[: len(kept)] == kept
    first, second = (json.loads(each[1 + LOOKS]) for each in (whole, lines))
    # What is proposed follows from the log, and samples from the seed; only time is noise.
    for name in ("trial", "params", "distance"):
        assert first[name] == second[name]
    own = json.loads(done.out)["own recipe"]
    chosen = json.loads(done.out)["chosen"]
    name = next(key for key in own if key.startswith("FD-"))
    assert chosen[name] <= 1.05 * own[name]
    other = cli(*command, "--seed", 3)
    one_line(other, "holds a search with another seed; choose another --out")
    assert (out / NAME).read_text().splitlines() == lines
    (out / NAME).write_text("{")
    one_line(cli(*command), "not a log of a search")


def test_a_model_alone_is_tuned_and_a_budget_may_be_out_of_reach(
    cli: Cli, model, tmp_path, options
):
    out = tmp_path / "tuned"
    done = cli("tune", model, "--budget", "0.000001ms", *options, "--out", out)
    assert done.code == 1
    assert "no setting reaches 1e-09 s an image; the fastest take" in done.err
    assert not (out / "chosen.yaml").exists()
    tree = json.loads((out / "front.json").read_text())
    assert tree["chosen"] is None
    assert all(row["drawing"]["stitch"] == [] for row in tree["looks"])


@pytest.fixture
def compiling(monkeypatch):
    """What compiling would do, written down: types are checked here, which cannot be compiled."""
    heard = []

    @contextmanager
    def stance(name):
        heard.append(name)
        yield

    monkeypatch.setattr(torch.nn.Module, "compile", lambda _: heard.append("compile"))
    monkeypatch.setattr(torch.compiler, "set_stance", stance)
    return heard


def test_compiled_networks_are_tried_beside_plain_ones_and_drawn_by(
    cli: Cli, model, small, tmp_path, options, compiling
):
    out = tmp_path / "tuned"
    command = ("tune", model, small, "--budget", "100s", *options, "--compile", "--out", out)
    done = cli(*command)
    assert done.code == 0, done.err
    head, *looks = [json.loads(line) for line in (out / NAME).read_text().splitlines()]
    assert head["of"]["axes"]["compiled"] == ["no", "yes"]
    assert not any(each["drawing"]["compiled"] for each in looks)  # the first points are plain
    # The plain looks and the yardstick beside them ran as they stand.
    assert compiling[:2] == ["compile"] * 2
    assert set(compiling[2:]) == {"force_eager"}
    recipe = yaml.safe_load((out / "chosen.yaml").read_text())
    assert recipe["compiled"] is False
    wanted = tmp_path / "compiled.yaml"
    wanted.write_text(yaml.safe_dump({**recipe, "stitch": [], "compiled": True}))
    compiling.clear()
    drawn = cli("sample", "-c", wanted, "--seeds", 0, "--out", tmp_path / "s")
    assert drawn.code == 0, drawn.err
    assert compiling == ["compile"]


def test_a_machine_without_a_compiler_says_so_before_anything_is_drawn(
    cli: Cli, model, tmp_path, options, monkeypatch
):
    def broken(self):
        def forward(*_):
            raise RuntimeError("no C++ compiler found\nand much more")

        self._compiled_call_impl = forward

    monkeypatch.setattr(torch.nn.Module, "compile", broken)
    done = cli("tune", model, "--budget", "1s", *options, "--compile", "--out", tmp_path / "o")
    one_line(done, "cannot be compiled here (no C++ compiler found)")
    assert not (tmp_path / "o").exists()


def test_a_masked_model_is_tuned_and_drawn_by_what_was_chosen(cli: Cli, tmp_path, options):
    model, out = tmp_path / "masked", tmp_path / "tuned"
    untrained().save(model)
    done = cli("tune", model, "--budget", "100s", *options, "--trials", 8, "--out", out)
    assert done.code == 0, done.err
    tree = json.loads((out / "front.json").read_text())
    # Which number of light passes is left is a matter of time, which is noise here.
    reused = {row["drawing"]["sampling"].get("reuse", 0) for row in tree["looks"]}
    assert reused <= {0, 1, 2}
    assert {bool(each) for each in reused} == {False, True}  # plain settings and others survive
    assert tree["best_plain"]["drawing"]["sampling"].get("reuse", 0) == 0
    page = (out / "tune.html").read_text()
    assert ">reuse<" in page
    drawn = cli("sample", "-c", out / "chosen.yaml", "--seeds", 0, "--out", tmp_path / "s")
    assert drawn.code == 0, drawn.err
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    wanted = tree["chosen"]["drawing"]["sampling"]
    assert {name: manifest["sampling"][name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((), "give either --budget, such as 0.5s, or --max-loss"),
        (("--budget", "1s", "--max-loss", "2%"), "give either --budget"),
        (("--budget", "soon"), "--budget 'soon': expected seconds an image"),
        (("--budget", "0s"), "--budget '0s': expected seconds an image"),
        (("--max-loss", "2"), "--max-loss '2': expected a percentage, as 2%"),
        (("--budget", "1s", "--precision", "fp16"), "--precision fp16: did you mean"),
        (("--budget", "1s", "--final", 4), "--final 4: fewer than --count 12"),
        (("emoji-dit-tiny", "--budget", "1s"), "model 0 cannot be stitched with the large one"),
        (("{model}", "--budget", "1s"), "a model stands there twice"),
        (("--budget", "1s", "--reference", "emoji"), "draws 8 px and emoji is 32 px"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(cli: Cli, model, tmp_path, options, arguments, wanted):
    given = [str(each).format(model=model) for each in arguments]
    done = cli("tune", model, *options, *given, "--out", tmp_path / "o")
    one_line(done, wanted)
    assert not (tmp_path / "o").exists()
