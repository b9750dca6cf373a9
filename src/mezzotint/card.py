"""The model card: what a model is, what it was trained on, and how to use it."""

from collections.abc import Mapping
from typing import Any

import yaml


def model_card(name: str, tree: Mapping[str, Any]) -> str:
    """Return the card of a model as Markdown, from its config tree alone.

    Args:
        name: of the model or run.
        tree: the stored config tree, plain data.
    """
    made = tree["provenance"]
    classes = tree["classes"]
    head = {"library_name": "mezzotint", "tags": ["class-conditional-image-generation"]}
    network = tree["model"]["network"]
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}",
        f"A {network['kind']} on {tree['tokenizer']['kind']}, "
        f"{len(classes) or 'no'} classes, trained on {made['seen']:,} images drawn from "
        f"{made['data_images']:,} in {made['seconds'] / 3600:.2f} h. "
        f"The weights are the average with decay {made['ema']}.",
        f"Classes: {', '.join(classes) or 'none'}.",
        f"```\nmezzotint sample {name}\n```",
        "## Sampling recipe",
        f"```yaml\n{yaml.safe_dump(tree['sampling'], sort_keys=False)}```",
        "## Where it comes from",
        f"```yaml\n{yaml.safe_dump(made, sort_keys=False, allow_unicode=True)}```",
    ]
    return "\n\n".join(lines) + "\n"
