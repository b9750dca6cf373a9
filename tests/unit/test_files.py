"""Files that are written whole or not at all, whatever the writer leaves beside its draft."""

import os
import signal

import pytest
import torch
from safetensors.torch import save_file

from mezzotint.errors import OutputError
from mezzotint.files import remove_drafts, replace_file, replacing


def test_what_a_writer_makes_beside_its_draft_goes_with_it(tmp_path):
    path = tmp_path / "deep" / "state.bin"
    with replacing(path) as draft:
        assert draft.suffix == path.suffix, "libraries choose the format by it"
        draft.with_name(".tmpA1B2C3").write_bytes(b"half")
        draft.write_bytes(b"new")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["state.bin"]
    assert path.read_bytes() == b"new"


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted(draft):
        draft.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, interrupted)
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written"):
        replace_file(path, lambda draft: draft.with_name("no").rename(draft))
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_all_that_a_killed_writer_leaves_is_taken_for_a_draft(tmp_path):
    """safetensors writes a file of its own first, with a name that nobody else knows."""
    path = tmp_path / "below" / "state.safetensors"
    (tmp_path / ".of an old version.77.part").write_bytes(b"half")

    def write(draft):
        save_file({"x": torch.zeros(3)}, draft)
        draft.with_name(".tmpA1B2C3").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        replace_file(path, write)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert [p.is_dir() and p.name.startswith(".") for p in path.parent.iterdir()] == [True]
    remove_drafts(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["below"]
    assert not list(path.parent.iterdir())
