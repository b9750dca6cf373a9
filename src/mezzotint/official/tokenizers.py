"""Official weights of tokenizers in, official weights of tokenizers out: one table of releases."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from mezzotint.config import build
from mezzotint.errors import ConfigError
from mezzotint.kinds import kind_of
from mezzotint.official import kl, kl_names, vitok, vitok2, vq, vq_names
from mezzotint.official.kl import Reading
from mezzotint.official.renames import State
from mezzotint.stored import NetworkTokenizer

READERS: Final[Mapping[str, Callable[[Path | str, Reading], NetworkTokenizer]]] = {
    "kl": kl.read_kl,
    "vq": vq.read_vq,
    "vitok2": vitok2.read_vitok2,
}
"""Who reads a release's file, by what `mezzotint convert --from` calls it."""

WRITERS: Final[Mapping[str, Callable[[Mapping[str, Tensor]], State]]] = {
    "kl": kl_names.LATENT_DIFFUSION.to_official,
    "vq": vq_names.LLAMAGEN.to_official,
    "maskgit-vq": vq_names.OPEN_MUSE.to_official,
    "vitok": vitok.to_official,
    "vitok2": vitok2.to_official,
}
"""Who knows the official names, by the kind of the network; where there are several, the commonest:
`kl_names` and `vq_names` have the others."""

_DIFFUSERS: Final[Mapping[str, Callable[[Mapping[str, Tensor]], State]]] = {
    "kl": kl_names.DIFFUSERS.to_official,
}
DIFFUSERS: Final = "diffusers"
"""What `mezzotint convert --to` calls the names of diffusers' AutoencoderKL."""


def read(release: str, path: Path | str, settings: Mapping[str, Any]) -> NetworkTokenizer:
    """Read a release's file of a tokenizer.

    Args:
        release: a row of `READERS`.
        path: the file.
        settings: what it does not say, as fields of `Reading`.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
        ConfigError: a setting is wrong or missing.
    """
    return READERS[release](path, build(Reading, settings))


def exported(made: NetworkTokenizer, *, diffusers: bool = False) -> State:
    """Return a tokenizer's tensors by their official names.

    Args:
        made: the tokenizer.
        diffusers: by diffusers' names instead, which only KL autoencoders have.

    Raises:
        ConfigError: its network has no release.
    """
    kind = kind_of(type(made.model.network)) or ""
    writers = _DIFFUSERS if diffusers else WRITERS
    if kind not in writers:
        whose = "diffusers'" if diffusers else "official"
        raise ConfigError(f"no {whose} names for tokenizers of the kind {kind!r}")
    return writers[kind](made.network.state_dict())


__all__ = ["DIFFUSERS", "READERS", "WRITERS", "exported", "read"]
