"""The collector runs what it should, notices what fails, and skips only with a reason."""

import pytest

from tests.docs.test_documents import DOCUMENTS, blocks, commands, run

GOOD = """
```python
from pathlib import Path
n = 3
```
<!-- expect: three -->
<!-- expect: 3 -->
```python
assert n == 3
print("three", n)
Path("made").touch()
```
<!-- expect: made -->
```console
$ ls \\
    -1
made
$ test -e made
```
<!-- no-test: needs another machine -->
```console
$ exit 1
```
```text
$ exit 1
```
"""
BAD = {
    "a failing command": "```console\n$ false\n```\n",
    "a failing pipe": "```console\n$ false | cat\n```\n",
    "a failing assertion": "```python\nassert 1 == 2\n```\n",
    "an output that is not there": "<!-- expect: 4 -->\n```python\nprint(3)\n```\n",
    "a skip without a reason": "<!-- no-test -->\n```python\n1 / 0\n```\n",
    "a skip with an empty reason": "<!-- no-test: -->\n```console\n$ false\n```\n",
}


def test_a_good_document_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(GOOD, tmp_path)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("what", BAD)
def test_a_bad_document_fails(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ValueError)):
        run(BAD[what], tmp_path)


def test_an_error_names_its_line(tmp_path):
    with pytest.raises(ZeroDivisionError) as error:
        run("Text.\n\n```python\nx = 0\n1 / x\n```\n", tmp_path, "page.md")
    assert error.traceback[-1].lineno + 1 == 5


def test_blocks_and_commands_are_found():
    assert [b.language for b in blocks(GOOD)] == ["python", "python", "console", "console"]
    assert list(commands("$ a \\\n  b\nout\n$ c")) == ["a \\\n  b", "c"]


def test_every_fence_of_the_documents_is_seen():
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        fences = [
            line for line in text.splitlines() if line.startswith(("```python", "```console"))
        ]
        assert len(fences) == len(list(blocks(text))), document.name
