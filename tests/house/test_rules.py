"""The house rules hold for the package, and each one catches an offence planted for it."""

import pytest

from tests.house import rules
from tests.house.rules import RULES
from tests.house.source import Module, package

BY_NAME = {rule.__name__: rule for rule in RULES}
LONG = "\n".join(f"    a{i} = {i}" for i in range(61))
BODY = "\n".join(f"    {{0}} = {i} + {{0}}" for i in range(8))

# rule, the offence as {path: text}, and its nearest innocent neighbour
PLANTS = [
    ("layer_order", {"networks/a.py": "from mezzotint.diffusion.paths import Path"},
                    {"networks/a.py": "from mezzotint.nn.embed import Grid"}),
    ("layer_order", {"diffusion/a.py": "def f():\n    from mezzotint.data import images"},
                    {"masked/a.py": "from mezzotint.diffusion import denoiser"}),
    ("layer_order", {"training/a.py": "from mezzotint import load"},
                    {"training/a.py": "from mezzotint import __version__"}),
    ("layer_order", {"nn/a.py": "from ..networks import dit"},
                    {"nn/a.py": "from .embed import Grid"}),
    ("layer_order", {"config.py": "import importlib\nimportlib.import_module('mezzotint.nn.a')"},
                    {"config.py": "from mezzotint import kinds"}),
    ("layer_order", {"gallery.py": ""}, {"bench.py": "from mezzotint.generator import load"}),
    ("narrow_rooms", {"nn/a.py": "import numpy"}, {"nn/a.py": "import math, torch, jaxtyping"}),
    ("narrow_rooms", {"evaluation/a.py": "from mezzotint.networks.dit import DiT"},
                     {"evaluation/a.py": "from mezzotint.networks.classifier import Small"}),
    ("narrow_rooms", {"zoo/a.py": "import json"}, {"zoo/__init__.py": '"""Cards."""'}),
    ("imports_on_top", {"data/a.py": "class A:\n    def f(self):\n        import json"},
                       {"data/a.py": "def f():\n    import webdataset"}),
    ("imports_on_top", {"__init__.py": "def f():\n    import torch"},
                       {"__init__.py": "def __getattr__(name):\n    from mezzotint import generator"}),
    ("imports_on_top", {"generator.py": "def f():\n    import torch"},
                       {"cli/train.py": "def f():\n    import torch"}),
    ("core_alone", {"networks/a.py": "import timm.layers"},
                   {"networks/a.py": "def f():\n    import timm.layers"}),
    ("core_alone", {"training/a.py": "from torch.utils.tensorboard import SummaryWriter"},
                   {"studio/page.py": "import gradio"}),
    ("light_command_line", {"cli/main.py": "from mezzotint.cli import train", "cli/train.py": "import torch"},
                           {"cli/main.py": "def f():\n    import torch"}),
    ("light_command_line", {"cli/main.py": "import typer", "cli/__init__.py": "from torch import nn"},
                           {"cli/main.py": "if TYPE_CHECKING:\n    import torch"}),
    ("no_kind_strings", {"diffusion/a.py": "if kind == 'eps': pass"},
                        {"diffusion/a.py": "if kind == EPS or depth == 3: pass"}),
    ("no_kind_strings", {"nn/a.py": "x = 'rms' != norm"}, {"nn/a.py": "x = parts['rms']"}),
    ("no_kind_strings", {"masked/a.py": "x = kind in ('a', 'b')"}, {"masked/a.py": "x = n in (1, 2)"}),
    ("no_kind_strings", {"networks/a.py": "match kind:\n    case 'a' | 'b': pass"},
                        {"config.py": "x = kind == 'a'"}),
    ("no_hidden_effects", {"nn/a.py": "x = x.cuda()"}, {"nn/a.py": "x = torch.cuda.is_available()"}),
    ("no_hidden_effects", {"data/a.py": "print(1)"}, {"cli/a.py": "print(1)"}),
    ("no_hidden_effects", {"data/a.py": "def f():\n    global n"}, {"data/a.py": "def f():\n    global_n = 1"}),
    ("no_hidden_effects", {"cli/a.py": "import sys\nsys.path.append('.')"}, {"cli/a.py": "sys.argv"}),
    ("no_hidden_effects", {"data/a.py": "eval('1')"}, {"data/a.py": "model.eval()"}),
    ("no_hidden_effects", {"data/a.py": "exec('1')"}, {"data/a.py": "pool.exec('1')"}),
    ("no_hidden_effects", {"nn/a.py": "from __future__ import annotations"}, {"nn/a.py": "import abc"}),
    ("no_pickle", {"data/a.py": "import pickle"}, {"data/a.py": "import json"}),
    ("no_pickle", {"data/a.py": "from pickle import loads"},
                  {"data/a.py": "from pickle import UnpicklingError"}),
    ("no_pickle", {"data/a.py": "torch.load(p, weights_only=True)"},
                  {"checkpoint.py": "torch.load(p, weights_only=True)"}),
    ("no_pickle", {"checkpoint.py": "torch.load(p)"}, {"checkpoint.py": "json.load(p)"}),
    ("no_pickle", {"checkpoint.py": "from torch import load"}, {"data/a.py": "from json import load"}),
    ("no_pickle", {"data/a.py": "np.load(p, allow_pickle=True)"}, {"data/a.py": "np.load(p)"}),
    ("no_pickle", {"data/a.py": "m.load_state_dict(s, strict=False)"},
                  {"data/a.py": "m.load_state_dict(s, strict=True)"}),
    ("no_effect_on_import", {"nn/a.py": "import torch\ntorch.manual_seed(0)"},
                            {"nn/a.py": "def f():\n    torch.manual_seed(0)"}),
    ("no_effect_on_import", {"data/a.py": "class A:\n    np.random.seed(0)"}, {"data/a.py": "seed(0)"}),
    ("no_vague_names", {"data/utils.py": ""}, {"data/images.py": ""}),
    ("no_vague_names", {"data/a.py": "def f(**kwargs): pass"}, {"data/a.py": "f(**settings)"}),
    ("no_vague_names", {"data/a.py": "def f(**settings: Any): pass"},
                       {"data/a.py": "def f(**settings: Unpack[Settings]): pass"}),
    ("no_vague_names", {"data/a.py": "def f(loss_fn): pass"}, {"data/a.py": "def f(loss): pass"}),
    ("no_vague_names", {"data/a.py": "tmp = 1"}, {"data/a.py": "x.new_zeros(1)"}),
    ("docstrings", {"data/a.py": "'''A.'''\ndef f(): pass"}, {"data/a.py": "'''A.'''\ndef _f(): pass"}),
    ("docstrings", {"data/a.py": "'''A.'''\nclass A: pass"}, {"data/a.py": "'''A.'''\nA = 1"}),
    ("docstrings", {"data/a.py": "x = 1"}, {"data/a.py": "'''A.'''\nx = 1"}),
    ("budgets", {"data/a.py": "\n" * 301}, {"data/a.py": "\n" * 300}),
    ("budgets", {"data/a.py": f"def f():\n{LONG}"},
                {"data/a.py": f"def f():\n    '''A.{chr(10) * 30}'''\n" + LONG[LONG.index("a2") - 4 :]}),
    ("no_duplicates", {"data/a.py": f"def f(a):\n{BODY.format('a')}",
                       "nn/b.py": f"def g(b):\n    'Doc.'\n{BODY.format('b')}"},
                      {"data/a.py": f"def f(a):\n{BODY.format('a')}",
                       "nn/b.py": f"def g(b):\n{BODY.format('b').replace('7', '8')}"}),
]  # fmt: skip


