"""Classifiers off the shelf: `timm:NAME` is timm's network with its published weights and classes.

Nothing is downloaded unless such a name is asked for; timm then fetches the weights into its cache.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mezzotint import classifier
from mezzotint.classifier import Classifier, ClassifierConfig
from mezzotint.config import nearest
from mezzotint.errors import CheckpointError
from mezzotint.networks.timm_classifier import TimmConfig, timm_itself
from mezzotint.tokenizers.base import Pixels

PREFIX: Final = "timm:"
_IMAGENET: Final = 1000


def open_classifier(source: Path | str) -> Classifier:
    """Open a classifier of clean images.

    Args:
        source: a zoo name, a folder, a file, or timm:NAME such as timm:resnet50.a1_in1k.

    Raises:
        CheckpointError: nothing is there, or its weights cannot be had.
        MissingExtraError: timm is wanted and not installed.
    """
    name = str(source)
    if not name.startswith(PREFIX):
        return classifier.load(source)
    return _pretrained(name.removeprefix(PREFIX))


def _pretrained(name: str) -> Classifier:
    timm = timm_itself()
    if not timm.is_model(name):
        raise CheckpointError(
            f"{PREFIX}{name}: timm has no such network; {nearest(name, timm.list_models())}"
        )
    try:
        found = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{PREFIX}{name}: its weights cannot be had ({reason}); connect to the network once, "
            "or take a classifier of your own"
        ) from None
    head = found.get_classifier()
    if not isinstance(head, nn.Linear):
        raise CheckpointError(
            f"{PREFIX}{name}: its head is a {type(head).__name__}; expected one linear layer"
        )
    return _classifier(name, found, head)


def _classifier(name: str, found: Any, head: nn.Linear) -> Classifier:
    """Return timm's network as a classifier of ours."""
    given = found.pretrained_cfg
    size: tuple[int, int] = tuple(given["input_size"][1:])
    config = TimmConfig(
        channels=given["input_size"][0],
        size=size,
        num_classes=head.out_features,
        name=name,
        mean=given["mean"],
        deviation=given["std"],
    )
    network = config.build()
    with torch.no_grad():
        network.head.weight.copy_(head.weight)  # type: ignore[operator]
        network.head.bias.copy_(head.bias)  # type: ignore[operator]
    found.reset_classifier(0)
    network.body.load_state_dict(found.state_dict())
    classes = _names(head.out_features)
    model, tokenizer = ClassifierConfig(network=config), Pixels(size=size[0])
    tree = {"model": model, "tokenizer": tokenizer, "classes": classes, "provenance": {"of": name}}
    return Classifier(network, model, tokenizer, classes, tree)


def _names(count: int) -> tuple[str, ...]:
    """Return ImageNet's names where there are as many classes, or numbers."""
    if count != _IMAGENET:
        return tuple(str(k) for k in range(count))
    info = timm_itself().data.ImageNetInfo()
    short = [info.index_to_description(k).split(",")[0] for k in range(count)]
    # Two cranes and two maillots: a name stands for one class.
    return tuple(f"{name} {k}" if short.index(name) < k else name for k, name in enumerate(short))


__all__ = ["PREFIX", "open_classifier"]
