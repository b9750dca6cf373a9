"""`mezzotint evaluate`: how good samples are, under one protocol."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared, telling
from mezzotint.cli.drawn import Wish
from mezzotint.cli.probe import probe as probed
from mezzotint.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from mezzotint.evaluation.choices import Choices
    from mezzotint.evaluation.evaluator import Evaluator
    from mezzotint.evaluation.paired import PairedMetric
    from mezzotint.evaluation.pictures import Pictures
    from mezzotint.evaluation.report import Report
    from mezzotint.evaluation.sources import Source
    from mezzotint.generator import Generator
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
Size = Annotated[
    int | None, typer.Option(min=1, help="Size of real images: folders are cropped to it.")
]
Pairs = Annotated[
    bool, typer.Option("--pairs", help="Samples are reconstructions, in the reference's order.")
]
Reconstruct = Annotated[
    str | None, typer.Option(help="A tokenizer: measure the images as they come back from it.")
]
ProbeOf = Annotated[
    str | None, typer.Option("--probe", help="Fit a linear classifier to this model's features.")
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
    recipe: shared.Recipe = None,
    settings: Settings = None,
    stitch: shared.Stitch = None,
    stitch_rule: shared.StitchRule = None,
    balanced: Balanced = False,
    batch: Batch = 64,
    features: FeatureSpace = "auto",
    weights: Weights = None,
    judge: JudgeName = "auto",
    training: Training = None,
    held_out: HeldOut = None,
    size: Size = None,
    pairs: Pairs = False,
    reconstruct: Reconstruct = None,
    lpips: Lpips = None,
    probe: ProbeOf = None,
    kernel: Kernel = None,
    allow_lossy: AllowLossy = False,
    statistics: Statistics = None,
    out: Out = Path("evaluation"),
    device: shared.Device = "auto",
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Measure samples against real images, or draw them from a model and measure them."""
    from mezzotint.evaluation.choices import Choices
    from mezzotint.training.distributed import ranks

    if probed(probe, (samples, reference), size, out, device, force=force, as_json=as_json):
        return
    drawing, model = shared.drawing_if(model, recipe, stitch, stitch_rule)
    samples, reference = _places(samples, reference, model, reconstruct)
    _apart(out, statistics, samples, reference, training, held_out)
    of_draws = {"--steps": steps, "--guidance": guidance, "-o": settings, "--stitch": stitch}
    _belong("--model", model, of_draws | {"--balanced": balanced or None, "--seed": seed or None})
    back, chosen = reconstruct is not None, shared.device_of(device)
    _belong("--pairs", pairs or back or None, {"--lpips": lpips})
    choices = Choices(features, weights, None if judge == NO else judge, kernel, chosen)
    with ranks(chosen) as group, shared.Watching(talks=group.first) as watch:
        if drawing is not None:
            wish = Wish(drawing.name, out / "samples", count or COUNT, seed, batch)
            made = shared.generator_of(drawing, chosen, settings, steps, guidance)
            real = _reference(reference, drawing.source, made.tree, size)
            ours = _drawn(wish, made, real, choices, group, balanced=balanced, force=force)
        else:
            real, ours = _given(str(samples), reference, reconstruct, size, choices)
            _prepare(out, group, force=force, go_on=False)
        paired = _metrics(ours, real, count, lpips, wanted=pairs or back, lossy=allow_lossy)
        known, unseen = (_opened(x, size) if x else None for x in (training, held_out))
        evaluator = choices.evaluator(ours, real, count, known, unseen, group, watch)
        evaluator = evaluator.apart() if back else evaluator
        result = evaluator.report(ours, count, telling.title(ours, real), shared.command())
        _write(result, out, evaluator, ours, paired, statistics, verdict=back, as_json=as_json)


def _places(
    samples: str | None, reference: str | None, model: str | None, reconstruct: str | None
) -> tuple[str | None, str | None]:
    """Return samples and reference; with a model, the only place that is given is the reference."""
    if reconstruct is not None:
        if samples is None or reference is not None or model is not None:
            raise ConfigError("--reconstruct TOKENIZER wants one folder of images and no --model")
        return samples, None
    if model is None and samples is not None:
        return samples, reference
    if model is not None and reference is None:
        return None, samples
    raise ConfigError("give either SAMPLES [REFERENCE], or --model NAME [REFERENCE]")


