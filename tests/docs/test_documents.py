"""Every Python and console block of README.md and docs/ runs, in order, in an empty folder.

An HTML comment directly above a block steers it:

    <!-- no-test: REASON -->   it is not run; a reason is required
    <!-- expect: TEXT -->      its output must hold TEXT; may be repeated
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if p.exists()]
NOTE = r"<!-- *(no-test|expect):? *(.*?) *-->"
BLOCK = re.compile(rf"^((?:{NOTE}\n)*)```(python|console)\b[^\n]*\n(.*?)^```$", re.M | re.S)
SECONDS = 300


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    skip: bool
    expected: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks that must run."""
    for match in BLOCK.finditer(text):
        notes = re.findall(NOTE, match[1])
        line = text.count("\n", 0, match.start(5))
        if any(not what for _, what in notes):
            raise ValueError(f"line {line}: a no-test needs a reason, an expect a text")
        skip = any(kind == "no-test" for kind, _ in notes)
        expected = tuple(what for kind, what in notes if kind == "expect")
        yield Block(match[4], match[5], line, skip, expected)


def commands(text: str) -> Iterator[str]:
    """Yield the lines after "$ ", with those that a backslash continues."""
    for match in re.finditer(r"^\$ ((?:.*\\\n)*.*)$", text, re.M):
        yield match[1]


def run(text: str, folder: Path, name: str = "document") -> None:
    """Run a document; Python blocks share their names."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shared: dict[str, object] = {"__name__": name}
    for block in blocks(text):
        if block.skip:
            continue
        said = ""
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile("\n" * block.line + block.text, name, "exec"), shared)
            said = output.getvalue()
        else:
            for command in commands(block.text):
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", command],
                    cwd=folder,
                    env={**os.environ, "PATH": path},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS,
                    check=False,
                )
                where = f"{name}:{block.line + 1}: $ {command}\n{done.stdout}{done.stderr}"
                assert done.returncode == 0, where
                said += done.stdout + done.stderr
        for text_ in block.expected:
            assert text_ in said, f"{name}:{block.line + 1}: expected {text_!r} in\n{said}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_document_runs(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(document.read_text("utf-8"), tmp_path, document.name)
