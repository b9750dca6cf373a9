"""The package as text: what the house rules read. Nothing of mezzotint is imported here."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "src" / "mezzotint"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported name: "mezzotint.nn.embed.Grid", "torch.nn"; and how far in it stands."""

    target: str
    line: int
    inside: str | None = None  # the innermost function around it
    typing_only: bool = False

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    @property
    def room(self) -> str | None:
        """The room of ours that is entered; None if the import is foreign or of the version."""
        parts = self.target.split(".")
        if parts[0] != "mezzotint" or parts[1:] == ["__version__"]:
            return None
        return FACE.get(parts[1], parts[1]) if len(parts) > 1 else "mezzotint"


FACE: Final = {"load": "generator", "Generator": "generator"}


@dataclass(frozen=True)
class Module:
    """A file below src/mezzotint: its path there, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def name(self) -> str:
        parts = ["mezzotint", *Path(self.path).with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self) -> str:
        """The first folder or file on the way: "nn", "generator"; "mezzotint" for __init__.py."""
        return (self.name + ".mezzotint").split(".")[1]

    def functions(self) -> Iterator[Function]:
        """Yield every function and method."""
        yield from (node for node in ast.walk(self.tree) if isinstance(node, Function))

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, self.name, None, typing_only=False))

    def at(self, node: ast.AST, what: str) -> str:
        """Return an offence as one line."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


def package() -> list[Module]:
    """Return every module of src/mezzotint."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return [Module(str(p.relative_to(PACKAGE)), p.read_text("utf-8")) for p in paths]


def _imports(
    node: ast.AST, module: str, inside: str | None, *, typing_only: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(child, module):
            yield Import(target, child.lineno, inside, typing_only)  # type: ignore[attr-defined]
        name = child.name if isinstance(child, Function) else inside
        guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from _imports(child, module, name, typing_only=typing_only or guarded)


def _targets(node: ast.AST, module: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = ".".join(module.split(".")[: -node.level]) if node.level else ""
        start = ".".join(filter(None, [base, node.module]))
        return [f"{start}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
        ("import_module", "__import__")
    ):
        return [
            a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
    return []
