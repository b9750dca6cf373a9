"""What a thing is made of, as a number that tells it from every other."""

import json
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from mezzotint import config


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def digest_of_model(tensors: Mapping[str, Tensor], tree: Any) -> str:
    """Return the SHA-256 of a config tree, and of tensors as float32 by name."""
    content = sha256(json.dumps(config.dump(tree), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().float().numpy().data)
    return content.hexdigest()


__all__ = ["digest_of_file", "digest_of_model"]
