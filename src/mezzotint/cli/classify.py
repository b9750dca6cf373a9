"""`mezzotint classify`: the generator as a classifier."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared
from mezzotint.errors import ConfigError

if TYPE_CHECKING:
    from mezzotint.classified import Classified
    from mezzotint.classify import DiffusionClassifier
    from mezzotint.classify.evidence import Evidence
    from mezzotint.evaluation.sources import Source
    from mezzotint.generator import Generator


Model = Annotated[str, typer.Argument(help="A zoo name, a model or run folder, or a file.")]
Images = Annotated[
    str, typer.Argument(help="A folder, zip or .npz; emoji, digits, prints, or one:held-out.")
]
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", help="Classes that may be named; repeat or use commas."),
]
Count = Annotated[int | None, typer.Option(min=1, help="The first images only.")]
Evaluations = Annotated[int, typer.Option(min=1, help="Of a class of an image, at most.")]
ScheduleName = Annotated[
    str, typer.Option(help="race, exhaustive, or stages such as nested:25,250/5,1.")
]
Error = Annotated[
    float, typer.Option(help="Of the race: chance of another winner than without it.")
]
MeasureName = Annotated[
    str, typer.Option(help="l2, l1, huber, vb or l2+vb; as trained by default.")
]
Seed = Annotated[int, typer.Option(help="Of the noise.")]
Seconds = Annotated[
    float | None, typer.Option(help="For an image, on average; the best so far then wins.")
]
Score = Annotated[
    bool, typer.Option("--score", help="Compare with the images' labels, and doubt those.")
]
Calibrate = Annotated[str | None, typer.Option(help="Labelled images to fit the temperature on.")]
Reference = Annotated[
    str | None, typer.Option(help="Ordinary images, to tell how strange others are.")
]
PairTable = Annotated[
    Path | None, typer.Option(help="CSV of image_0,image_1,caption_0,caption_1 to match.")
]
Size = Annotated[int | None, typer.Option(min=1, help="Crop images to this size.")]
Batch = Annotated[int, typer.Option(min=1, help="Rows that the network gets at a time.")]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]


def classify(
    model: Model,
    images: Images,
    classes: Classes = None,
    count: Count = None,
    evaluations: Evaluations = 250,
    schedule: ScheduleName = "race",
    error: Error = 0.05,
    measure: MeasureName = "trained",
    seed: Seed = 0,
    seconds: Seconds = None,
    score: Score = False,
    calibrate: Calibrate = None,
    reference: Reference = None,
    pairs: PairTable = None,
    size: Size = None,
    batch: Batch = 256,
    out: Out = Path("classified"),
    device: shared.Device = "auto",
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Name the class of images, with probabilities, by how well the model predicts their noise."""
    from mezzotint import generator
    from mezzotint.classified_page import page
    from mezzotint.evaluation.sources import open_source

    made = generator.load(model).to(shared.device_of(device))
    settings = _settings(made, evaluations, schedule, error, measure)
    settings["draws"] = _draws(seed)
    classifier = made.as_classifier(shared.every(classes), batch=batch, seconds=seconds, **settings)
    source = open_source(images, size=size, whole=True)
    if pairs is not None:
        shared.fresh(out, force=force)
        _pairs(made, classifier, source, pairs, out, as_json=as_json)
        return
    told = {name: config_line(value) for name, value in settings.items()} | {
        "model": model,
        "weights": made.digest,
        "images": images,
        "command": shlex.join(["mezzotint", *sys.argv[1:]]),
    }
    job = Job(classifier, source, count, score=score)
    fitted_on = None if calibrate is None else open_source(calibrate, size=size, whole=True)
    usual = None if reference is None else open_source(reference, size=size, whole=True)
    job.check(fitted_on)
    shared.fresh(out, force=force)
    found = job.run(f"{source.name} by {model}", told, fitted_on, usual)
    files: dict[str, Any] = dict(found.write(out, page(found)))
    shared.result(files | _told(found), as_json=as_json)


