"""The model card: what a model is, what it was trained on, and how to use it."""

import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from mezzotint import __version__


def model_card(name: str, tree: Mapping[str, Any], picture: str = "") -> str:
    """Return the card of a model as Markdown, from its config tree alone.

    Args:
        name: of the model or run.
        tree: the stored config tree, plain data.
        picture: file beside the card that shows samples.
    """
    made = tree.get("provenance", {})
    classes = tree["classes"]
    head = {"library_name": "mezzotint", "tags": ["class-conditional-image-generation"]}
    network = tree["model"]["network"]
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}",
        f"A {network['kind']} on {tree['tokenizer']['kind']}, "
        f"{len(classes) or 'no'} classes. {_training(made)}",
        f"Classes: {', '.join(classes) or 'none'}.",
        *([f"![Samples: a row a class, a column a seed]({picture})"] if picture else []),
        f"```\nmezzotint sample {name}\n```",
        "## Sampling recipe",
        f"```yaml\n{yaml.safe_dump(tree['sampling'], sort_keys=False)}```",
        "## Where it comes from",
        f"```yaml\n{yaml.safe_dump(made, sort_keys=False, allow_unicode=True)}```",
    ]
    return "\n\n".join(lines) + "\n"


def _training(made: Mapping[str, Any]) -> str:
    """Say how a model was trained, as far as its checkpoint tells."""
    if not {"seen", "data_images", "seconds", "ema"} <= made.keys():
        return "How it was trained is not recorded."
    return (
        f"Trained on {made['seen']:,} images drawn from {made['data_images']:,}, in "
        f"{made['seconds'] / 3600:.2f} h. The weights are the average with decay {made['ema']}."
    )


def environment() -> dict[str, Any]:
    """Return what a run is made with: versions, machine, command, time."""
    return {
        "mezzotint": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
