"""The other house rules: each reads modules and yields offences, one line each."""

import ast
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tests.house.layers import (
    core_alone,
    imports_on_top,
    layer_order,
    light_command_line,
    narrow_rooms,
)
from tests.house.source import Function, Module

FILE_LINES: Final = 300
FUNCTION_LINES: Final = 60
DUPLICATE_LINES: Final = 8

# "path" or "path:function" -> (its own budget, why). One that is no longer needed is an offence.
EXCEPTIONS: Final[dict[str, tuple[int, str]]] = {
    "kinds.py": (450, "one table, a line a kind"),
    "cli/sample.py:sample": (110, "its lines are its options"),
}

SAFE_READER: Final = "checkpoint.py"  # the one place that may open a foreign .pt, tensors only
PICKLERS: Final = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
}
SEEDERS: Final = ("torch.manual_seed", "torch.seed", "random.seed", "manual_seed_all")


def no_kind_strings(modules: Sequence[Module]) -> Iterator[str]:
    """Behaviour is an object: mathematics and networks compare nothing with a string."""
    for module in modules:
        if module.room in {"diffusion", "masked", "networks", "nn"}:
            for node in ast.walk(module.tree):
                if _compares_text(node):
                    yield module.at(node, "comparison with a string; pass an object instead")


def _compares_text(node: ast.AST) -> bool:
    if isinstance(node, ast.MatchValue):
        return _has_text(node.value)
    tested = ast.Eq | ast.NotEq | ast.In | ast.NotIn | ast.Is | ast.IsNot
    if isinstance(node, ast.Compare) and any(isinstance(op, tested) for op in node.ops):
        return any(_has_text(side) for side in [node.left, *node.comparators])
    return False


