"""`mezzotint evaluate`: how good samples are, under one protocol."""

import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared
from mezzotint.cli.drawn import Wish
from mezzotint.errors import ConfigError

if TYPE_CHECKING:
    from mezzotint.evaluation.evaluator import Evaluator
    from mezzotint.evaluation.extract import Progress
    from mezzotint.evaluation.pictures import Pictures
    from mezzotint.evaluation.record import Score
    from mezzotint.evaluation.report import Report
    from mezzotint.evaluation.sources import Source
    from mezzotint.training.distributed import Ranks

NO = "none"
COUNT = 5_000
"""Samples that are drawn of a model unless --count says otherwise."""


Samples = Annotated[
    str | None, typer.Argument(help="A folder, zip or .npz; leave out with --model.")
]
Reference = Annotated[
    str | None, typer.Argument(help="Real images: the same, ADM's .npz, or emoji, digits, prints.")
]
Model = Annotated[
    str | None, typer.Option(help="Draw the samples from this model; a killed run goes on.")
]
Count = Annotated[int | None, typer.Option(min=2, help="Samples: all, or 5,000 of a --model.")]
Seed = Annotated[int, typer.Option(help="First seed of a --model's samples.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps of the sampler.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.")]
Settings = Annotated[
    list[str] | None, typer.Option("-o", help="Sampling setting such as sampler=ddim.")
]
Balanced = Annotated[
    bool, typer.Option("--balanced", help="Every class equally often, not as in the reference.")
]
Batch = Annotated[int, typer.Option(min=1, help="Images at a time while drawing.")]
FeatureSpace = Annotated[
    str, typer.Option(help="inception, efflite0, timm:NETWORK, or a classifier; auto by the data.")
]
Weights = Annotated[
    str | None, typer.Option(help="Of the features: a path, package:NAME/FILE or hf://….")
]
JudgeName = Annotated[
    str, typer.Option(help="Classifier for the class accuracy: zoo name, folder, or none.")
]
Training = Annotated[
    str | None, typer.Option(help="What the model was trained on: samples are looked for in it.")
]
HeldOut = Annotated[
    str | None, typer.Option("--held-out", help="Real images outside the training set.")
]
Size = Annotated[int | None, typer.Option(min=1, help="Crop folders of real images to this size.")]
Pairs = Annotated[
    bool, typer.Option("--pairs", help="Samples are reconstructions, in the reference's order.")
]
Lpips = Annotated[Path | None, typer.Option(help="AlexNet weights for LPIPS, with --pairs.")]
Kernel = Annotated[
    bool | None, typer.Option(help="Kernel distance; by default under 10,000 samples.")
]
AllowLossy = Annotated[bool, typer.Option("--allow-lossy", help="Take JPEG samples all the same.")]
Statistics = Annotated[
    Path | None, typer.Option(help="Also write the reference as ADM's .npz with mu and sigma.")
]
Out = Annotated[Path, typer.Option(help="Folder for the report.")]


