"""Reconstructions beside their originals: PSNR, SSIM, and LPIPS where its weights are at hand."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mezzotint.data.draw import picture
from mezzotint.data.images import Images
from mezzotint.errors import DataError
from mezzotint.evaluation.extract import BLOCK
from mezzotint.evaluation.paired import PSNR, SSIM, PairedMetric, PairedScores, PairedSummary
from mezzotint.evaluation.pictures import Pictures
from mezzotint.evaluation.record import Score
from mezzotint.evaluation.report import Report


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
    return replace(report, scores=paired + renamed), replace(pictures, worst=sheet)


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


__all__ = ["check_pairs", "standard", "with_pairs"]
