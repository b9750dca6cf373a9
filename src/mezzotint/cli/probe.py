"""`mezzotint evaluate TRAIN TEST --probe MODEL`: what a model's features are worth."""

from pathlib import Path
from typing import Any

from mezzotint.cli import shared
from mezzotint.errors import ConfigError, DataError


def probe(
    model: str | None,
    places: tuple[str | None, str | None],
    size: int | None,
    out: Path,
    device: str,
    *,
    force: bool,
    as_json: bool,
) -> bool:
    """Fit a linear classifier to one set's features, and tell its accuracy on both.

    Returns:
        Whether a model was given.

    Raises:
        ConfigError: a set is missing, or the model has no features.
        DataError: the sets have other classes, or none.
    """
    from mezzotint import checkpoint, config
    from mezzotint.evaluation import probe as linear
    from mezzotint.evaluation.sources import open_source

    if model is None:
        return False
    if None in places:
        raise ConfigError("--probe: give two sets of real images, to fit and to test: TRAIN TEST")
    made = checkpoint.open_model(model).to(shared.device_of(device))
    encoder = getattr(made, "represented", None)
    if encoder is None:
        raise ConfigError(f"{model}: has no features to probe; expected a masked model like MAGE")
    side = size or made.tokenizer.spec.image[0]
    fit, test = (open_source(str(place), size=side).pictures for place in places)
    if not fit.classes or fit.classes != test.classes:
        raise DataError(
            f"--probe: classes {list(fit.classes)} and {list(test.classes)}: expected the same, "
            "and at least two"
        )
    shared.fresh(out, force=force)
    seen, unseen = (linear.encoded(encoder, images) for images in (fit, test))
    found = linear.fitted(seen, fit.labels, len(fit.classes))
    result: dict[str, Any] = {
        "probe_top1": found.accuracy(unseen, test.labels),
        "probe_top1_fitted": found.accuracy(seen, fit.labels),
        "images": len(test),
        "fitted": len(fit),
        "features": seen.shape[1],
    }
    config.write_json(out / "probe.json", {"model": model, **result})
    shared.result({**result, "json": str(out / "probe.json")}, as_json=as_json)
    return True
