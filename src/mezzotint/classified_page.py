"""The page of what a generator says about images: probabilities, curves of errors, labels."""

from collections.abc import Iterator
from html import escape
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.classified import Classified
from mezzotint.data.draw import picture
from mezzotint.evaluation import page_parts
from mezzotint.evaluation.page import document
from mezzotint.evaluation.page_parts import Column
from mezzotint.evaluation.pictures import shown
from mezzotint.evaluation.plots import Series, lines
from mezzotint.evaluation.wording import count, number, percent

BINS: Final = 12  # of time, in curves
DRAWN: Final = 6  # classes in a chart, and images with charts of their own
LISTED: Final = 20
_PICTURE: Final = 96  # pixels


def page(found: Classified) -> str:
    """Return what was found as HTML: one file, no request, no script."""
    confusion = found.confusion
    counts = None if confusion is None else confusion.table.tolist()
    sections = [
        _scores(found),
        page_parts.section("Errors over time", *map(page_parts.figure, _curves(found))),
        page_parts.section("Images", *_images(found)),
        page_parts.confusion(counts, found.classes),
        _labels(found),
        _strange(found),
        _settings(found),
    ]
    return document(found.title, lead(found), sections)


def lead(found: Classified) -> str:
    """Say in a sentence what was found."""
    images = len(found.evidence)
    spent = float(found.evidence.forwards.double().mean())
    said = f"{count(images)} images, {number(spent)} evaluations an image"
    calibration = found.calibration
    if calibration is None:
        return f"{said}; there are no labels to compare with."
    return f"{percent(calibration.accuracy)} of {said}, are named as they are labelled."


def _scores(found: Classified) -> str:
    calibration, fitted = found.calibration, found.classifier.calibration_
    rows = [["evaluations an image", number(float(found.evidence.forwards.double().mean()))]]
    rows += [["seconds an image", number(found.seconds / len(found.evidence))]]
    rows += [["temperature", number(found.classifier.temperature_)]]
    if fitted is not None:
        told = "NLL where the temperature was fitted, before and after"
        rows += [[told, f"{number(fitted.before.nll)}, {number(fitted.after.nll)}"]]
    if calibration is not None:
        rows += [["accuracy", percent(calibration.accuracy)], ["NLL", number(calibration.nll)]]
        rows += [["calibration error", percent(calibration.error)]]
    columns = [Column(""), Column("value", "n")]
    caption = "Probabilities are a softmax of the errors over the temperature."
    if found.classifier.calibration_ is None:
        caption += " It was not fitted, so that they are not calibrated: give --calibrate."
    table = page_parts.table(caption, columns, rows)
    chart = "" if calibration is None or len(calibration.bins) < 2 else _reliability(found)
    return page_parts.section("Scores", table, chart)


def _reliability(found: Classified) -> str:
    calibration = found.calibration
    assert calibration is not None, "asked for with labels only"
    sure = tuple(each.confidence for each in calibration.bins)
    right = tuple(each.accuracy for each in calibration.bins)
    series = [Series("these images", sure, right), Series("perfect", (0.0, 1.0), (0.0, 1.0))]
    title = "Whether probabilities can be taken at their word"
    return page_parts.figure(lines(series, "probability of the prediction", "share right", title))


def _binned(
    t: Float[Tensor, "m"], values: Float[Tensor, "k m"]
) -> tuple[list[float], Float[Tensor, "k b"]]:
    """Return the middles of bins of time, and the means of what is known there."""
    place = (t * BINS).ceil().long().clamp(1, BINS) - 1
    there = place.unique()
    means = torch.stack([values[:, place == k].nanmean(1) for k in there.tolist()], 1)
    return ((there.double() + 0.5) / BINS).tolist(), means


def _curves(found: Classified) -> Iterator[str]:
    """Yield how much worse each class explains the images that are not its own, over time."""
    evidence = found.evidence
    winner = evidence.winners()
    rows = torch.arange(len(evidence))
    excess = (evidence.errors - evidence.errors[rows, winner][:, None]).double()
    excess[rows, winner] = torch.nan
    t, means = _binned(evidence.plan.t, excess.nanmean(0))
    owner = evidence.owner.tolist()
    series = [
        Series(found.classes[owner[k]], tuple(t), tuple(means[k].tolist()))
        for k in range(len(owner))
        if bool(means[k].isfinite().any())
    ]
    for first in range(0, len(series), DRAWN):
        part = series[first : first + DRAWN]
        title = "Error beyond that of the winner, mean over images"
        yield lines(part, "time (0 clean, 1 noise)", "excess error", title)


def _images(found: Classified) -> Iterator[str]:
    """Yield the first images, each with the curves of its best classes."""
    evidence, p = found.evidence, found.probabilities
    pictures = found.pictures
    for k in range(0 if pictures is None else len(pictures)):
        assert pictures is not None, "counted above"
        best = p[k].argsort(descending=True, stable=True)[: min(3, p.shape[1])].tolist()
        told = ", ".join(f"{found.classes[c]} {percent(float(p[k, c]))}" for c in best)
        own = evidence.owner.tolist()
        rows = [(c, own.index(c)) for c in best]
        t, means = _binned(evidence.plan.t, evidence.errors[k, [row for _, row in rows]].double())
        series = [
            Series(found.classes[c], tuple(t), tuple(means[i].tolist()))
            for i, (c, _) in enumerate(rows)
        ]
        caption = f"{found.names[k]}: {told}"
        image = shown(picture(pictures[k]), caption, least=_PICTURE)
        chart = lines(series, "time (0 clean, 1 noise)", "error", "Errors of the best classes")
        yield f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
        yield page_parts.figure(chart)


def _labels(found: Classified) -> str:
    thinks = found.labelled
    if thinks is None:
        return ""
    columns = [Column("image"), Column("label"), Column("rather"), Column("certainty", "n")]
    doubted = [
        [
            escape(found.names[k]),
            escape(found.labels[k]),
            escape(str(thinks.suggested[k])),
            number(float(thinks.certainty[k]), digits=2),
        ]
        for k in thinks.suspects()[:LISTED].tolist()
    ]
    caption = "Labels that another class explains better, by 3 standard errors or more."
    typical = ", ".join(escape(found.names[k]) for k in thinks.ranking()[:LISTED].tolist())
    return page_parts.section(
        "Labels",
        page_parts.table(caption, columns, doubted) if doubted else "<p>No label is doubted.</p>",
        f"<p>Most typical of their labels: {typical}.</p>",
    )


def _strange(found: Classified) -> str:
    if found.strange is None:
        return ""
    order = found.strange.argsort(descending=True, stable=True)[:LISTED].tolist()
    columns = [Column("image"), Column("reference images explained better", "n")]
    rows = [[escape(found.names[k]), percent(float(found.strange[k]))] for k in order]
    caption = "The strangest first. A plain image is easy to predict wherever it comes from."
    return page_parts.section("Strange images", page_parts.table(caption, columns, rows))


def _settings(found: Classified) -> str:
    items = "\n".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
        for name, value in found.settings.items()
    )
    return page_parts.section("Settings", f"<dl>\n{items}\n</dl>")


__all__ = ["lead", "page"]