def _has_text(node: ast.expr) -> bool:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return any(_has_text(item) for item in node.elts)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def no_hidden_effects(modules: Sequence[Module]) -> Iterator[str]:
    """Device follows the tensors, nothing is printed, global, patched or evaluated."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Global):
                yield module.at(node, "global")
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
                yield module.at(node, "sys.path")
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                yield module.at(node, "__future__: annotations are read at run time")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called.endswith(".cuda"):
                    yield module.at(node, ".cuda(): the device follows the tensors")
                if called == "print" and module.room != "cli":
                    yield module.at(node, "print(): yield a value; only cli/ speaks")
                if called in {"eval", "exec"}:
                    yield module.at(node, f"{called}()")


def no_pickle(modules: Sequence[Module]) -> Iterator[str]:
    """Files hold tensors and JSON; one safe reader opens a foreign .pt; loading is strict."""
    for module in modules:
        for entry in module.imports:
            if entry.top in PICKLERS and entry.target != "pickle.UnpicklingError":
                yield f"{module.path}:{entry.line}: {entry.top}: files are safetensors and JSON"
            if entry.target == "torch.load":
                yield f"{module.path}:{entry.line}: write torch.load, so that this rule sees it"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call):
                yield from _unsafe_call(module, node)


def _unsafe_call(module: Module, node: ast.Call) -> Iterator[str]:
    options = {k.arg: ast.unparse(k.value) for k in node.keywords}
    called = ast.unparse(node.func)
    if called == "torch.load":
        if module.path != SAFE_READER:
            yield module.at(node, f"torch.load: the one reader is {SAFE_READER}")
        if options.get("weights_only") != "True":
            yield module.at(node, "torch.load without weights_only=True runs code")
    if options.get("allow_pickle", "False") != "False":
        yield module.at(node, "allow_pickle")
    if called.endswith("load_state_dict") and options.get("strict", "True") != "True":
        yield module.at(node, "load_state_dict(strict=False): loading is strict, always")


def no_effect_on_import(modules: Sequence[Module]) -> Iterator[str]:
    """Importing a module seeds nothing."""
    for module in modules:
        for node in _run_on_import(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(SEEDERS):
                yield module.at(node, f"{ast.unparse(node.func)} on import")


def _run_on_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.Lambda):
            yield child
            yield from _run_on_import(child)


def no_vague_names(modules: Sequence[Module]) -> Iterator[str]:
    """No utils, no **kwargs but Unpack[Its], no _fn, _obj, my, new, tmp."""
    for module in modules:
        last = module.name.rpartition(".")[2]
        if re.fullmatch(r"_?(utils?|helpers?|misc|common|tools)", last):
            yield f"{module.path}:1: a module is named after what it holds, not {last!r}"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.arguments) and node.kwarg and not _typed(node.kwarg):
                yield module.at(node.kwarg, f"**{node.kwarg.arg}: arguments must not vanish")
            name = _bound(node)
            if name and re.fullmatch(r"\w+_(fn|obj)|my_\w+|tmp|tmp_\w+|new_\w+", name):
                yield module.at(node, f"the name {name!r} says nothing")


def _typed(kwargs: ast.arg) -> bool:
    return kwargs.annotation is not None and "Unpack[" in ast.unparse(kwargs.annotation)


def _bound(node: ast.AST) -> str | None:
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, Function | ast.ClassDef):
        return node.name
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None


def docstrings(modules: Sequence[Module]) -> Iterator[str]:
    """Every module, public class and public function says what it is."""
    for module in modules:
        if not ast.get_docstring(module.tree):
            yield f"{module.path}:1: the file says nothing of itself"
        for node in module.tree.body:
            if (
                isinstance(node, Function | ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                yield module.at(node, f"{node.name} has no docstring")


def budgets(modules: Sequence[Module]) -> Iterator[str]:
    """A file holds 300 lines, a function 60 (docstring aside), or what its exception says."""
    for key, lines, budget in _sizes(modules):
        allowed, _ = EXCEPTIONS.get(key, (budget, ""))
        if lines > allowed:
            yield f"{key} has {lines} lines of {allowed}"


def stale_exceptions(
    modules: Sequence[Module], exceptions: dict[str, tuple[int, str]]
) -> Iterator[str]:
    """An exception goes when its file or function is within the common budget again."""
    over = {key for key, lines, budget in _sizes(modules) if lines > budget}
    yield from (f"{key}: needs no exception any more" for key in sorted(set(exceptions) - over))


def _sizes(modules: Sequence[Module]) -> Iterator[tuple[str, int, int]]:
    for module in modules:
        yield module.path, len(module.text.splitlines()), FILE_LINES
        for function in module.functions():
            yield f"{module.path}:{function.name}", _lines(function), FUNCTION_LINES


def _lines(function: Function) -> int:
    end = function.end_lineno or function.lineno
    body = _body(function)
    skipped = body[0].lineno - function.body[0].lineno if body else end - function.body[0].lineno
    return end - function.lineno + 1 - skipped


def _body(function: Function) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) else function.body


def no_duplicates(modules: Sequence[Module]) -> Iterator[str]:
    """No function body of 8 or more lines stands twice, whatever its variables are called."""
    found: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for function in module.functions():
            body = _body(function)
            if body and (body[-1].end_lineno or 0) - body[0].lineno + 1 >= DUPLICATE_LINES:
                found[_fingerprint(function, body)].append(module.at(function, function.name))
    for places in found.values():
        if len(places) > 1:
            yield " is also ".join(places)


def _fingerprint(function: Function, body: list[ast.stmt]) -> str:
    """Hash a body with its local names numbered in order of appearance."""
    text = ast.unparse(ast.Module(body, []))
    arguments = [a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)]
    stored = [
        n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]
    numbers: dict[str, str] = {}
    local = {*arguments, *stored}

    def number(match: re.Match[str]) -> str:
        word = match[0]
        return numbers.setdefault(word, f"_{len(numbers)}") if word in local else word

    return hashlib.sha256(re.sub(r"(?<![\w.])[A-Za-z_]\w*", number, text).encode()).hexdigest()


RULES: Final[tuple[Callable[[Sequence[Module]], Iterator[str]], ...]] = (
    layer_order,
    narrow_rooms,
    imports_on_top,
    core_alone,
    light_command_line,
    no_kind_strings,
    no_hidden_effects,
    no_pickle,
    no_effect_on_import,
    no_vague_names,
    docstrings,
    budgets,
    no_duplicates,
)
