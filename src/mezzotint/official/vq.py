"""Vector-quantised autoencoders of others, MaskGIT's and LlamaGen's, read and made into models."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor

from mezzotint.config import build
from mezzotint.digest import digest_of_file
from mezzotint.errors import CheckpointError
from mezzotint.official.kl import AS_PUBLISHED, Reading, levels_of, shape_of
from mezzotint.official.renames import State, read_file
from mezzotint.official.vq_names import LLAMAGEN, VQNames, names_of
from mezzotint.stored import NetworkTokenizer, TokenizerModel
from mezzotint.tokenizers.maskgit_vq import MaskGITVQConfig
from mezzotint.tokenizers.vq import VQConfig

PREFIX: Final = "vqgan."
"""Of the autoencoder's tensors in a checkpoint of a whole MAGE."""
OTHERS: Final = ("loss.",)
"""Of tensors beside the autoencoder's, such as its discriminator (from memory)."""


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours, whichever of the four names they have; strict.

    Raises:
        CheckpointError: foreign tensors, all named in one line.
    """
    return names_of(state).to_ours(state)


def to_official(state: Mapping[str, Tensor], names: VQNames) -> State:
    """Rename our tensors to official names; strict."""
    return names.to_official(state)


def config_from_official(state: Mapping[str, Tensor]) -> MaskGITVQConfig | VQConfig:
    """Read the whole shape of an autoencoder off its official tensors.

    Raises:
        CheckpointError: foreign tensors, or those that tell the shape are missing.
    """
    names = names_of(state)
    return _config(names.to_ours(state), names)


def _config(ours: Mapping[str, Tensor], names: VQNames) -> MaskGITVQConfig | VQConfig:
    try:
        codes = {"codes": len(ours["codebook.weight"])}
        if names is LLAMAGEN:  # that its codes are of unit length cannot be seen
            return build(VQConfig, shape_of(ours, VQConfig.MAPS) | codes)
        levels = levels_of(ours)
        latent = len(ours["encoder.head.2.weight"])
    except KeyError as error:
        raise CheckpointError(
            f"not a vector-quantised autoencoder: it has no tensor {error}"
        ) from None
    middle = sum(re.fullmatch(_MIDDLE, name) is not None for name in ours)
    more = {"middle": None if middle == levels["blocks"] else middle}
    return build(MaskGITVQConfig, {**levels, **codes, **more, "latent_channels": latent})


_MIDDLE: Final = r"encoder.middle.\d+.conv1.weight"


def read_vq(path: Path | str, reading: Reading = AS_PUBLISHED) -> NetworkTokenizer:
    """Read a release's autoencoder; saved to a folder, `tokenizer: {kind: stored}` names it.

    Args:
        path: .pt, .pth, .ckpt, .bin or .safetensors, of an autoencoder or of a whole MAGE; nothing
            in it is run. Flax arrays: by their paths, such as encoder/Conv_0/kernel, as
            .safetensors.
        reading: only its `size`; tokens have no scale.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    path = Path(path)
    state = read_file(path)
    inside = autoencoder_of(state)
    names = names_of(inside)
    ours = names.to_ours(inside)
    scale = 1.0 if reading.scale is None else reading.scale
    tree = {"network": _config(ours, names), "size": reading.size}
    model = build(TokenizerModel, {**tree, "scale": scale, "shift": reading.shift})
    origin = {
        "imported": path.name,
        "file_digest": digest_of_file(path),
        "tensors_left_out": len(state) - len(inside),
    }
    return model.open({"model": model, "provenance": origin}, ours, path)


def autoencoder_of(state: Mapping[str, Tensor]) -> State:
    """Return the autoencoder's tensors in a file, without what stands beside it and no prefix."""
    inside = {n.removeprefix(PREFIX): t for n, t in state.items() if n.startswith(PREFIX)}
    return {n: t for n, t in (inside or state).items() if not n.startswith(OTHERS)}


__all__ = ["autoencoder_of", "config_from_official", "from_official", "read_vq", "to_official"]
