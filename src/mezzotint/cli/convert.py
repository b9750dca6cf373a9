"""`mezzotint convert`: a model in another form, with its card, and samples or measurements."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mezzotint.cli import shared

LIT: Final = "lit"
"""The form that changes the network; what it makes wants training."""

Write = Callable[[Any, Path, bool], Path]
"""From a model, a place, and whether what is there may be moved aside, to the file of tensors."""


def convert(
    models: Annotated[
        list[str],
        typer.Argument(help="A zoo name, folder or file; several classifiers make a committee."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model; for official tensors, a file.")],
    to: Annotated[
        str,
        typer.Option(
            help="fp32; bf16: half the size; official, diffusers: by their names; lit: DiT as LiT."
        ),
    ] = "bf16",
    release: Annotated[
        str | None,
        typer.Option(
            "--from", help="The file holds official weights: of a recipe, or kl, vq, vitok2."
        ),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="With --from: a text file with a class name a line.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-o", help="With --from: such as tokenizer.source=FOLDER.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(min=1, help="With --to lit: attention heads; few, a divisor.")
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="With --to lit: inherit attention too.")
    ] = False,
    force: shared.Force = False,
    as_json: shared.Json = False,
) -> None:
    """Write a model that can be shared: weights, config, card, and samples or measurements."""
    from mezzotint import checkpoint, classifier, config
    from mezzotint.errors import ConfigError

    if to not in FORMS:
        raise ConfigError(f"--to {to}: {config.nearest(to, FORMS)}")
    if release is not None:
        made = _imported(models, release, classes, settings or [])
    elif classes is not None or settings:
        raise ConfigError("--classes and -o say what official weights are; they need --from RECIPE")
    elif len(models) == 1:
        made = checkpoint.open_model(models[0])
    else:
        made = classifier.committee([classifier.load(each) for each in models])
    if to == LIT:
        made = _lit(made, models, heads=heads, attention=attention)
    elif heads is not None:
        raise ConfigError(f"--heads {heads}: says how many a LiT shall have; it needs --to lit")
    elif attention:
        raise ConfigError("--attention: says what a LiT inherits; it needs --to lit")
    written = FORMS[to](made, out, force)
    shared.result({"model": str(out), "bytes": written.stat().st_size}, as_json=as_json)


def _imported(models: list[str], release: str, classes: Path | None, settings: list[str]) -> Any:
    from mezzotint import config, recipe, releases
    from mezzotint.errors import ConfigError, DataError
    from mezzotint.official import tokenizers

    if len(models) != 1:
        raise ConfigError(f"--from reads one file of official weights, got {len(models)}")
    names = None
    if classes is not None:
        try:
            names = classes.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{classes}: cannot be read ({error})") from None
    if release in tokenizers.READERS:  # they have no recipe
        return tokenizers.read(release, models[0], config.override({}, settings))
    tree = config.override(recipe.find(release), settings)
    return releases.imported(Path(models[0]), tree, classes=names)


def _published(dtype: str) -> Write:
    def write(made: Any, out: Path, force: bool) -> Path:
        from mezzotint import averaged, checkpoint

        shared.fresh(out, force=force)
        averaged.publish(made, out, averaged.DTYPES[dtype])
        return out / checkpoint.WEIGHTS

    return write


def _lit(made: Any, models: list[str], *, heads: int | None, attention: bool) -> Any:
    """Make the LiT of a DiT's generator; say what is inherited, fresh and dropped."""
    from dataclasses import replace

    from mezzotint import config
    from mezzotint.convert import lit_from_dit
    from mezzotint.diffusion.denoiser import NetworkDenoiser
    from mezzotint.errors import ConfigError
    from mezzotint.generator import Generator

    source = ", ".join(models)
    denoiser = made.denoiser if isinstance(made, Generator) else None
    if not isinstance(denoiser, NetworkDenoiser) or not isinstance(made, Generator):
        raise ConfigError(f"{source}: --to lit: a LiT is made of a generator that is a DiT")
    try:
        network, record = lit_from_dit(denoiser.network, heads=heads, attention=attention)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(f"{source}: --to lit: {error}") from None
    for line in record.words():
        shared.say(line)
    tree = config.dump(made.tree)
    tree["model"]["network"] = config.dump(network.config)
    told = {"source": source, "digest": made.digest, "inherited": record.words()}
    tree["provenance"] = {"converted": told, "before": tree.get("provenance", {})}
    student = NetworkDenoiser(network, denoiser.path, denoiser.prediction)
    return replace(made, denoiser=student, tree=tree)


def _exported(made: Any, out: Path, force: bool) -> Path:
    """Write a model as it is; there is nothing to see yet of one that must still be trained."""
    from mezzotint import averaged, checkpoint

    shared.fresh(out, force=force)
    averaged.export(made, out)
    return out / checkpoint.WEIGHTS


def _diffusers(made: Any, out: Path, force: bool) -> Path:
    from mezzotint import checkpoint
    from mezzotint.errors import ConfigError
    from mezzotint.official import tokenizers
    from mezzotint.stored import NetworkTokenizer

    if not isinstance(made, NetworkTokenizer):
        raise ConfigError("--to diffusers: only KL autoencoders have diffusers' names")
    tensors = tokenizers.exported(made, diffusers=True)
    _one_file(out, force=force)
    checkpoint.write_tensors(out, tensors, {})
    return out


def _one_file(out: Path, *, force: bool) -> None:
    """Refuse a place that is none for a file of tensors."""
    from mezzotint.errors import ConfigError

    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: official tensors are one file; expected NAME.safetensors")
    shared.fresh_file(out, force=force)


def _official(made: Any, out: Path, force: bool) -> Path:
    from mezzotint import checkpoint, releases
    from mezzotint.errors import ConfigError
    from mezzotint.generator import Generator
    from mezzotint.official import tokenizers
    from mezzotint.stored import NetworkTokenizer

    if isinstance(made, NetworkTokenizer):
        tensors = tokenizers.exported(made)
    elif isinstance(made, Generator):
        tensors = releases.exported(made)
    else:
        raise ConfigError("--to official: only generators and tokenizers have official names")
    _one_file(out, force=force)
    checkpoint.write_tensors(out, tensors, {})
    return out


FORMS: Final[Mapping[str, Write]] = {
    "fp32": _published("fp32"),
    "bf16": _published("bf16"),
    "official": _official,
    "diffusers": _diffusers,
    LIT: _exported,
}
