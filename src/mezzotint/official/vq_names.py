"""What the tensors of vector-quantised autoencoders are called, by four who publish them.

MaskGIT's are one set of numbers under three schemes: Flax arrays, taming-transformers (MAGE,
AutoNAT) and open-muse (1d-tokenizer). LlamaGen has an autoencoder and names of its own. All are in
the specification of MaskGIT, but for the number of unused places in LlamaGen's file.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from mezzotint.errors import CheckpointError
from mezzotint.official.kl_names import CONVOLUTIONS, ENDS, Names, crossed
from mezzotint.official.renames import Renames, State

_CODEBOOK: Final = ("quantize.embedding.weight", "codebook.weight")
_SKIP: Final = {**dict(zip(CONVOLUTIONS, CONVOLUTIONS, strict=True)), "nin_shortcut": "skip"}
_ATTENTION: Final = {"norm": "norm", "qkv": "qkv", "proj_out": "proj"}
USED: Final = "quantize.codebook_used"
"""LlamaGen's record of codes used lately, in its files; it is of no use here."""
_USED_PLACES: Final = 65_536


def _maskgit(whose: str, middle: Mapping[str, str], doubling: str) -> Renames:
    return Renames(
        whose,
        (
            _CODEBOOK,
            ("*.conv_in.*", "*.conv_in.*"),
            ("*.norm_out.*", "*.head.0.*"),
            ("*.conv_out.*", "*.head.2.*"),
            (f"decoder.up.*.{doubling}.*", "decoder.levels.*.resample.conv.*"),
            *crossed(
                {
                    "encoder.down.*.block.*": "encoder.levels.*.blocks.*",
                    "decoder.up.*.block.*": "decoder.levels.*.blocks.*",
                    **middle,
                },
                _SKIP,
            ),
        ),
    )


TAMING: Final = _maskgit(
    "MaskGIT's VQGAN (taming-transformers)",
    {"*.mid.block_1": "*.middle.0", "*.mid.block_2": "*.middle.1"},
    "upsample.conv",
)
OPEN_MUSE: Final = _maskgit(
    "MaskGIT's VQGAN (open-muse)", {"*.mid.*": "*.middle.*"}, "upsample_conv"
)

_LLAMAGEN_LAYERS: Final = Names(
    Renames(
        "LlamaGen's VQ",
        (
            *ENDS,
            _CODEBOOK,
            ("*.norm_out.*", "*.head.0.*"),
            ("encoder.conv_blocks.*.downsample.conv.*", "encoder.levels.*.resample.conv.*"),
            ("decoder.conv_blocks.*.upsample.conv.*", "decoder.levels.*.resample.conv.*"),
            *crossed(
                {
                    "*.conv_blocks.*.res.*": "*.levels.*.blocks.*",
                    "*.mid.0": "*.middle.0",
                    "*.mid.2": "*.middle.2",
                },
                _SKIP,
            ),
            *crossed(
                {"*.conv_blocks.*.attn.*": "*.levels.*.attention.*", "*.mid.1": "*.middle.1"},
                _ATTENTION,
            ),
        ),
    ),
    projections=("q", "k", "v"),
    output="proj_out",
    ends=2,
    levels="decoder.conv_blocks",
)


@dataclass(frozen=True)
class LlamaGenNames:
    """LlamaGen's names; its file holds one tensor more than there are weights."""

    def to_ours(self, state: Mapping[str, Tensor]) -> State:
        """Rename official tensors; the record of use is left out."""
        return _LLAMAGEN_LAYERS.to_ours({n: t for n, t in state.items() if n != USED})

    def to_official(self, state: Mapping[str, Tensor]) -> State:
        """Rename our tensors; the record of use is empty."""
        return _LLAMAGEN_LAYERS.to_official(state) | {USED: torch.zeros(_USED_PLACES)}


_FLAX_LAYERS: Final = {
    "norm1": "GroupNorm_0",
    "conv1": "Conv_0",
    "norm2": "GroupNorm_1",
    "conv2": "Conv_1",
    "skip": "Conv_2",
}
_FLAX_LEAVES: Final = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_FLAX_VECTORS: Final = {"weight": "scale", "bias": "bias"}
_FLAX_CODEBOOK: Final = "quantizer/codebook"
_ROOT: Final = "params/"