def _modules(files):
    return [Module(path, text) for path, text in files.items()]


@pytest.mark.parametrize("rule", RULES, ids=BY_NAME)
def test_the_package_keeps_the_rule(rule):
    offences = list(rule(package()))
    assert not offences, "\n".join([rule.__doc__, *offences])


@pytest.mark.parametrize(("name", "offence", "innocent"), PLANTS)
def test_the_rule_catches_its_offence_and_nothing_else(name, offence, innocent):
    assert list(BY_NAME[name](_modules(offence)))
    assert not list(BY_NAME[name](_modules(innocent)))


def test_every_rule_has_a_planted_offence():
    assert {name for name, _, _ in PLANTS} == set(BY_NAME)


def test_the_package_is_really_read():
    names = {module.name for module in package()}
    assert {"mezzotint", "mezzotint.config", "mezzotint.diffusion.paths"} <= names


def test_an_exception_raises_a_budget_and_goes_when_it_is_not_needed(monkeypatch):
    long = _modules({"data/a.py": f"def f():\n{LONG}"})
    exception = {"data/a.py:f": (62, "a table")}
    monkeypatch.setattr(rules, "EXCEPTIONS", exception)
    assert not list(rules.budgets(long))
    assert not list(rules.stale_exceptions(long, exception))
    assert list(rules.stale_exceptions(_modules({"data/a.py": ""}), exception))


def test_no_exception_is_stale_and_each_has_a_reason():
    assert not list(rules.stale_exceptions(package(), rules.EXCEPTIONS))
    assert all(reason for _, reason in rules.EXCEPTIONS.values())
