"""What one evaluation found, as plain frozen data: the parts of a `Report`.

A number that is not finite is stored as null, since JSON has no other; it is read back as NaN.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from mezzotint.errors import ConfigError
from mezzotint.evaluation.wording import one_line


def null_as_nan(value: Any) -> Any:
    """Return NaN for null, and anything else as it is; of a mapping, that for each value."""
    if isinstance(value, Mapping):
        return {key: null_as_nan(item) for key, item in value.items()}
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(null_as_nan)]
"""A float that a file may hold as null."""

SHORT: Final = 8
"""Characters of a digest that people see."""


@dataclass(frozen=True)
class Score:
    """One metric of a set of samples.

    Attributes:
        name: such as "FD-emoji", "KID" or "precision".
        value: of the samples against the reference.
        floor: the same metric between two parts of the real data; what no sampler need beat.
        floor_count: images in the part that stands for the samples; at another n than theirs the
            floor is biased.
        low, high: ends of a 95 % interval of `value`; it is shown if both are known.
        lower_is_better: None where neither direction is better.
        note: what a reader must know, in a few words.

    Raises:
        ConfigError: an interval that is upside down, or a floor of an unknown n.
    """

    name: str
    value: Number
    _: KW_ONLY
    floor: float | None = None
    floor_count: int | None = None
    low: float | None = None
    high: float | None = None
    lower_is_better: bool | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ConfigError(
                f"score {self.name}: the interval runs from {self.low} down to {self.high}; "
                "give the lower end as low"
            )
        if self.floor is not None and self.floor_count is None:
            raise ConfigError(f"score {self.name}: a floor without its n; give floor_count")


@dataclass(frozen=True)
class ClassScore:
    """How good the samples of one class are.

    Attributes:
        name: of the class.
        count: samples asked for.
        accuracy: share of them that the judge assigns to the class, in [0, 1].
        distance: Fréchet distance to the reference images of the class.
        floor: the same distance between two parts of the class's reference images.
        psnr: of reconstructions, in dB: the mean over those that are not their originals.
    """

    name: str
    count: int
    _: KW_ONLY
    accuracy: float | None = None
    distance: float | None = None
    floor: float | None = None
    psnr: float | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a number was measured; numbers under different protocols do not compare.

    Attributes:
        implementation: of the metrics, with its version.
        extractor, extractor_digest: the feature space.
        judge, judge_digest: the classifier behind accuracies.
        reference, reference_digest, reference_count: the real images.
        size: height and width of the images in pixels.
        reference_codec: how the real images were stored, such as "png".
        samples, samples_digest, samples_count: what is measured.
        weights_digest: of the model that drew them.
        labels: which classes were asked for, such as "equally many of each".
        sampler, steps, guidance, interval: how the samples were drawn; the interval is the stretch
            of t under guidance.
        ema: which average of the weights.
        dtype: of the network while sampling.
        seeds: of the samples.
        codec: how the samples were stored.
    """

    implementation: str | None = None
    extractor: str | None = None
    extractor_digest: str | None = None
    judge: str | None = None
    judge_digest: str | None = None
    reference: str | None = None
    reference_digest: str | None = None
    reference_count: int | None = None
    size: int | None = None
    reference_codec: str | None = None
    samples: str | None = None
    samples_digest: str | None = None
    weights_digest: str | None = None
    samples_count: int | None = None
    labels: str | None = None
    sampler: str | None = None
    steps: int | None = None
    guidance: str | None = None
    interval: str | None = None
    ema: str | None = None
    dtype: str | None = None
    seeds: str | None = None
    codec: str | None = None

    def items(self) -> tuple[tuple[str, str], ...]:
        """Return every field, in a stable order, with its value in full or "unknown"."""
        return tuple((f.name, said(getattr(self, f.name))) for f in dataclasses.fields(self))

    def __str__(self) -> str:
        """Return one line: "implementation mezzotint 0.2.0 | extractor emoji-judge | …"."""
        return " | ".join(
            f"{name} {_shortened(name, value).replace('|', '/')}" for name, value in self.items()
        )

    def differences(self, other: "Protocol") -> list[str]:
        """Name what differs, a line a field: "steps: 50 and 20"."""
        pairs = zip(self.items(), other.items(), strict=True)
        return [difference(name, a, b) for (name, a), (_, b) in pairs if a != b]


def said(value: str | int | None) -> str:
    """Return a value of the protocol as one line of text."""
    return "unknown" if value is None else one_line(value)


def difference(name: str, one: str, other: str) -> str:
    """Say how two values of one field differ; digests shortened where that still tells."""
    short = _shortened(name, one), _shortened(name, other)
    one, other = (one, other) if short[0] == short[1] else short
    return f"{name}: {one} and {other}"


def _shortened(name: str, value: str) -> str:
    return value[:SHORT] if name.endswith("_digest") else value


__all__ = [
    "SHORT",
    "ClassScore",
    "Number",
    "Protocol",
    "Score",
    "difference",
    "null_as_nan",
    "said",
]
