"""Official weights in, official weights out: a published recipe says what a file of tensors is.

    imported(file, recipe)  ->  generator        exported(generator)  ->  tensors by official names

The recipe gives network, path, prediction, tokenizer and sampling; the file gives the tensors, and
by the rows of its class table the number of classes.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from mezzotint import checkpoint, config, kinds
from mezzotint.data.unlabelled import Unlabelled
from mezzotint.digest import digest_of_file
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.official.renames import read_file
from mezzotint.recipe import filled, opened
from mezzotint.tokenizers.base import TokenizerConfig

RELEASES: Final = {
    "dit": "mezzotint.official.dit",
    "dico": "mezzotint.official.dico",
    "uvit": "mezzotint.official.uvit_network",
    "dimr": "mezzotint.official.dimr",
    "adm": "mezzotint.official.adm",
    "lit": "mezzotint.official.lit",
    "token-dit": "mezzotint.official.vitok_dit",
    "mar": "mezzotint.official.mar",
    "maskgit": "mezzotint.official.maskgit",
    "nat": "mezzotint.official.nat",
    "halton": "mezzotint.official.halton",
    "mage": "mezzotint.official.mage",
}
"""Modules with `from_official` and `to_official`, by the kind of the network."""


def release_of(kind: str) -> ModuleType:
    """Return the module that knows the official names of a kind of network.

    Raises:
        ConfigError: nothing was released, or it is not known here.
    """
    if kind not in RELEASES:
        raise ConfigError(f"no official names for {kind!r}; {config.nearest(kind, RELEASES)}")
    return import_module(RELEASES[kind])


def imported(
    path: Path, tree: Mapping[str, Any], *, classes: Sequence[str] | None = None
) -> Generator:
    """Read official weights as the generator of a published recipe.

    Args:
        path: .safetensors, .pt, .pth or .ckpt with the release's tensor names; an average in it is
            preferred.
        tree: the recipe, such as `recipe.find("dico-xl")`; its data are not opened.
        classes: names of the classes, in order; their numbers by default.

    Raises:
        CheckpointError: the file cannot be read, or its tensors are not those of the recipe.
        ConfigError: the recipe is wrong, or `classes` are not as many as the file has.
    """
    model = opened("model", tree["model"])
    network = opened("model.network", model.get("network", {}))
    release = release_of(str(network.get("kind")))
    # What is kept of a file may depend on the recipe.
    wants = release.wants(network) if hasattr(release, "wants") else {}
    tensors = release.from_official(read_file(path), **wants)
    tokenizer = _tokenizer(tree)
    spec = tokenizer.build().spec
    shape: Any = kinds.find("network", str(network["kind"]))
    known = shape.known(spec.shape, spec.vocabulary, 1)
    count = _classes(filled("model.network", network, known), tensors)
    model["network"] = filled("model.network", network, {**known, "num_classes": count})
    whole = {
        "model": config.load("model", model),
        "tokenizer": tokenizer,
        "classes": tuple(classes or map(str, range(count))),
        "sampling": tree.get("sampling", {}),
        "provenance": {"imported": path.name, "file_digest": digest_of_file(path)},
    }
    checkpoint.check_classes(whole["classes"], count)
    made = whole["model"].open(config.dump(whole), tensors, path)
    assert isinstance(made, Generator), "a published recipe's model opens as a generator"
    return made


def exported(made: Generator) -> dict[str, Tensor]:
    """Return a generator's tensors by their official names.

    Raises:
        ConfigError: its network has no release.
    """
    model = config.load("model", made.tree["model"])
    network = getattr(made.denoiser, "network", None)
    if not isinstance(network, nn.Module):
        raise ConfigError("a stitched model has no release; export its models one by one")
    release = release_of(config.dump(model)["network"]["kind"])
    # What a release's tensors have axes for, and ours do not.
    hints = release.hints(model.network) if hasattr(release, "hints") else {}
    found: dict[str, Tensor] = release.to_official(network.state_dict(), **hints)
    return found


def _tokenizer(tree: Mapping[str, Any]) -> TokenizerConfig:
    """Return the tokenizer of a recipe, at the size of its data."""
    data = config.load_at("data", "data", tree["data"])
    while isinstance(data, Unlabelled):
        data = data.inner
    section = filled("tokenizer", tree.get("tokenizer", "pixels"), {"size": data.size})
    found: TokenizerConfig = config.load_at("tokenizer", "tokenizer", section)
    return found


def _classes(network: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Return for how many classes a network's tensors have rows."""
    shape: Any = config.load_at("model.network", "network", network)
    with torch.device("meta"):
        built: Any = shape.build()
    # A table of codes may hold the classes too.
    rows = built.class_rows or getattr(built, "vocabulary", ())
    if not rows or rows[0] not in tensors:
        return 0
    return len(tensors[rows[0]]) - (len(built.get_parameter(rows[0])) - shape.num_classes)


__all__ = ["RELEASES", "exported", "imported", "release_of"]
