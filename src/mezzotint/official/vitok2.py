"""ViTok-v2's names and variants, after the release Na-VAE/vitok-release: nine sets of weights.

Each is two files, `encoder.safetensors` and `decoder.safetensors`, whose tensors make one state.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from mezzotint.digest import digest_of_file
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.official.kl import AS_PUBLISHED, Reading
from mezzotint.official.renames import Renames, State, read_file
from mezzotint.stored import NetworkTokenizer, TokenizerModel
from mezzotint.tokenizers.vitok2 import LETTERS, ViTok2Config
from mezzotint.tokenizers.vitok_parts import MLP_RATIO, Half

_BLOCK: Final = (
    ("norm1.weight", "norm.weight"),
    ("attn.norm_q.weight", "attn.norm_q.weight"),
    ("attn.norm_k.weight", "attn.norm_k.weight"),
    ("attn.qkv_proj.weight", "attn.qkv.weight"),
    ("attn.out_proj.weight", "attn.proj.weight"),
    ("ffn.value.weight", "mlp.value.weight"),
    ("ffn.gate.weight", "mlp.gate.weight"),
    ("ffn.fc2.weight", "mlp.project.weight"),
    ("layer_scale.gamma", "scale"),
)
RENAMES: Final = Renames(
    "ViTok-v2",
    (
        *(
            (f"{half}_blocks.*.{theirs}", f"{half}.*.{ours}")
            for half in ("encoder", "decoder")
            for theirs, ours in _BLOCK
        ),
        ("patch_embed.*", "patches.*"),
        ("to_code.*", "to_code.*"),
        ("decoder_embed.*", "from_code.*"),
        ("to_pixels.*", "pixels.*"),
    ),
)
FILES: Final = ("encoder.safetensors", "decoder.safetensors")
_FUSED: Final = ".fc1."
"""A map to values and gates at once, in this order."""
_HALF: Final = re.compile(r"(?P<letter>[A-Z]?)(?P<rest>(?:_?[wdhm]\d+(?:\.\d+)?)*)")
_BOTTLENECK: Final = re.compile(r"(?:(?P<q>\d+)x)?(?P<p>\d+)x(?P<c>\d+)")


def config_of_variant(variant: str) -> ViTok2Config:
    """Translate the release's name of a variant, such as Ld4-Ld24/1x16x64 or w32_d2_h2-B/1x4x8.

    Raises:
        ConfigError: it is not understood.
    """
    halves, _, bottleneck = variant.partition("/")
    first, dash, second = halves.partition("-")
    shape = _BOTTLENECK.fullmatch(bottleneck)
    if not dash or shape is None or int(shape["q"] or 1) != 1:
        raise ConfigError(
            f"variant {variant!r}: expected ENCODER-DECODER/1xPATCHxCHANNELS, such as Ld4-L/1x16x64"
        )
    (encoder, ours), (decoder, theirs) = _half(first, variant), _half(second, variant)
    return ViTok2Config(
        patch=int(shape["p"]),
        latent_channels=int(shape["c"]),
        encoder=encoder,
        decoder=decoder,
        mlp_ratio=max(ours, theirs),
    )


def _half(text: str, variant: str) -> tuple[Half, float]:
    """Return one half and its ratio of the MLP: a letter, and what differs from it."""
    match = _HALF.fullmatch(text)
    if match is None or (match["letter"] and match["letter"] not in LETTERS):
        letters = ", ".join(LETTERS)
        raise ConfigError(f"variant {variant!r}: {text!r} is no half; expected one of {letters}")
    tree: dict[str, float] = {**LETTERS.get(match["letter"], {}), "ratio": MLP_RATIO}
    names = {"w": "width", "d": "depth", "h": "heads", "m": "ratio"}
    for key, value in re.findall(r"([wdhm])(\d+(?:\.\d+)?)", match["rest"]):
        tree[names[key]] = float(value)
    missing = {"width", "depth", "heads"} - tree.keys()
    if missing:
        raise ConfigError(f"variant {variant!r}: {text!r} does not say its {sorted(missing)[0]}")
    shape = {name: int(tree[name]) for name in ("width", "depth", "heads")}
    return Half(**shape), tree["ratio"]


def config_from_official(state: Mapping[str, Tensor]) -> ViTok2Config:
    """Read the whole shape off official tensors, those of both files together.

    Raises:
        CheckpointError: tensors that tell the shape are missing, such as those of one file.
    """
    try:
        pixels = state["patch_embed.weight"].shape[1]
        values = len(state["to_code.weight"])
        halves = {half: _shape(state, half) for half in ("encoder", "decoder")}
        hidden = {half: len(state[f"{half}_blocks.0.ffn.fc1.weight"]) // 2 for half in halves}
    except KeyError as error:
        raise CheckpointError(
            f"not a ViTok-v2: it has no tensor {error}; read encoder.safetensors and "
            "decoder.safetensors together"
        ) from None
    for ratio in _ratios([(hidden[name], half.width) for name, half in halves.items()]):
        found = ViTok2Config(
            latent_channels=values,
            patch=round((pixels / 3) ** 0.5),
            encoder=halves["encoder"],
            decoder=halves["decoder"],
            mlp_ratio=ratio,
        )
        if all(found.hidden(half) == hidden[name] for name, half in halves.items()):
            return found
    raise CheckpointError(f"MLPs of {hidden} hidden channels are of no ViTok-v2")


def _ratios(pairs: list[tuple[int, int]]) -> tuple[float, ...]:
    """Return ratios that may have made hidden widths, the likely ones first.

    Rounding to multiples of 16 leaves each half a range of ratios; the last one lies in both.
    """
    low = max((hidden - 8) / width for hidden, width in pairs)
    high = min((hidden + 8) / width for hidden, width in pairs)
    return MLP_RATIO, *(hidden / width for hidden, width in pairs), (low + high) / 2


def _shape(state: Mapping[str, Tensor], half: str) -> Half:
    qkv = state[f"{half}_blocks.0.attn.qkv_proj.weight"]
    width, depth = (
        qkv.shape[1],
        sum(n.startswith(f"{half}_blocks.") and n.endswith(".gamma") for n in state),
    )
    return Half(
        width=width, depth=depth, heads=width // len(state[f"{half}_blocks.0.attn.norm_q.weight"])
    )


def read_vitok2(path: Path | str, reading: Reading = AS_PUBLISHED) -> NetworkTokenizer:
    """Read a release's autoencoder; saved to a folder, `tokenizer: {kind: stored}` names it.

    Args:
        path: the folder of `encoder.safetensors` and `decoder.safetensors`, or a file of both.
        reading: scale, shift and size; its latents are of about unit size as they are.

    Raises:
        CheckpointError: a file cannot be read, or holds something else.
    """
    path = Path(path)
    files = [path / name for name in FILES] if path.is_dir() else [path]
    state: State = {}
    for file in files:
        state |= read_file(file)
    shape = config_from_official(state)
    scale = 1.0 if reading.scale is None else reading.scale
    model = TokenizerModel(network=shape, size=reading.size, scale=scale, shift=reading.shift)
    digests = {file.name: digest_of_file(file) for file in files}
    origin = {"imported": path.name, "file_digests": digests}
    return model.open({"model": model, "provenance": origin}, from_official(state), path)


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours, and split the fused map of the MLPs; strict."""
    split: State = {}
    for name, tensor in state.items():
        if _FUSED in name:
            parts = zip((".value.", ".gate."), tensor.chunk(2), strict=True)
            split |= {name.replace(_FUSED, new): part for new, part in parts}
        else:
            split[name] = tensor
    return RENAMES.to_ours(split)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names, and fuse what is fused there; strict."""
    fused: State = {}
    renamed = RENAMES.to_official(state)
    for name, tensor in renamed.items():
        if ".ffn.value." in name:
            gate = renamed[name.replace(".value.", ".gate.")]
            fused[name.replace(".value.", _FUSED)] = torch.cat([tensor, gate])
        elif ".ffn.gate." not in name:
            fused[name] = tensor
    return fused


__all__ = [
    "RENAMES",
    "config_from_official",
    "config_of_variant",
    "from_official",
    "read_vitok2",
    "to_official",
]