class Job:
    """A set of images and who classifies them.

    Args:
        classifier: fitted.
        source: the images.
        count: the first ones only, or all.
        score: compare with their labels.
    """

    def __init__(
        self, classifier: "DiffusionClassifier", source: "Source", count: int | None, *, score: bool
    ) -> None:
        from mezzotint.classified import known_labels

        self.classifier, self.source, self.count = classifier, source, count
        self.names = tuple(str(name) for name in classifier.classes_)
        there = len(source.pictures)
        self.total = min(count or there, there)
        self.labels = tuple(known_labels(source, self.names, self.total)) if score else ()

    def check(self, fitted_on: "Source | None") -> None:
        """Refuse labels that the model does not know, before anything runs."""
        from mezzotint.classified import known_labels

        if fitted_on is not None:
            known_labels(fitted_on, self.names, len(fitted_on.pictures))

    def run(
        self,
        title: str,
        told: dict[str, Any],
        fitted_on: "Source | None",
        usual: "Source | None",
    ) -> "Classified":
        """Fit the temperature, look at the reference, and classify."""
        from mezzotint.classified import classified, known_labels

        if fitted_on is not None:
            y = known_labels(fitted_on, self.names, len(fitted_on.pictures))
            self.classifier.calibrate(self._seen(fitted_on, "calibrating"), y)
        ordinary = None if usual is None else self._seen(usual, "reference")
        with shared.progress("classifying", self.total) as bar:
            return classified(
                self.classifier,
                self.source,
                title,
                told,
                count=self.count,
                labels=self.labels,
                reference=ordinary,
                told=lambda done, _all: bar.at(done),
            )

    def _seen(self, source: "Source", what: str) -> "Evidence":
        from mezzotint.classified import look

        with shared.progress(what, len(source.pictures)) as bar:
            return look(self.classifier, source, told=lambda done, _all: bar.at(done))


def _told(found: "Classified") -> dict[str, Any]:
    tree, calibration = found.tree(), found.calibration
    names = ("images", "evaluations_per_image", "seconds_per_image", "temperature")
    values = {name: tree[name] for name in names}
    if calibration is None:
        return values
    scores = {"accuracy": calibration.accuracy, "nll": calibration.nll}
    return scores | {"calibration_error": calibration.error} | values


def config_line(value: Any) -> str:
    """Say a setting in a line."""
    return " ".join(str(value).split())


def _draws(seed: int) -> Any:
    from mezzotint.classify.contest import Paired

    return Paired(seed)


def _settings(
    made: "Generator", evaluations: int, schedule: str, error: float, measure: str
) -> dict[str, Any]:
    """Return schedule and measure, as trained unless an option says otherwise."""
    from mezzotint.classify.defaults import as_trained, times_of
    from mezzotint.classify.measures import Absolute, Bound, Huber, Squared, Total
    from mezzotint.classify.schedules import Exhaustive, Nested, Official, Race
    from mezzotint.config import nearest

    trained = as_trained(made.denoiser.path, made.tree, evaluations)
    view = trained["measure"].view
    measures = {
        "trained": trained["measure"],
        "l2": Squared(view),
        "l1": Absolute(view),
        "huber": Huber(view),
        "vb": Bound(),
        "l2+vb": Total((Squared(view), Bound())),
    }
    if measure not in measures:
        raise ConfigError(f"--measure {measure}: {nearest(measure, measures)}")
    times = times_of(made.tree, evaluations)
    kind, colon, rest = schedule.partition(":")
    stages = {"nested": Nested, "official": Official}
    if colon and kind in stages:
        return {"schedule": _stages(stages[kind], rest), "measure": measures[measure]}
    whole: dict[str, Any] = {
        "race": lambda: Race(times, error),
        "exhaustive": lambda: Exhaustive(times),
    }
    if colon or kind not in whole:
        known = [*whole, *(f"{name}:SAMPLES/KEEP" for name in stages)]
        raise ConfigError(f"--schedule {schedule}: {nearest(schedule, known)}")
    return {"schedule": whole[kind](), "measure": measures[measure]}


def _stages(kind: Any, text: str) -> Any:
    """Read stages such as 25,250/5,1."""
    try:
        samples, keep = ([int(n) for n in half.split(",")] for half in text.split("/"))
    except ValueError:
        raise ConfigError(
            f"--schedule: stages {text!r}; expected numbers of samples, a slash, and how many to "
            "keep, such as nested:25,250/5,1"
        ) from None
    return kind(tuple(samples), tuple(keep))


def _pairs(
    made: "Generator",
    classifier: "DiffusionClassifier",
    source: "Source",
    table: Path,
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Match two images and two captions a row of a table."""
    from mezzotint import config
    from mezzotint.classified import read_pairs
    from mezzotint.classify.inputs import device_of, latents
    from mezzotint.classify.pairs import Pairs

    rows, captions = read_pairs(table, source, lambda name: int(made.labels(name)[0]))
    x = latents(source.pictures.read(rows.flatten()), made.tokenizer, device_of(made.denoiser))
    match = Pairs(
        made.denoiser,
        times=classifier.schedule.times,  # type: ignore[attr-defined]
        measure=classifier.measure,
        draws=classifier.draws,
        batch=classifier.batch,
    )
    found = match(x.unflatten(0, (-1, 2)), captions)
    shares = {name: share for name, (share, _) in found.summary().items()}
    right = {"text": found.text, "image": found.image, "group": found.group}
    tree = {"summary": found.summary(), "scores": found.scores.tolist()}
    config.write_json(out / "pairs.json", tree | {n: v.tolist() for n, v in right.items()})
    shared.result(shares | {"pairs": str(out / "pairs.json")}, as_json=as_json)
