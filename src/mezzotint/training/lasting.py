"""What of a recipe must stay the same as long as a run lasts."""

from collections.abc import Mapping
from typing import Any, Final

# Settings of `train:` that may change between two starts of a run. A run may be made longer, fit
# another machine, be watched more closely: its images, noise and weights so far stay what they are.
_FREE: Final = {
    "steps", "accumulate", "compile", "patience", "save_minutes", "log_every", "validate_every",
    "sample_every", "validate_images",
}  # fmt: skip
_PLACES: Final = ("path", "root", "source")


def lasting(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a recipe's tree must stay the same as long as a run lasts."""
    train = {key: _placeless(value) for key, value in tree["train"].items() if key not in _FREE}
    # Where pictures, tokenizer and teacher lie does not matter: digests tell what they are.
    data, tokenizer = _placeless(tree["data"]), _placeless(tree["tokenizer"])
    return {"model": tree["model"], "tokenizer": tokenizer, "data": data, "train": train}


def _placeless(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {key: _placeless(value) for key, value in tree.items() if key not in _PLACES}


__all__ = ["lasting"]
