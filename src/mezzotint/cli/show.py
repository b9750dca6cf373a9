"""`mezzotint show`: what a model, a run, a recipe or a kind is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mezzotint.cli import shared


def show(
    what: Annotated[
        str | None,
        typer.Argument(help="A model, run folder, recipe or kind; nothing lists what there is."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Explain anything: config tree, parameters, multiply-adds, where it comes from."""
    found = _catalogue() if what is None else _explain(what)
    if as_json:
        shared.result(found, as_json=True)
        return
    import yaml

    typer.echo(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100).rstrip())


def _catalogue() -> dict[str, Any]:
    from mezzotint import checkpoint, kinds, recipe

    return {
        "models": sorted(checkpoint.zoo()),
        "recipes": sorted(recipe.shipped()),
        "kinds": {role: kinds.names(role) for role in kinds.KINDS},
    }


def _explain(what: str) -> dict[str, Any]:
    from mezzotint import checkpoint, config, recipe
    from mezzotint.errors import ConfigError

    if (cache := _cache(what)) is not None:
        return cache
    if what in checkpoint.zoo() or (Path(what).exists() and not what.endswith((".yaml", ".yml"))):
        return _model(what)
    if what in recipe.shipped() or Path(what).exists():
        return {"recipe": _recipe(what)}
    kind = _kind(what)
    if kind:
        return kind
    known = [*checkpoint.zoo(), *recipe.shipped(), *_all_kinds()]
    raise ConfigError(
        f"{what}: no model, run, recipe or kind of this name; {config.nearest(what, known)}"
    )


def _cache(what: str) -> dict[str, Any] | None:
    """Return what a latent cache says of itself; its files are counted, not listed."""
    from mezzotint import config
    from mezzotint.data.cache import is_cache, read_manifest

    if not is_cache(Path(what)):
        return None
    manifest = read_manifest(Path(what))
    tree = config.dump(manifest)
    tree["shards"] = len(manifest.shards)
    size = sum(shard.bytes for shard in manifest.shards)
    return {"cache": what, "images": sum(manifest.counts), "bytes": size, "manifest": tree}


def _recipe(what: str) -> Any:
    """Return a recipe complete, or as it is written where pictures or tokenizer are not here."""
    from mezzotint import config, recipe
    from mezzotint.errors import CheckpointError, DataError

    tree = recipe.find(what)
    try:
        return config.dump(recipe.resolve(tree))
    except (CheckpointError, DataError) as error:
        shared.say(f"as it is written, for its data or tokenizer cannot be opened: {error}")
        return tree


def _model(what: str) -> dict[str, Any]:
    from mezzotint import checkpoint, config

    loaded = checkpoint.open_model(what)
    return {"model": what, **loaded.cost(), "config": config.dump(loaded.tree)}


def _all_kinds() -> list[str]:
    from mezzotint import kinds

    return [name for role in kinds.KINDS for name in kinds.names(role)]


def _kind(what: str) -> dict[str, Any]:
    """Return every kind of this name, with its fields and what it is for."""
    import inspect

    from mezzotint import config, kinds

    found = {}
    for role in kinds.KINDS:
        if what in kinds.names(role):
            cls = kinds.find(role, what)
            about = (inspect.getdoc(cls) or "").splitlines()
            presets = sorted(getattr(cls, "PRESETS", {}))
            fields = {"about": about[0] if about else "", "fields": config.field_names(cls)}
            found[f"{role}: {what}"] = fields | ({"presets": presets} if presets else {})
    return found
