"""Golden cases, and the checkers that recognise them by source and by their tensors' names."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

Check = Callable[["Case"], None]


@dataclass
class Case:
    """One file: what went in, what came out, and what of it has been compared."""

    path: Path
    meta: dict[str, str]
    tensors: dict[str, Tensor]
    compared: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> "Case":
        with safe_open(path, "pt") as file:
            return cls(path, file.metadata(), {k: file.get_tensor(k) for k in file.keys()})  # noqa: SIM118

    @property
    def config(self) -> Any:
        return json.loads(self.meta["config"])

    def listed(self, key: str) -> Any:
        return json.loads(self.meta.get(key, "[]"))

    @property
    def state(self) -> dict[str, Tensor]:
        return self.under("state/")

    def under(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def input(self, name: str) -> Tensor:
        return self.tensors[f"input/{name}"]

    def __contains__(self, output: str) -> bool:
        return f"output/{output}" in self.tensors

    def outputs(self, pattern: str = "*") -> list[str]:
        names = (
            name.removeprefix("output/") for name in self.tensors if name.startswith("output/")
        )
        return [name for name in names if fnmatchcase(name, pattern)]

    def expect(
        self,
        name: str,
        actual: Tensor,
        *,
        atol: float = 0.0,
        rtol: float = 0.0,
        of_max: float = 0.0,
    ) -> None:
        """Compare with an output, if the case has it; `of_max` is relative to its largest value."""
        if name not in self:
            return
        self.compared.add(name)
        wanted = self.tensors[f"output/{name}"]
        assert actual.shape == wanted.shape, f"{name}: {actual.shape} for {wanted.shape}"
        if wanted.numel() == 0:
            return
        largest = float(wanted.double().abs().max())
        bound = atol + of_max * largest + rtol * wanted.double().abs()
        gap = (actual.detach().double() - wanted.double()).abs()
        worst = float((gap - bound).nan_to_num(nan=float("inf")).max())
        assert worst <= 0, f"{name}: off by {float(gap.max()):.3g}, largest value {largest:.3g}"

    def left(self) -> list[str]:
        """Return the outputs that nobody has compared."""
        return [name for name in self.outputs() if name not in self.compared]


@dataclass(frozen=True)
class Checker:
    """A check, and the cases that it is for: the first that fits is taken."""

    check: Check
    system: str
    source: str
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.check.__name__

    def fits(self, system: str, source: str, names: list[str]) -> bool:
        return (
            system == self.system
            and re.search(self.source, source) is not None
            and all(any(fnmatchcase(n, need) for n in names) for need in self.needs)
        )


CHECKERS: list[Checker] = []


def checks(system: str, source: str, *needs: str) -> Callable[[Check], Check]:
    """Register a checker for cases of `system` whose source matches and that hold `needs`."""

    def register(check: Check) -> Check:
        CHECKERS.append(Checker(check, system, source, needs))
        return check

    return register


@dataclass(frozen=True)
class Found:
    """What a file is: its checker, if any, its source, and whether there has to be a checker."""

    checker: Checker | None
    source: str
    due: bool


def find(path: Path) -> Found:
    """Look a file up among the checkers."""
    system = path.parent.name
    with safe_open(path, "pt") as file:
        source, names = (file.metadata() or {}).get("source", ""), list(file.keys())
    fitting = (each for each in CHECKERS if each.fits(system, source, names))
    return Found(next(fitting, None), source, due(system))


def due(system: str) -> bool:
    """Say whether a case is of a system that this project has."""
    return system in {
        "adm",
        "dico",
        "diffusion_classifier",
        "dimr",
        "dit",
        "guidance",
        "lit",
        "mage",
        "mar",
        "maskgit",
        "ppap",
        "ppgn",
        "recap",
        "sit",
        "t_stitch",
        "uvit",
        "vitok",
    }


def files(folders: list[Path]) -> Iterator[Path]:
    """Yield the cases under `<folder>/<system>/`, each once: the first folder wins."""
    seen = set()
    for folder in folders:
        for path in sorted(folder.glob("*/*.safetensors")):
            key = (path.parent.name, path.name)
            if key not in seen:
                seen.add(key)
                yield path


def broadcast(row: Tensor, like: Tensor) -> Tensor:
    return row.view(-1, *(1,) * (like.dim() - 1)).to(like)


def all_same(tensor: Tensor) -> bool:
    return bool(torch.equal(tensor, tensor[:1].expand_as(tensor)))