def _apart(out: Path, statistics: Path | None, *inputs: str | None) -> None:
    """Refuse to write where something is: --force would move the images away."""
    if statistics is not None and statistics.exists():
        raise OutputError(f"{statistics}: exists; choose another name for --statistics")
    for each in inputs:
        if each and Path(each).exists() and Path(each).resolve().is_relative_to(out.resolve()):
            raise ConfigError(f"--out {out}: holds {each}, which is to be read; choose another")


def _belong(owner: str, there: object, options: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing without their owner; None is not given."""
    given = [name for name, value in options.items() if value is not None]
    if given and there is None:
        raise ConfigError(f"{given[0]}: only with {owner}; leave it out")


def _prepare(out: Path, group: "Ranks", *, force: bool, go_on: bool) -> None:
    """Make the folder; samples that a killed run has drawn stay where they are."""
    if group.first and (force or not (go_on and (out / "samples").is_dir())):
        shared.fresh(out, force=force)
    group.wait()


def _opened(where: str, size: int | None = None, *, whole: bool = False) -> "Source":
    from mezzotint.evaluation.sources import open_source

    return open_source(where, size=size, whole=whole)


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


def _drawn(
    wish: Wish,
    made: "Generator",
    real: "Source",
    choices: "Choices",
    group: "Ranks",
    *,
    balanced: bool,
    force: bool,
) -> "Source":
    """Return samples of a model, having looked whether all is at hand that measures them."""
    wish.check(made, real)
    choices.check(real)
    _prepare(wish.folder.parent, group, force=force, go_on=True)
    return _opened(str(wish.drawn(made, group, None if balanced else real)))


def _given(
    samples: str, reference: str | None, tokenizer: str | None, size: int | None, choices: "Choices"
) -> tuple["Source", "Source"]:
    """Return real images and samples; with a tokenizer, the samples are what comes back from it."""
    if tokenizer is None:
        ours = _opened(samples, whole=True)
        return _reference(reference, ours.name, ours.made, size), ours
    from mezzotint import stored
    from mezzotint.evaluation.reconstruction import restored
    from mezzotint.evaluation.sources import Source

    real = _opened(samples, size, whole=True)
    found = stored.load(tokenizer)
    choices.check(real)
    made = restored(real.pictures, found, choices.device)
    name = f"{real.name} from {Path(tokenizer).name}"
    return real, Source(name, made, "not stored", grey=real.grey)


def _metrics(
    ours: "Source",
    real: "Source",
    count: int | None,
    lpips: Path | None,
    *,
    wanted: bool,
    lossy: bool,
) -> "Sequence[PairedMetric]":
    """Return the paired metrics, if any, having checked that the sets may be compared."""
    from mezzotint.evaluation.lpips import ALEX, load_lpips
    from mezzotint.evaluation.reconstruction import check_pairs, standard
    from mezzotint.evaluation.sources import check_pair

    check_pair(ours, real, allow_lossy=lossy)
    if not wanted:
        return ()
    if count is not None:
        raise ConfigError("--count: not with --pairs, which takes every pair; leave it out")
    check_pairs(ours.pictures, real.pictures)
    more = [load_lpips(ALEX, weights=lpips)] if lpips is not None else []
    return [*standard(ours.pictures.size), *more]


def _write(
    result: "tuple[Report, Pictures] | None",
    out: Path,
    evaluator: "Evaluator",
    ours: "Source",
    paired: "Sequence[PairedMetric]",
    statistics: Path | None,
    *,
    verdict: bool,
    as_json: bool,
) -> None:
    """Write the report, then the reference's statistics if they are wanted, and tell.

    Processes other than the first have no result and write nothing.
    """
    from dataclasses import replace

    from mezzotint.evaluation.extract import Alone
    from mezzotint.evaluation.reconstruction import judged, with_pairs
    from mezzotint.evaluation.statistics import write_reference

    if result is None:
        return
    if paired:
        result = with_pairs(*result, ours.pictures, evaluator.reference.pictures, paired)
    report, pictures = result
    report = judged(report) if verdict else report
    report.write(out, pictures)
    if statistics is not None:  # the other processes have left
        kept = write_reference(statistics, replace(evaluator, group=Alone()))
        shared.say(f"{statistics}: {kept:,} pictures with their statistics")
    telling.tell(report, out, as_json=as_json)