@dataclass(frozen=True)
class FlaxNames:
    """The release's own arrays, channels last, whose blocks and convolutions are numbered."""

    def to_ours(self, state: Mapping[str, Tensor]) -> State:
        """Rename official arrays, and lay their kernels out as PyTorch does.

        Raises:
            CheckpointError: foreign arrays, all named in one line.
        """
        given = {name.removeprefix(_ROOT): tensor for name, tensor in state.items()}
        convolutions = _count(given, "decoder/Conv_")
        blocks = _count(given, "encoder/ResBlock_") // max(convolutions, 1)
        places = {flax: ours for ours, flax in _flax_places(convolutions - 1, blocks)}
        result: State = {}
        foreign: list[str] = []
        for name, tensor in given.items():
            place, _, leaf = name.rpartition("/")
            if name == _FLAX_CODEBOOK:
                result[_CODEBOOK[1]] = tensor
            elif place in places and leaf in _FLAX_LEAVES:
                turned = tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor
                result[f"{places[place]}.{_FLAX_LEAVES[leaf]}"] = turned.contiguous()
            else:
                foreign.append(name)
        if foreign:
            raise CheckpointError(
                f"{len(foreign)} of {len(given)} arrays are not of MaskGIT's VQGAN (Flax): "
                f"{', '.join(foreign[:4])}"
            )
        return result

    def to_official(self, state: Mapping[str, Tensor]) -> State:
        """Rename our tensors; the inverse of `to_ours`."""
        levels = 1 + _count(state, "decoder.levels.", ".resample.")
        blocks = _count(state, "decoder.levels.0.blocks.")
        places = dict(_flax_places(levels, blocks))
        result: State = {}
        for name, tensor in state.items():
            place, _, leaf = name.rpartition(".")
            if name == _CODEBOOK[1]:
                result[_FLAX_CODEBOOK] = tensor
            elif place not in places:
                raise CheckpointError(
                    f"{name} has no name in Flax: it has as many blocks in the middle as at a level"
                )
            elif tensor.dim() == 4:
                result[f"{places[place]}/kernel"] = tensor.permute(2, 3, 1, 0).contiguous()
            else:
                result[f"{places[place]}/{_FLAX_VECTORS[leaf]}"] = tensor
        return result


def _count(names: Mapping[str, Tensor], before: str, after: str = "") -> int:
    """Count the numbers that follow `before` and are followed by `after`."""
    rest = (name.removeprefix(before) for name in names if name.startswith(before))
    return len({tail.replace("/", ".").split(".")[0] for tail in rest if after in tail})


def _flax_places(levels: int, blocks: int) -> Iterator[tuple[str, str]]:
    """Yield (ours, theirs) of every layer: a level has `blocks` blocks, and so has the middle."""
    stages = [f"levels.{level}.blocks" for level in range(levels)]
    for side, order in (
        ("encoder", [*stages, "middle"]),
        ("decoder", ["middle", *reversed(stages)]),
    ):
        places = [f"{side}.{stage}.{block}" for stage in order for block in range(blocks)]
        for number, place in enumerate(places):
            for ours, theirs in _FLAX_LAYERS.items():
                yield f"{place}.{ours}", f"{side}/ResBlock_{number}/{theirs}"
        yield f"{side}.conv_in", f"{side}/Conv_0"
        yield f"{side}.head.0", f"{side}/GroupNorm_0"
    for number, level in enumerate(range(levels - 1, 0, -1), 1):
        yield f"decoder.levels.{level}.resample.conv", f"decoder/Conv_{number}"
    yield "encoder.head.2", "encoder/Conv_1"
    yield "decoder.head.2", f"decoder/Conv_{levels}"


LLAMAGEN: Final = LlamaGenNames()
FLAX: Final = FlaxNames()
VQNames = Renames | LlamaGenNames | FlaxNames

_SIGNS: Final[tuple[tuple[VQNames, Callable[[str], bool]], ...]] = (
    (FLAX, lambda name: "/" in name),
    (LLAMAGEN, lambda name: ".conv_blocks." in name or name == USED),
    (TAMING, lambda name: ".mid.block_" in name or ".upsample.conv." in name),
)


def names_of(state: Mapping[str, Tensor]) -> VQNames:
    """Tell whose names these are; open-muse's unless others are seen."""
    for names, sign in _SIGNS:
        if any(map(sign, state)):
            return names
    return OPEN_MUSE


__all__ = ["FLAX", "LLAMAGEN", "OPEN_MUSE", "TAMING", "USED", "VQNames", "names_of"]
