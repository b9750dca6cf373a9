"""The facade of classifiers: images in, logits and features out; what judges samples.

    features = mean over the views of network.features(view)        logits = head(features)

The views are the image and, where the model says so, its mirror image. Images are read in blocks of
a fixed size, the last one filled up, so that a row's numbers do not depend on its neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Annotated, Any, Final, Self

import torch
from jaxtyping import Float, Int, UInt8
from pydantic import InstanceOf
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from mezzotint import checkpoint, config
from mezzotint.card import cost
from mezzotint.config import Config, part
from mezzotint.data.images import Images, held_out_of
from mezzotint.errors import ConfigError, DataError
from mezzotint.networks.classifier import (
    ClassifierNetwork,
    ClassifierNetworkConfig,
    CommitteeConfig,
)
from mezzotint.noise import SeededNoise
from mezzotint.recogniser import Recogniser
from mezzotint.tokenizers.base import TokenizerConfig

BLOCK: Final = 32
"""Images that are read at a time."""


class ClassifierConfig(Config):
    """A network that names the class of an image.

    Attributes:
        network: the network.
        mirrored: whether features are the mean over the image and its mirror image.
    """

    network: Annotated[InstanceOf[ClassifierNetworkConfig], part("network")]
    mirrored: bool = False

    def build(self) -> ClassifierNetwork:
        """Make the network, freshly initialised."""
        return self.network.build()

    def open(
        self, tree: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object
    ) -> "Classifier":
        """Return the classifier that a stored tree describes, filled with tensors."""
        stored = config.build(_Stored, {k: tree[k] for k in _Stored.model_fields if k in tree})
        network = stored.model.build()
        checkpoint.load_strictly(network, tensors, source)
        return Classifier(network, stored.model, stored.tokenizer.build(), stored.classes, tree)


class _Stored(Config):
    model: Annotated[InstanceOf[ClassifierConfig], part("model")]
    tokenizer: Annotated[InstanceOf[TokenizerConfig], part("tokenizer")]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Classifier(Recogniser):
    """Names the class of images, and gives the features by which sets of them are compared."""

    network: ClassifierNetwork
    model: ClassifierConfig

    @property
    def size(self) -> int:
        """Height and width of the images that it reads, in pixels."""
        return self.tokenizer.spec.image[0]

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        """Return the logits of images, float32 on the CPU.

        Args:
            images: of the classifier's size, values in [0, 255].

        Raises:
            DataError: images of another size.
        """
        return self.read(images)[1]

    def features(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Return the penultimate features of images, float32 on the CPU; else as `__call__`."""
        return self.read(images)[0]

    @torch.no_grad()
    def read(
        self, images: UInt8[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return features and logits in one go; else as `__call__`."""
        if len(images) == 0:
            raise DataError("no images were given; expected at least one")
        height, width = images.shape[2:]
        if (height, width) != self.tokenizer.spec.image:
            raise DataError(
                f"images of {width} x {height} px, but this classifier reads "
                f"{self.size} x {self.size} px; resize them, or take another classifier"
            )
        blocks = [self._block(block) for block in images.split(BLOCK)]
        features, logits = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        return features, logits

    def _block(self, images: UInt8[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor]:
        device = next(self.network.parameters()).device
        whole = pad(images, (0, 0, 0, 0, 0, 0, 0, BLOCK - len(images)))
        codes = self.tokenizer.encode(whole.to(device))
        x = self.tokenizer.latents(codes, SeededNoise(range(BLOCK)))
        views = [x, x.flip(3)] if self.model.mirrored else [x]
        features = torch.stack([self.network.features(view) for view in views]).mean(0)
        rows = slice(len(images))
        return features[rows].cpu(), self.network.head(features)[rows].cpu()

    def cost(self) -> dict[str, int]:
        """Return parameters, and multiply-adds of one network evaluation of one image."""
        weight = next(self.network.parameters())
        return cost(self.network, weight.new_zeros(1, *self.tokenizer.spec.shape))

    def measured(self) -> Self:
        """Return itself with what it does on the held-out images of its data in its tree.

        Raises:
            ConfigError: the tree does not tell on which data it was trained.
        """
        images = held_out_of(self.tree)
        table = Confusion.of(self, images, torch.arange(len(images)))
        return replace(self, tree={**self.tree, "held_out": table.tree() | self.cost()})


@dataclass(frozen=True)
class Confusion:
    """What a classifier took images of each class for.

    Attributes:
        table: number of images of a class (row) that were taken for a class (column).
        loss: mean cross-entropy, nan where only classes are known.
    """

    table: Int[Tensor, "k k"]
    loss: float = nan

    @classmethod
    def counted(
        cls, shown: Int[Tensor, "n"], taken: Int[Tensor, "n"], count: int, loss: float = nan
    ) -> "Confusion":
        """Count pairs of the class that an image shows and the one that it was taken for."""
        pairs = torch.bincount(shown * count + taken, minlength=count**2)
        return cls(pairs.view(count, count), loss)

    @classmethod
    def of(cls, classifier: Classifier, images: Images, rows: Int[Tensor, "n"]) -> "Confusion":
        """Let a classifier name the class of these rows of a labelled set."""
        taken, loss = [], 0.0
        for part_rows in rows.split(8 * BLOCK):
            logits, y = classifier(images.read(part_rows)), images.labels[part_rows]
            loss += float(cross_entropy(logits, y, reduction="sum")) / len(rows)
            taken.append(logits.argmax(1))
        return cls.counted(images.labels[rows], torch.cat(taken), len(classifier.classes), loss)

    @property
    def accuracy(self) -> float:
        """Share of the images that are named right."""
        return int(self.table.diagonal().sum()) / int(self.table.sum())

    @property
    def by_class(self) -> list[float | None]:
        """The same in each class; None where there is no image."""
        right, all_ = self.table.diagonal().tolist(), self.table.sum(1).tolist()
        return [r / n if n else None for r, n in zip(right, all_, strict=True)]

    @property
    def mean_accuracy(self) -> float:
        """Mean of the classes' accuracies, which does not favour large classes."""
        known = [share for share in self.by_class if share is not None]
        return sum(known) / len(known)

    def tree(self) -> dict[str, Any]:
        """Return plain data, for a card."""
        return {
            "images": int(self.table.sum()),
            "loss": self.loss,
            "accuracy": self.accuracy,
            "mean_accuracy": self.mean_accuracy,
            "by_class": self.by_class,
            "confusion": self.table.tolist(),
        }


def committee(members: Sequence[Classifier]) -> Classifier:
    """Return classifiers as one, whose logits are the mean of theirs.

    Args:
        members: trained on the same images, with the same classes and views.

    Raises:
        ConfigError: they differ in classes, image size or views.
    """
    first = members[0]
    for other in members[1:]:
        for name in ("classes", "size"):
            if getattr(other, name) != getattr(first, name):
                raise ConfigError(
                    f"a committee needs members of one kind: {name} is {getattr(first, name)} "
                    f"and {getattr(other, name)}"
                )
        if other.model.mirrored != first.model.mirrored:
            raise ConfigError("a committee needs members of one kind: one mirrors its images")
    config_of = first.model.network
    network = CommitteeConfig(
        channels=config_of.channels,
        size=config_of.size,
        num_classes=config_of.num_classes,
        members=tuple(member.model.network for member in members),
    )
    states = [member.network.state_dict() for member in members]
    tensors = {
        f"members.{k}.{name}": tensor
        for k, state in enumerate(states)
        for name, tensor in state.items()
        if not name.startswith("head.")
    }
    tensors["head.weight"] = torch.cat([each["head.weight"] for each in states], 1) / len(states)
    tensors["head.bias"] = torch.stack([each["head.bias"] for each in states]).mean(0)
    made = [dict(member.tree.get("provenance", {})) for member in members]
    provenance = {**made[0], "members": made}
    tree = {**first.tree, "model": first.model.model_copy(update={"network": network})}
    return tree["model"].open(
        config.dump({**tree, "provenance": provenance}), tensors, "the members"
    )


def load(source: Path | str) -> Classifier:
    """Load a classifier.

    Args:
        source: the name of a zoo model such as "emoji-judge", a folder, or a .safetensors file.

    Raises:
        CheckpointError: nothing is there, or it is not a classifier.
    """
    found: Classifier = checkpoint.open_model(source, "classifier")
    return found


__all__ = ["BLOCK", "Classifier", "ClassifierConfig", "Confusion", "committee", "load"]