def evaluate(
    samples: Samples = None,
    reference: Reference = None,
    model: Model = None,
    count: Count = None,
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    settings: Settings = None,
    balanced: Balanced = False,
    batch: Batch = 64,
    features: FeatureSpace = "auto",
    weights: Weights = None,
    judge: JudgeName = "auto",
    training: Training = None,
    held_out: HeldOut = None,
    size: Size = None,
    pairs: Pairs = False,
    lpips: Lpips = None,
    kernel: Kernel = None,
    allow_lossy: AllowLossy = False,
    statistics: Statistics = None,
    out: Out = Path("evaluation"),
    device: shared.Device = "auto",
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Measure samples against real images, or draw them from a model and measure them."""
    from mezzotint.evaluation.choices import Choices, class_shares
    from mezzotint.evaluation.sources import check_pair
    from mezzotint.training.distributed import ranks

    chosen = shared.device_of(device)
    samples, reference = _places(samples, reference, model)
    with ranks(chosen) as group, _Watching(talks=group.first) as watch:
        _prepare(out, group, force=force, go_on=model is not None)
        wish = Wish(model, out / "samples", count or COUNT, seed, batch, steps, guidance, settings)
        if samples is None:
            made = wish.generator(chosen)
            real = _reference(reference, wish.model, made.tree, size)
            shares = () if balanced else class_shares(real, made.classes)
            ours = _opened(str(wish.drawn(made, group, shares)))
        else:
            ours = _opened(samples)
            real = _reference(reference, ours.name, ours.made, size)
        check_pair(ours, real, allow_lossy=allow_lossy)
        known = _opened(training, size) if training else None
        unseen = _opened(held_out, size) if held_out else None
        choices = Choices(features, weights, None if judge == NO else judge, kernel, chosen)
        evaluator = choices.evaluator(ours, real, count, known, unseen, group, watch)
        result = evaluator.report(ours, count, _title(ours, real), _command())
        if result is None:
            return
        if pairs:
            result = _paired(*result, ours, real, lpips)
        if statistics is not None:
            _write_statistics(statistics, evaluator)
        report, pictures = result
        report.write(out, pictures)
        _tell(report, out, as_json=as_json)


def _places(
    samples: str | None, reference: str | None, model: str | None
) -> tuple[str | None, str | None]:
    """Return samples and reference; with a model, the only place that is given is the reference."""
    if model is None and samples is not None:
        return samples, reference
    if model is not None and reference is None:
        return None, samples
    raise ConfigError("give either SAMPLES [REFERENCE], or --model NAME [REFERENCE]")


def _prepare(out: Path, group: "Ranks", *, force: bool, go_on: bool) -> None:
    """Make the folder; samples that a killed run has drawn stay where they are."""
    if group.first and (force or not (go_on and (out / "samples").is_dir())):
        shared.fresh(out, force=force)
    group.wait()


def _opened(where: str, size: int | None = None) -> "Source":
    from mezzotint.evaluation.sources import open_source

    return open_source(where, size=size)


def _reference(
    where: str | None, name: str | None, made: Mapping[str, Any], size: int | None
) -> "Source":
    """Open the reference, or what the model was trained on where none is given."""
    from mezzotint.evaluation.choices import trained_on

    if where is not None:
        return _opened(where, size)
    training, _, why = trained_on(made)
    if training is None:
        raise ConfigError(f"{name}: no reference given, and {why}; name the real images")
    return training


def _paired(
    report: "Report", pictures: "Pictures", ours: "Source", real: "Source", lpips: Path | None
) -> "tuple[Report, Pictures]":
    from mezzotint.evaluation.lpips import ALEX, load_lpips
    from mezzotint.evaluation.reconstruction import standard, with_pairs

    more = [load_lpips(ALEX, weights=lpips)] if lpips is not None else []
    metrics = [*standard(ours.pictures.size), *more]
    return with_pairs(report, pictures, ours.pictures, real.pictures, metrics)


def _write_statistics(path: Path, evaluator: "Evaluator") -> None:
    from mezzotint.errors import OutputError
    from mezzotint.evaluation.statistics import write_reference

    if path.exists():
        raise OutputError(f"{path}: exists; choose another name for --statistics")
    count = write_reference(path, evaluator)
    shared.say(f"{path}: {count:,} pictures with their statistics")


def _title(ours: "Source", real: "Source") -> str:
    made = ours.made
    if "model" not in made:
        return f"{ours.name} against {real.name}"
    sampling = made.get("sampling", {})
    scale = sampling.get("guidance", {}).get("scale")
    guided = "" if scale is None else f", guidance {scale:g}"
    return f"{made['model']}, {sampling.get('steps')} steps{guided}"


def _command() -> str:
    return shlex.join(["mezzotint", *sys.argv[1:]])


def _tell(report: "Report", out: Path, *, as_json: bool) -> None:
    from mezzotint.evaluation.report import JSON_NAME, PAGE_NAME

    for line in report.warnings:
        shared.say(f"warning: {line}")
    shared.say(str(report.protocol))
    values = {score.name: score.value if as_json else _told(score) for score in report.scores}
    if report.memorisation is not None:
        share = report.memorisation.share
        values["memorised"] = share if as_json else f"{share:.1%} of the samples"
    values |= {"report": str(out / PAGE_NAME), "json": str(out / JSON_NAME)}
    shared.result(values, as_json=as_json)


def _told(score: "Score") -> str:
    """Say a score with its interval and its floor: 3.2 (2.9 to 3.6; real data 1.8 at n = 2,812)."""
    from mezzotint.evaluation.wording import MISSING, count, interval, number

    ends = interval(score.low, score.high)
    floor = f"real data {number(score.floor)} at n = {count(score.floor_count)}"
    more = [*([ends] if ends != MISSING else []), *([floor] if score.floor is not None else [])]
    return number(score.value) + (f" ({'; '.join(more)})" if more else "")


class _Watching:
    """A bar for each set that is read, one after the other; silent on every rank but the first."""

    def __init__(self, *, talks: bool) -> None:
        self._talks, self._bars = talks, ExitStack()

    def __enter__(self) -> "_Watching":
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def __call__(self, what: str) -> "Progress | None":
        if not self._talks:
            return None
        self._bars.close()
        bars: list[shared.Bar] = []

        def told(done: int, total: int) -> None:
            if not bars:  # the size is known when the first block has been read
                bars.append(self._bars.enter_context(shared.progress(what, total)))
            bars[0].at(done)

        return told
