"""How far a small model is from a large one by noise level: where stitching may give it the steps.

the large one's way     both models' estimates at the states of its own samples, unguided
held-out images         the error of each at x_t = alpha x0 + sigma eps, and their distance
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

import mezzotint
from mezzotint.evaluation.choices import trained_on
from mezzotint.noise import SeededNoise

TIMES: Final = (0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
IMAGES: Final = 1_024
BATCH: Final = 128

Pair = tuple[mezzotint.Generator, mezzotint.Generator]


@torch.no_grad()
def on_the_way(pair: Pair, steps: int, images: int = 32) -> Iterator[list[str]]:
    """Yield how alike the two models' noise is along the large one's way, as table lines."""
    large, small = pair
    large = large.with_sampling(steps=steps, sampler="ddim", guidance=1.0)
    labels, seeds = [k % len(large.classes) for k in range(images)], list(range(images))
    y = torch.tensor(labels)
    path, where = large.denoiser.path, torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    yield ["t", "cosine of the noise", "distance of the clean images, relative"]
    for step, t in zip(large.steps(labels, seeds), where[1:].tolist(), strict=True):
        if round(t * steps) % 5 or t == 0:
            continue
        times = torch.full((images,), t, dtype=torch.float64)
        ours, theirs = (each.denoiser(step.x, times, y) for each in (large, small))
        assert path == small.denoiser.path
        cosine = torch.cosine_similarity(ours.eps.flatten(1), theirs.eps.flatten(1)).mean()
        gap = (ours.x0 - theirs.x0).flatten(1).norm(dim=1) / ours.x0.flatten(1).norm(dim=1)
        yield [f"{t:.1f}", f"{float(cosine):.4f}", f"{float(gap.mean()):.3f}"]


@torch.no_grad()
def on_images(pair: Pair) -> Iterator[list[str]]:
    """Yield both models' mean squared error on held-out images by t, as table lines."""
    x0, y = held_out(pair[0])
    eps = SeededNoise(range(len(y)))(x0)
    yield ["t", "error of the large", "of the small", "distance of the two"]
    for t in TIMES:
        times = torch.full((len(y),), t, dtype=torch.float64)
        scales = pair[0].denoiser.path.at(times, x0)
        x_t = scales.alpha * x0 + scales.sigma * eps
        large, small = (estimate(each, x_t, times, y) for each in pair)
        errors = ((large - x0), (small - x0), (large - small))
        yield [f"{t:g}", *(f"{float(each.square().mean()):.4f}" for each in errors)]


def held_out(made: mezzotint.Generator) -> tuple[Tensor, Tensor]:
    """Return latents and labels of images that the model has not seen, evenly picked."""
    _, unseen, why = trained_on(made.tree)
    if unseen is None:
        raise SystemExit(f"no held-out images: {why}")
    rows = torch.linspace(0, len(unseen.pictures) - 1, IMAGES).long().unique()
    codes = made.tokenizer.encode(unseen.pictures.read(rows))
    return made.tokenizer.latents(codes, SeededNoise(range(len(rows)))), unseen.pictures.labels[
        rows
    ]


def estimate(made: mezzotint.Generator, x_t: Tensor, times: Tensor, y: Tensor) -> Tensor:
    """Return a model's estimate of the clean latents."""
    rows = range(0, len(y), BATCH)
    parts = [tuple(each[k : k + BATCH] for each in (x_t, times, y)) for k in rows]
    return torch.cat([made.denoiser(*part).x0 for part in parts])


__all__ = ["held_out", "on_images", "on_the_way"]
