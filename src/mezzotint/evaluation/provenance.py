"""The protocol of an evaluation: what the manifest of the samples and the parts tell of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mezzotint import __version__
from mezzotint.evaluation.features import Features
from mezzotint.evaluation.judge import Judge
from mezzotint.evaluation.record import Protocol
from mezzotint.evaluation.sources import Source


def protocol(
    samples: Source, count: int, reference: Source, extractor: Features, judge: Judge | None
) -> Protocol:
    """Return what stands beside every number; what nobody knows is None.

    Args:
        samples: what is measured, with the manifest that lies beside it.
        count: how many of them.
        reference: the real images.
        extractor, judge: the networks that look.
    """
    made, real = samples.made, reference.images
    sampling: Mapping[str, Any] = made.get("sampling", {})
    guidance: Mapping[str, Any] = sampling.get("guidance", {})
    ema = made.get("provenance", {}).get("ema")
    return Protocol(
        implementation=f"mezzotint {__version__}",
        extractor=extractor.distance,
        extractor_digest=extractor.digest,
        judge=judge.name if judge else None,
        judge_digest=judge.digest if judge else None,
        reference=reference.name,
        reference_digest=reference.digest or (None if real is None else real.digest),
        reference_count=None if real is None else len(real),
        size=samples.pictures.size,
        reference_codec=reference.codec,
        samples=made.get("model", samples.name),
        samples_digest=samples.pictures.digest,
        weights_digest=made.get("weights_digest"),
        samples_count=count,
        labels=made.get("label_policy") or ("each with every seed" if "seeds" in made else None),
        sampler=sampling.get("sampler", {}).get("kind"),
        steps=sampling.get("steps"),
        guidance=_guidance(guidance),
        interval=_interval(guidance),
        ema=None if ema is None else str(ema),
        dtype=made.get("dtype"),
        seeds=_seeds(made, count, len(samples.pictures)),
        codec=samples.codec,
    )


def _guidance(guidance: Mapping[str, Any]) -> str | None:
    return f"{guidance['kind']} {guidance['scale']:g}" if "scale" in guidance else None


def _interval(guidance: Mapping[str, Any]) -> str | None:
    if not {"low", "high"} <= guidance.keys():
        return None
    return f"({guidance['low']:g}, {guidance['high']:g}]"


def _seeds(made: Mapping[str, Any], count: int, there: int) -> str | None:
    some = "" if count == there else f"{count} of "
    if "seed" in made:
        return f"{some}{made['seed']} to {made['seed'] + there - 1}"
    seeds: Sequence[int] = made.get("seeds", ())
    if not seeds:
        return None
    whole = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return some + (f"{seeds[0]} to {seeds[-1]}" if whole else ",".join(map(str, seeds)))


__all__ = ["protocol"]
