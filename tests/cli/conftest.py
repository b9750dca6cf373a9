"""A command line in this process, and a tiny untrained model to use it on."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint import config
from mezzotint.cli.main import main
from mezzotint.generator import DiffusionConfig, Generator
from mezzotint.sampling import Sampling
from mezzotint.tokenizers.base import Pixels


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `mezzotint` with arguments, and say how it ended."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["mezzotint", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 8 px that a user has."""
    values = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(values).save(path)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with three classes, whose output depends on its input."""
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller one, that can be stitched with it."""
    return write_model(tmp_path_factory.mktemp("small"), width=8, seed=1)


def write_model(folder: Path, *, width: int = 16, seed: int = 0) -> Path:
    network = {"kind": "dit", "depth": 1, "width": width, "heads": 2, "patch": 4}
    shape = {"channels": 3, "size": [8, 8], "num_classes": 3}
    recipe = DiffusionConfig(network=config.load("network", network | shape))
    denoiser = recipe.build()
    generator = torch.Generator().manual_seed(seed)
    for parameter in denoiser.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    Generator(
        denoiser=denoiser,
        tokenizer=Pixels(size=8),
        classes=("cat", "dog", "red fox"),
        sampling=Sampling(steps=3),
        null=3,
        tree={"model": recipe, "tokenizer": Pixels(size=8), "provenance": {"seen": 0}},
    ).save(folder)
    return folder
