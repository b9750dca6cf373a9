"""A classifier of ours as a feature extractor: FD-emoji, FD-prints, FD-digits, or one's own."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from jaxtyping import UInt8
from torch import Tensor

from mezzotint import checkpoint
from mezzotint.classifier import Classifier, load
from mezzotint.evaluation.features import Readout

SUFFIX: Final = "-judge"


@dataclass(frozen=True)
class Judge:
    """Penultimate features and class scores of a classifier.

    A judge is never the guide: what a classifier has steered or trained pleases that classifier,
    so beside every `-judge` of the zoo there is another network, the `-guide`.

    Args:
        classifier: the network with its class names.
        name: of the model.
    """

    classifier: Classifier
    name: str

    @classmethod
    def load(cls, source: Path | str, *, device: str = "cpu") -> "Judge":
        """Load a classifier by zoo name, folder or file.

        Raises:
            CheckpointError: nothing is there, or it is not a classifier.
        """
        return cls(load(source).to(device), Path(source).resolve().name)

    @cached_property
    def distance(self) -> str:
        """FD- and the name; the zoo's emoji-judge gives FD-emoji, any other adds its digest."""
        if self.name in checkpoint.zoo("classifier") and self.digest == load(self.name).digest:
            return f"FD-{self.name.removesuffix(SUFFIX)}"
        return f"FD-{self.name}({self.digest[:8]})"

    @property
    def digest(self) -> str:
        """Digest of weights, architecture and class names."""
        return self.classifier.digest

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the logits."""
        return self.classifier.classes

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        """Read a batch of any size.

        Raises:
            DataError: images of another size than the classifier reads.
        """
        features, logits = self.classifier.read(images)
        return Readout(features, logits)


__all__ = ["Judge"]
