"""Whatever is wrong with the input, the answer is one line: exit code 1, or 2 for usage."""

import json
import shutil

import pytest

from tests.cli.conftest import Cli

SAMPLE = [
    (["--count", 0], 2, "'--count': Input should be greater than or equal to 1"),
    (["--batch", 0], 2, "'--batch': Input should be greater than or equal to 1"),
    (["--steps", 0], 2, "'--steps': Input should be greater than or equal to 1"),
    (["-o", "grid=["], 1, "-o grid=[: '[' is not a YAML value"),
    (["-o", "grid.kind=[1]"], 1, "grid.kind: expected text, got [1]"),
    (["-o", "grid=3"], 1, "grid: "),
    (["-o", "steps=0"], 1, "steps: input should be greater than or equal to 1"),
    (["--class", "²"], 1, "no class '²'"),
    (["--class", ","], 1, "no class was asked for"),
    (["-c", "empty.yaml"], 1, "empty.yaml: expected a mapping of settings, got nothing"),
    (["-c", "bare.yaml"], 1, "bare.yaml: sampling: expected a mapping of settings"),
    (["-c", "list.yaml"], 1, "list.yaml: sampling: expected a mapping of settings"),
]
RECIPE = [
    ("model.network.kind=[1]", "model.network.kind: expected text, got [1]"),
    ("model.network.preset=[1]", "model.network.preset: expected text, got [1]"),
    ("model.network.preset=7", "model.network.preset: expected text, got 7"),
    ("train.lr=[", "-o train.lr=[: '[' is not a YAML value"),
]
FILES = {"empty.yaml": "", "bare.yaml": "sampling:\n", "list.yaml": "sampling: [1, 2]\n"}


def one_line(done, wanted: str, code: int = 1):
    assert done.code == code, done.err
    assert wanted in done.err
    assert "Traceback" not in done.err
    if code == 1:
        assert done.err.startswith("mezzotint: ")
        assert len(done.err.strip().splitlines()) == 1


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("arguments", "code", "wanted"), SAMPLE)
def test_sample(cli: Cli, model, here, arguments, code, wanted):
    one_line(cli("sample", model, *arguments, "--out", here / "o"), wanted, code)
    assert not (here / "o").exists()


@pytest.mark.parametrize(("setting", "wanted"), RECIPE)
def test_train(cli: Cli, here, setting, wanted):
    one_line(cli("train", "digits", "--dry-run", "-o", setting), wanted)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--background", "foo"], "background: unknown color specifier: 'foo'"),
        (["--size", 0], "size: input should be greater than or equal to 1, got 0"),
    ],
)
def test_data_inspect(cli: Cli, here, arguments, wanted):
    one_line(cli("data", "inspect", here, *arguments), wanted)


def test_data_export(cli: Cli, here):
    one_line(cli("data", "export", "emoji", here / "o", "--size", 7), "size")
    one_line(cli("data", "export", "primts", here / "o"), "did you mean prints")
    assert cli("data", "export", "prints", here / "o", "--count", 0).code == 2
    assert cli("data", "export", "prints", here / "o", "--size", 0).code == 2
    assert not (here / "o").exists()


@pytest.mark.parametrize("out", [".", "..", "../{name}", "{here}"])
def test_the_current_directory_is_never_moved_aside(cli: Cli, model, here, out):
    out = out.format(name=here.name, here=here)
    done = cli("sample", model, "--seeds", 1, "--out", out, "--force")
    one_line(done, "is the current directory or holds it, and cannot be moved aside")
    assert sorted(path.name for path in here.iterdir()) == sorted(FILES)


def test_force_moves_what_a_path_with_dots_means(cli: Cli, model, here):
    (here / "a" / "b").mkdir(parents=True)
    done = cli("sample", model, "--seeds", 1, "--steps", 1, "--out", "a/b/..", "--force")
    assert done.code == 0, done.err
    assert (here / "a.1" / "b").is_dir()
    assert (here / "a" / "grid.png").is_file()


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"sampling": None}, "sampling: "),
        ({"sampling": {"steps": "many"}}, "sampling.steps: expected int, got 'many'"),
        ({"classes": 3}, "classes: expected a list, got 3"),
        ({"classes": [1, 2, 3]}, "classes.0: expected text, got 1"),
        ({"model": None}, "model: "),
        ({"tokenizer": "pixles"}, "tokenizer.kind: unknown tokenizer 'pixles'"),
        ({"format": 2}, 'config.json: expected a config with "format": 1'),
        ({"format": None}, 'config.json: expected a config with "format": 1'),
    ],
)
def test_a_config_that_was_edited_badly(cli: Cli, model, here, changes, wanted):
    shutil.copytree(model, here / "m")
    edit(here / "m", **changes)
    one_line(cli("sample", here / "m", "--out", here / "o"), wanted)


@pytest.mark.parametrize("text", ["{", "", "[1]", "null", "\xff"])
def test_a_config_that_is_broken(cli: Cli, model, here, text):
    shutil.copytree(model, here / "m")
    (here / "m" / "config.json").write_bytes(text.encode("latin-1"))
    one_line(cli("sample", here / "m", "--out", here / "o"), "config.json: ")
