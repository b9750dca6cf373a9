"""Every file that `sample` and `data export` write, on a full disk: one line and nothing half."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.cli import main as entry
from mezzotint.data.images import InMemory
from mezzotint.data.write import folder_names, npz_stream, png_folder, write_classes
from mezzotint.errors import OutputError
from tests.cli.conftest import Cli

IMAGES = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
LIMITED = """
import resource, signal, sys
from mezzotint.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


def full_when_placed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full just when a file should get its final name."""
    replace = Path.replace

    def placing(draft: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
        return replace(draft, target)

    monkeypatch.setattr(Path, "replace", placing)


def rubbish(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("000002_red-fox_seed0.png", []),
        ("samples.npz", ["--npz"]),
        ("grid.png", []),
        ("manifest.json", []),
        ("film.png", ["--film"]),
    ],
)
def test_each_file_of_sample(cli: Cli, model, tmp_path, monkeypatch, name, options):
    full_when_placed(name, monkeypatch)
    out = tmp_path / "o"
    done = cli("sample", model, "--count", 1, "--steps", 1, *options, "--out", out)
    assert done.code == 1
    last = done.err.strip().splitlines()[-1]
    assert last.startswith(f"mezzotint: {out / name}: cannot be written: the disk is full")
    assert "Traceback" not in done.err
    assert not (out / name).exists()
    assert not rubbish(out)


@pytest.mark.parametrize(
    ("options", "limit", "name"),
    [(["--npz", "--count", "200"], 4096, "samples.npz"), (["--count", "16"], 2048, "grid.png")],
)
def test_a_file_that_may_not_grow(model, tmp_path, options, limit, name):
    out = tmp_path / "o"
    command = ["sample", str(model), "--steps", "1", *options, "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *command], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    wanted = f"mezzotint: {out / name}: cannot be written: the file would be larger than is allowed"
    assert wanted in done.stderr
    assert not (out / name).exists()
    assert not rubbish(out)


def test_a_class_folder(cli: Cli, tmp_path, monkeypatch):
    full_when_placed("00001.png", monkeypatch)
    done = cli("data", "export", "prints", tmp_path / "o", "--count", 2, "--size", 8)
    assert done.code == 1
    assert "00001.png: cannot be written: the disk is full" in done.err
    assert not rubbish(tmp_path / "o")


def test_what_nobody_caught_is_told_in_one_line(cli: Cli, monkeypatch):
    def failing(number: int):
        def app():
            raise OSError(number, os.strerror(number), "some/file")

        monkeypatch.setattr(entry, "app", app)

    for number, wanted in {
        errno.ENOSPC: "the disk is full",
        errno.EACCES: "permission denied",
        errno.EROFS: "the disk is read-only",
        errno.EFBIG: "the file would be larger",
    }.items():
        failing(number)
        done = cli()
        assert done.code == 1
        assert done.err.startswith(f"mezzotint: some/file: cannot be written: {wanted}")
        assert len(done.err.strip().splitlines()) == 1
    failing(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        cli()


def test_a_folder_that_cannot_be_made(cli: Cli, model, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("sample", model, "--out", tmp_path / "file" / "o")
    assert done.code == 1
    assert done.err == f"mezzotint: {tmp_path / 'file' / 'o'}: cannot be written: Not a directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_result_that_stdout_does_not_take(model):
    command = [sys.executable, "-m", "mezzotint", "sample", str(model), "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("mezzotint: the result: cannot be written: the disk is full")
    assert len(done.stderr.splitlines()) == 1


def test_a_sink_in_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot be written"),
        png_folder(tmp_path / "file", (), {}) as write,
    ):
        write(IMAGES, [0] * 4, range(4))
    with (
        pytest.raises(OutputError, match="cannot be written"),
        npz_stream(tmp_path / "file" / "a.npz", 4, (64, 64)),
    ):
        pass


def test_an_npz_that_was_interrupted_leaves_nothing(tmp_path):
    def interrupted():
        with npz_stream(tmp_path / "a.npz", 8, (64, 64)) as write:
            write(IMAGES, [0] * 4, range(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
    with pytest.raises(AssertionError), npz_stream(tmp_path / "a.npz", 8, (64, 64)) as write:
        write(IMAGES, [0] * 4, range(4))
    assert not list(tmp_path.iterdir())


def test_classes_with_like_names_keep_their_own_folders(tmp_path):
    names = ("a/b", "a-b", "A-B", "a-b-2", "", "///")
    assert folder_names(names) == ["a-b", "a-b-2", "A-B-3", "a-b-2-2", "class", "-"]
    images = InMemory.of(IMAGES, torch.arange(4), names[:4])
    assert write_classes(images, tmp_path, count=9) == 4
    assert len(list(tmp_path.glob("*/00000.png"))) == 4
    assert np.unique([path.read_bytes() for path in tmp_path.glob("*/*.png")]).size == 4
