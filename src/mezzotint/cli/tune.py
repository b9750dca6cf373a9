"""`mezzotint tune`: the best settings for a time budget, or the fastest for a loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mezzotint.cli import shared
from mezzotint.cli.drawn import Wish
from mezzotint.errors import ConfigError

if TYPE_CHECKING:
    from mezzotint.evaluation.features import Features
    from mezzotint.evaluation.sources import Source
    from mezzotint.generator import Generator
    from mezzotint.tune.log import Log, Look
    from mezzotint.tune.search import Bench, Search
    from mezzotint.tune.space import Space


Model = Annotated[str, typer.Argument(help="A zoo name, a model or run folder, or a file.")]
Small = Annotated[
    list[str] | None, typer.Argument(help="Smaller models to stitch with, the smallest first.")
]
Budget = Annotated[
    str | None, typer.Option(help="Seconds an image, as 0.5s or 80ms: the best in time.")
]
Loss = Annotated[
    str | None,
    typer.Option(help="As 2%: the fastest that is at most so much worse than the own recipe."),
]
Reference = Annotated[
    str | None, typer.Option(help="Real images; what the model was trained on by default.")
]
FeatureSpace = Annotated[str, typer.Option(help="As in evaluate; auto by the data.")]
Trials = Annotated[int, typer.Option(min=1, help="Settings that are looked at.")]
Count = Annotated[int, typer.Option(min=2, help="Samples of a first look.")]
Last = Annotated[int, typer.Option("--final", min=2, help="Samples of a last look.")]
Batch = Annotated[
    int, typer.Option(min=1, help="Images at a time; 1 measures the time of a lone image.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Batches of a look that are timed.")]
Precision = Annotated[
    str | None, typer.Option(help="fp32,bf16; default: fp32, and bf16 where it is native.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Also try compiled networks, which start slowly.")
]
Seed = Annotated[int, typer.Option(help="Of the search and of the samples.")]
Out = Annotated[Path, typer.Option(help="Folder for the results; a search goes on there.")]


def tune(
    model: Model,
    small: Small = None,
    budget: Budget = None,
    max_loss: Loss = None,
    reference: Reference = None,
    features: FeatureSpace = "auto",
    trials: Trials = 48,
    count: Count = 256,
    final: Last = 2_000,
    batch: Batch = 16,
    rounds: Rounds = 3,
    precision: Precision = None,
    compiled: Compile = False,
    seed: Seed = 0,
    out: Out = Path("tuned"),
    device: shared.Device = "auto",
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Search the settings that are worth having on this machine; a stopped search goes on."""
    from mezzotint.evaluation.choices import extractor
    from mezzotint.tune import front, log, propose, search, space, spaces

    goal, counts = front.goal_of(budget, max_loss), _counts(count, final)
    propose.check_installed()
    place = shared.device_of(device)
    precisions = space.known_precisions(_precisions(precision, place))
    models = _models(model, shared.every(small) or [], place)
    real = _reference(reference, models[model])
    Wish(model, out, final, seed, batch).check(models[model], real)
    chosen = extractor(features, real, device=place)
    computing = space.Computing(precisions, compiled=compiled)
    where = spaces.space_of(model, models, list(models)[1:], computing)
    told = {"counts": counts, "batch": batch, "rounds": rounds, "seed": seed}
    kept = log.Log(out / log.NAME, _told(models, where, chosen, real) | told)
    if compiled:
        _compile(models, batch)
    _prepare(kept, out, force=force)
    measuring = _bench(models, chosen, real, batch, rounds, compiled=compiled)
    searching = search.Search(measuring, where, goal, kept, trials, counts, seed, _watch)
    _tell(searching, searching.run(), chosen.distance, real.name, out, as_json=as_json)


def _precisions(asked: str | None, device: str) -> list[str]:
    """Return the precisions that were asked for, or those that are fast here."""
    from mezzotint import bench

    return shared.every([asked] if asked else None) or bench.dtypes_of(None, device)


def _models(model: str, small: list[str], device: str) -> "dict[str, Generator]":
    """Load all models; refuse smaller ones that do not fit, before anything is drawn."""
    from mezzotint import generator
    from mezzotint.drawing import Drawing, Turn

    names = [model, *small]
    if len(set(names)) != len(names):
        raise ConfigError(f"{', '.join(names)}: a model stands there twice")
    found = {name: generator.load(name).to(device) for name in names}
    for each in small:
        Drawing(source=model, stitch=(Turn(source=each, fraction=0.5),)).of(found)
    return found


