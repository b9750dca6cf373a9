import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import mezzotint
from mezzotint.cli.data import app
from mezzotint.config import load
from mezzotint.data.emoji_sources import fetch, open_icons
from mezzotint.data.folder import Folder
from mezzotint.errors import DataError, OutputError

run = CliRunner().invoke


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("ant", "cat"):
        (tmp_path / name).mkdir()
        Image.new("L", (20, 10), 5).save(tmp_path / name / "a.png")
    (tmp_path / "cat" / "bad.png").write_bytes(b"nothing")
    return tmp_path


def test_inspect_says_what_was_understood(pictures):
    result = run(app, ["inspect", str(pictures)])
    assert result.exit_code == 0
    assert "2 pictures, read as a folder for every class" in result.output
    assert "2 classes: ant 1, cat 1." in result.output
    assert "grey" in result.output
    assert "cat/bad.png: not a picture" in result.output


def test_inspect_for_machines(pictures):
    result = run(app, ["inspect", str(pictures), "--json"])
    assert "looking" in result.stderr
    manifest = json.loads(result.stdout)
    assert manifest["counts"] == {"ant": 1, "cat": 1}
    assert manifest["broken"][0]["name"] == "cat/bad.png"
    picture = manifest["pictures"][0]
    assert (picture["width"], picture["height"], picture["mode"]) == (20, 10, "L")
    assert len(picture["digest"]) == 64


def test_inspect_of_an_empty_folder(tmp_path):
    result = run(app, ["inspect", str(tmp_path)])
    assert isinstance(result.exception, DataError)
    assert str(tmp_path) in str(result.exception)


def test_build_refuses_what_it_does_not_know(tmp_path):
    assert run(app, ["build", "faces"]).exit_code == 2
    assert run(app, ["build", "emoji", "--size", "48"]).exit_code == 2


def test_build_never_overwrites_unasked(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    result = run(app, ["build", "emoji", "--size", "32", "--out", str(tmp_path)])
    assert isinstance(result.exception, OutputError)
    assert str(tmp_path) in str(result.exception)
    assert (tmp_path / "manifest.json").read_text() == "{}"


def test_without_npm_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"install Node\.js") as error:
        fetch("@iconify-json/noto@1.2.9", tmp_path)
    assert "iconify-json-noto-1.2.9.tgz" in str(error.value)


def test_a_set_that_may_not_be_passed_on_is_refused(tmp_path):
    import io
    import tarfile

    with tarfile.open(tmp_path / "iconify-json-openmoji-1.0.0.tgz", "w:gz") as archive:
        for name, content in [
            ("icons", {"icons": {}}),
            ("chars", {}),
            ("info", {"license": {"spdx": "CC-BY-SA-4.0"}}),
        ]:
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(DataError, match=r"CC-BY-SA-4\.0"):
        open_icons("openmoji", "@iconify-json/openmoji@1.0.0", tmp_path)


def test_help_does_not_import_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from mezzotint.cli.data import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "assert 'torch' not in sys.modules"
    )
    source = str(Path(mezzotint.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})


def test_export_makes_a_folder_for_each_class(cli, tmp_path):
    out = tmp_path / "pictures"
    done = cli("data", "export", "prints", out, "--count", 2, "--size", 16, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["pictures"] == 20
    folder = Folder(path=out, size=16, held_out_share=0)
    original = load("data", {"kind": "prints", "size": 16}).train()
    assert folder.train().classes == tuple(sorted(original.classes))
    first = (original.labels == original.classes.index("heart")).nonzero()[0]
    with Image.open(out / "heart" / "00000.png") as picture:
        assert (np.array(picture) == original.read(first)[0].permute(1, 2, 0).numpy()).all()
    assert cli("data", "export", "prints", out).code == 1
