"""Reconstructions beside their originals: PSNR, SSIM, and LPIPS where its weights are at hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from mezzotint.data.draw import picture
from mezzotint.data.images import Images, InMemory
from mezzotint.errors import DataError
from mezzotint.evaluation.extract import BLOCK
from mezzotint.evaluation.paired import PSNR, SSIM, PairedMetric, PairedScores, PairedSummary
from mezzotint.evaluation.pictures import Pictures
from mezzotint.evaluation.record import ClassScore, Score
from mezzotint.evaluation.report import Report
from mezzotint.evaluation.wording import number
from mezzotint.stored import NetworkTokenizer


def standard(size: int) -> tuple[PairedMetric, ...]:
    """Return PSNR, and SSIM where its window fits into images of `size` pixels."""
    return (PSNR(), SSIM()) if size >= SSIM().window else (PSNR(),)


def check_pairs(images: Images, originals: Images) -> None:
    """Refuse reconstructions that cannot be one to an original.

    Raises:
        DataError: other counts.
    """
    if len(images) != len(originals):
        raise DataError(
            f"--pairs: {len(images)} reconstructions of {len(originals)} originals; expected one "
            "each, in the same order"
        )


def with_pairs(
    report: Report,
    pictures: Pictures,
    images: Images,
    originals: Images,
    metrics: Sequence[PairedMetric],
) -> tuple[Report, Pictures]:
    """Add the paired metrics to a report, and the worst images with their originals.

    Args:
        report, pictures: of the same images, unpaired; its Fréchet distances become rFD and rFID.
        images: reconstructions.
        originals: as many, in the same order.
        metrics: see `standard`, and LPIPS where `load_lpips` has found it.

    Raises:
        DataError: other counts or sizes.
    """
    check_pairs(images, originals)
    found = PairedScores(metrics)
    for rows in torch.arange(len(images)).split(BLOCK):
        found.update(images.read(rows), originals.read(rows))
    summaries = found.summaries()
    by_name = {metric.name: metric for metric in metrics}
    paired = tuple(_score(each, by_name[each.name]) for each in summaries)
    renamed = tuple(replace(s, name=_reconstructed(s.name)) for s in report.scores)
    worst = torch.tensor([row for row, _ in summaries[0].worst])
    shown = zip(images.read(worst), originals.read(worst), strict=True)
    sheet = tuple(picture(torch.cat([image, original], 2)) for image, original in shown)
    classes = _by_class(report.classes, found.values(PSNR().name), originals)
    told = replace(report, scores=paired + renamed, classes=classes)
    return told, replace(pictures, worst=sheet, worst_caption=_CAPTION)


_CAPTION: Final = "The worst by PSNR: what came back, with its original on the right."


def _by_class(
    rows: tuple[ClassScore, ...], psnr: Float64[Tensor, "n"], originals: Images
) -> tuple[ClassScore, ...]:
    """Enter the mean PSNR of each class; equal images, whose PSNR is infinite, are left out."""
    known = {row.name: row for row in rows}
    found = []
    for label, name in enumerate(originals.classes):
        own = psnr[originals.labels == label]
        finite = own[own.isfinite()]
        row = known.pop(name, ClassScore(name, len(own)))
        found.append(replace(row, psnr=finite.mean().item() if len(finite) else None))
    return (*found, *known.values())


def _score(summary: PairedSummary, metric: PairedMetric) -> Score:
    equal = f", without {summary.infinite} that equal their original" if summary.infinite else ""
    return Score(
        summary.name,
        summary.mean,
        lower_is_better=not metric.higher_is_better,
        note=f"{summary.unit or 'mean'}{equal}",
    )


def _reconstructed(name: str) -> str:
    """Return rFID for FID and rFD-… for FD-…; other names stay."""
    return f"r{name}" if name.startswith(("FD", "FID")) else name


def restored(images: Images, tokenizer: NetworkTokenizer, device: str) -> InMemory:
    """Return images as they come back from a tokenizer, nothing being drawn on the way.

    Raises:
        ConfigError: the tokenizer does not take images of this size.
    """
    there = tokenizer.at(images.size)
    blocks = [
        there.restored(images.read(rows).to(device)).cpu()
        for rows in torch.arange(len(images)).split(BLOCK)
    ]
    return InMemory.of(torch.cat(blocks), images.labels, images.classes)


GOOD, POOR = 26.0, 20.0
"""dB; our own rule of thumb: above the one errors are hard to see, under the other they stare."""
OFTEN: Final = 3.0
"""Times its floor up to which a distance is called a loss, and not another kind of images."""
APART: Final = 2.0
"""dB by which a class must lie under the mean to be named."""


def judged(report: Report) -> Report:
    """Say in one sentence whether the tokenizer fits the images.

    By a rule of thumb, of PSNR and of the distance that a generator on its latents cannot better:
    it fits where the distance is under its floor, that of real images from each other, and PSNR is
    26 dB or more; it does not fit beyond three times the floor, or under 20 dB.
    """
    scores = {score.name: score for score in report.scores}
    psnr = scores[PSNR().name].value
    distance = next((s for s in report.scores if s.name.startswith(("rFD", "rFID"))), None)
    equal = math.isnan(psnr)  # every image came back as it was
    ratio = 0.0
    said = "every image comes back as it was" if equal else f"PSNR is {number(psnr)} dB"
    if distance is not None:
        said += f", {distance.name} {number(distance.value)}"
        if distance.floor:
            ratio = distance.value / distance.floor
            said += f", {number(ratio, digits=2)} times that of real images from each other"
    good = equal or (psnr >= GOOD and ratio <= 1)
    poor = not equal and (psnr < POOR or ratio > OFTEN)
    words = "does not fit" if poor else "fits" if good else "fits these images with visible losses"
    ends = "" if words.endswith("losses") else " these images"
    verdict = f"This tokenizer {words}{ends}: {said}{_weak(report.classes, psnr)}."
    return replace(report, verdict=verdict, memorisation=None)


def _weak(classes: Sequence[ClassScore], mean: float) -> str:
    known = [(row.psnr, row.name) for row in classes if row.psnr is not None]
    worst = min(known, default=(mean, ""))
    return f"; worst is {worst[1]} with {number(worst[0])} dB" if worst[0] < mean - APART else ""


__all__ = ["check_pairs", "judged", "restored", "standard", "with_pairs"]