def _prepare(kept: "Log", out: Path, *, force: bool) -> None:
    """Make the folder, or take up the search that it holds."""
    if force or not kept.path.exists():
        shared.fresh(out, force=force)
    if kept.open().looks:
        shared.say(f"{len(kept.looks)} looks are there already")


def _compile(models: "Mapping[str, Generator]", batch: int) -> None:
    """Compile the networks in place; find out at once whether that works here."""
    for name, made in models.items():
        try:
            labels = [0] * batch
            next(made.compiled().with_sampling(steps=2).stream(labels, range(batch), batch=batch))
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigError(f"--compile: {name} cannot be compiled here ({first})") from None


def _bench(
    models: "Mapping[str, Generator]",
    chosen: "Features",
    real: "Source",
    batch: int,
    rounds: int,
    *,
    compiled: bool,
) -> "Bench":
    """Return what measures; the first of the models is the whole one."""
    from mezzotint.evaluation.choices import Choices, class_shares
    from mezzotint.evaluation.evaluator import Evaluator
    from mezzotint.evaluation.metrics import Frechet
    from mezzotint.tune.search import Bench

    whole = next(iter(models))
    evaluator = Evaluator(chosen, (Frechet(chosen.distance),), real, Choices().cache)
    return Bench(
        models=models,
        yardstick=whole,
        extractor=chosen,
        real=evaluator.real().known["features"],
        shares=class_shares(real, models[whole].classes),
        batch=batch,
        rounds=rounds,
        compiled=compiled,
    )


def _reference(where: str | None, made: "Generator") -> "Source":
    from mezzotint.evaluation.choices import trained_on
    from mezzotint.evaluation.sources import open_source

    if where is not None:
        return open_source(where, size=None)
    training, _, why = trained_on(made.tree)
    if training is None:
        raise ConfigError(f"no --reference given, and {why}; name the real images")
    return training


def _counts(first: int, last: int) -> tuple[int, ...]:
    """Return the samples of a look by stage; the middle one lies between by ratio."""
    if last < first:
        raise ConfigError(f"--final {last}: fewer than --count {first}; the last look is closest")
    return first, round((first * last) ** 0.5), last


def _told(
    models: "Mapping[str, Generator]", where: "Space", chosen: "Features", real: "Source"
) -> dict[str, Any]:
    """Return what all figures of a search depend on."""
    from mezzotint import config

    return {
        "models": {name: made.digest for name, made in models.items()},
        "recipe": config.dump(models[where.source].sampling),
        "axes": {name: config.dump(axis) for name, axis in where.axes().items()},
        **where.choices,
        "features": chosen.digest,
        "reference": real.digest or real.pictures.digest,
    }


def _watch(what: str, done: int, total: int) -> None:
    shared.say(f"{what}: {done}/{total}")


def _tell(
    searching: "Search",
    last: "list[Look]",
    distance: str,
    real: str,
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Write what was found, and print it."""
    from mezzotint import bench
    from mezzotint.tune.front import front
    from mezzotint.tune.report import Found

    found = Found(
        looks=last,
        own=searching.own(last),
        log=searching.log,
        goal=searching.goal,
        distance=distance,
        real=real,
        shown=searching.space.shown,
        machine=bench.machine(),
        command=shared.command(),
    )
    files = found.write(out)

    def said(look: "Look | None") -> Any:
        if as_json:
            return found.row(look)
        return "none" if look is None else f"{found.said(look)} ({look.drawing.name})"

    values = {"goal": str(found.goal), "own recipe": said(found.own)}
    values |= {"chosen": said(found.chosen), "best plain": said(found.plain)}
    shared.result(values | files, as_json=as_json)
    if found.chosen is None:
        raise ConfigError(
            f"no setting reaches {found.goal}; the fastest take "
            f"{min(found.log.timed(each) for each in front(found.looks)):.3g} s an image: "
            f"{out} holds the front, give a larger budget"
        )
    shared.say(f"draw with it: mezzotint sample -c {files['recipe']}")
