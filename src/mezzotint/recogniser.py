"""What classifiers of clean and of noisy images share: how they are kept, moved and written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from mezzotint import checkpoint
from mezzotint.digest import digest_of_model
from mezzotint.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Recogniser:
    """A network that names classes, with all that its file says of it.

    Attributes:
        network: what computes.
        model: its config.
        tokenizer: from images to latents.
        classes: names, in the order of the logits.
        tree: the config tree that it was loaded from.
    """

    network: nn.Module
    model: Any
    tokenizer: Tokenizer
    classes: tuple[str, ...]
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        checkpoint.check_classes(self.classes, self.model.network.num_classes)
        self.network.eval().requires_grad_(requires_grad=False)

    @cached_property
    def digest(self) -> str:
        """Hex digest of weights, architecture, preprocessing and class names."""
        tree = {"model": self.model, "tokenizer": self.tokenizer, "classes": self.classes}
        return digest_of_model(self.network.state_dict(), tree)

    def to(self, device: str | torch.device) -> Self:
        """Move the network to a device, in place."""
        self.network.to(device)
        return self

    def save(self, folder: Path | str, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder that `load` reads.

        Args:
            folder: made if it is missing.
            dtype: of the tensors in the file, such as torch.bfloat16; theirs by default.
        """
        tensors = checkpoint.trained_as(dtype, self.network, self.model.build)
        checkpoint.write_model(Path(folder), tensors, self.tree)

    def sheet(self) -> None:
        """Return no picture: a classifier draws nothing."""
