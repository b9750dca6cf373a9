"""Small sets and an extractor without weights, for the tests of evaluation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from mezzotint.data.images import InMemory
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.draws import Draws
from mezzotint.evaluation.evaluator import Evaluator
from mezzotint.evaluation.extract import Alone, Group
from mezzotint.evaluation.features import Readout
from mezzotint.evaluation.metrics import Frechet, Kernel, PrecisionRecall
from mezzotint.evaluation.sources import Source, open_source
from mezzotint.generator import Generator
from tests.tiny import tiny


@dataclass(frozen=True)
class Patches:
    """Mean colours of quarters: 12 features, as exact as sums of bytes."""

    distance: str = "FD-patches"
    digest: str = "patches"
    classes: tuple[str, ...] = ("dark", "light")

    def __call__(self, images):
        means = avg_pool2d(images.float(), images.shape[-1] // 2).flatten(1)
        bright = means.mean(1, keepdim=True) - 127.5
        return Readout(means, torch.cat([-bright, bright], 1))


def pictures(count, *, seed=0, size=8, classes=("dark", "light")):
    """Noise around a grey that tells the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(classes)
    noise = torch.randn(count, 3, size, size, generator=generator) * 30
    level = 70 + 110 * labels[:, None, None, None] / max(len(classes) - 1, 1)
    pixels = (noise + level).round().clamp(0, 255).to(torch.uint8)
    return InMemory.of(pixels, labels, tuple(classes))


def source(count, **settings):
    return Source(f"{count} pictures", pictures(count, **settings), "png")


def save_npz(path: Path, images, **more) -> Path:
    """Write pictures as other tools do."""
    array = images.pixels.permute(0, 2, 3, 1).numpy()
    np.savez(path, arr_0=array, arr_1=images.labels.numpy(), **more)
    return path


def save_folder(folder: Path, images, *, suffix=".png") -> Path:
    for row, (image, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        home = folder / images.classes[label]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(home / f"{row:03d}{suffix}")
    return folder


def drawn_and_measured(home: Path, group: Group | None = None) -> dict[str, float] | None:
    """Return the scores of 600 samples of an untrained model; None on all ranks but the first."""
    group = group or Alone()
    made = tiny(home / "untrained").product()
    assert isinstance(made, Generator)
    assert isinstance(made.denoiser, NetworkDenoiser)
    random = torch.Generator().manual_seed(0)
    for parameter in made.denoiser.parameters():  # a fresh one draws grey, whatever the seed
        parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.1)
    draws = Draws(made, "untrained", home / "samples", 600, batch=32)
    if group.rank == 0:
        draws.open()
    group.wait()
    for _ in draws.draw(rank=group.rank, ranks=group.count):
        pass
    group.wait()
    metrics = (Frechet("FD-patches"), Kernel("KID-patches"), PrecisionRecall())
    evaluator = Evaluator(Patches(), metrics, source(700), home / "cache", group=group)
    result = evaluator.report(open_source(str(home / "samples")))
    return None if result is None else {score.name: score.value for score in result[0].scores}
