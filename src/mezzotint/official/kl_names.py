"""What the tensors of KL autoencoders are called: by latent diffusion and MAR, and by diffusers.

The names of latent diffusion (CompVis/latent-diffusion) are MAR's, and in its specification. Those
of diffusers, old and new, are from memory, not from a specification.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, cat

from mezzotint.errors import CheckpointError
from mezzotint.official.renames import Renames, State


@dataclass(frozen=True)
class Names:
    """How a release names its tensors, and how it keeps the 1 x 1 convolutions of attention.

    Attributes:
        renames: the table, queries, keys and values being one.
        projections: layers of queries, keys and values.
        output: layer behind the values.
        ends: dimensions of size 1 at the end of these layers' weights: 2 in a convolution's.
        levels: what the names of levels begin with that count from the other end, if any do.
    """

    renames: Renames
    projections: tuple[str, str, str]
    output: str
    ends: int
    levels: str | None = None

    def to_ours(self, state: Mapping[str, Tensor]) -> State:
        """Rename official tensors; queries, keys and values become one.

        Raises:
            CheckpointError: foreign tensors, or queries without the keys and values beside them.
        """
        query, *others = self.projections
        given = self._turned(state)
        joined: State = {}
        for name, tensor in given.items():
            place, layer, leaf = _parted(name)
            if layer == query:
                three = [f"{place}.{part}.{leaf}" for part in self.projections]
                lost = [each for each in three if each not in given]
                if lost:
                    raise CheckpointError(f"{name} is there, but not {' and '.join(lost)}")
                joined[f"{place}.{_JOINED}.{leaf}"] = _flat(cat([given[each] for each in three]))
            elif layer not in others or f"{place}.{query}.{leaf}" not in given:
                joined[name] = _flat(tensor) if self._is_output(name) else tensor
        return self.renames.to_ours(joined)

    def to_official(self, state: Mapping[str, Tensor]) -> State:
        """Rename our tensors; the inverse of `to_ours`."""
        parted: State = {}
        for name, tensor in self.renames.to_official(state).items():
            place, layer, leaf = _parted(name)
            if layer == _JOINED:
                three = zip(self.projections, tensor.chunk(3), strict=True)
                parted |= {f"{place}.{part}.{leaf}": self._shaped(each) for part, each in three}
            else:
                parted[name] = self._shaped(tensor) if self._is_output(name) else tensor
        return self._turned(parted)

    def _is_output(self, name: str) -> bool:
        return name.rpartition(".")[0].endswith(f".{self.output}")

    def _shaped(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.dim() == 1 else tensor[(..., 0, *[None] * self.ends)]

    def _turned(self, state: Mapping[str, Tensor]) -> State:
        """Count levels from their other end, if they do so here."""
        if self.levels is None:
            return dict(state)
        number = re.compile(rf"(?<=^{re.escape(self.levels)}\.)\d+(?=\.)")
        found = [int(match[0]) for name in state if (match := number.search(name))]
        last = max(found, default=0)
        return {
            number.sub(lambda match: str(last - int(match[0])), name): tensor
            for name, tensor in state.items()
        }


def _parted(name: str) -> tuple[str, str, str]:
    """Split a name into place, layer and leaf."""
    stem, _, leaf = name.rpartition(".")
    place, _, layer = stem.rpartition(".")
    return place, layer, leaf


def _flat(tensor: Tensor) -> Tensor:
    """Return what a convolution over a line of places has as weight; biases stay."""
    return tensor if tensor.dim() == 1 else tensor.flatten(1)[..., None]


_JOINED: Final = "qkv"
CONVOLUTIONS: Final = ("norm1", "conv1", "norm2", "conv2")
ENDS: Final = (
    ("quant_conv.*", "quant.*"),
    ("post_quant_conv.*", "post_quant.*"),
    ("*.conv_in.*", "*.conv_in.*"),
    ("*.conv_out.*", "*.head.2.*"),
)


def crossed(places: Mapping[str, str], layers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the rows of layers that stand in several places."""
    return tuple(
        (f"{place}.{layer}.*", f"{here}.{ours}.*")
        for place, here in places.items()
        for layer, ours in layers.items()
    )


LATENT_DIFFUSION: Final = Names(
    Renames(
        "latent diffusion's KL autoencoder",
        (
            *ENDS,
            ("*.norm_out.*", "*.head.0.*"),
            ("encoder.down.*.downsample.conv.*", "encoder.levels.*.resample.conv.*"),
            ("decoder.up.*.upsample.conv.*", "decoder.levels.*.resample.conv.*"),
            *crossed(
                {
                    "encoder.down.*.block.*": "encoder.levels.*.blocks.*",
                    "decoder.up.*.block.*": "decoder.levels.*.blocks.*",
                    "*.mid.block_1": "*.middle.0",
                    "*.mid.block_2": "*.middle.2",
                },
                {**dict(zip(CONVOLUTIONS, CONVOLUTIONS, strict=True)), "nin_shortcut": "skip"},
            ),
            *crossed(
                {
                    "encoder.down.*.attn.*": "encoder.levels.*.attention.*",
                    "decoder.up.*.attn.*": "decoder.levels.*.attention.*",
                    "*.mid.attn_1": "*.middle.1",
                },
                {"norm": "norm", _JOINED: "qkv", "proj_out": "proj"},
            ),
        ),
    ),
    projections=("q", "k", "v"),
    output="proj_out",
    ends=2,
)


def _diffusers(projections: tuple[str, str, str], output: str) -> Names:
    renames = Renames(
        "diffusers' AutoencoderKL",
        (
            *ENDS,
            ("*.conv_norm_out.*", "*.head.0.*"),
            ("encoder.down_blocks.*.downsamplers.0.conv.*", "encoder.levels.*.resample.conv.*"),
            ("decoder.up_blocks.*.upsamplers.0.conv.*", "decoder.levels.*.resample.conv.*"),
            *crossed(
                {
                    "encoder.down_blocks.*.resnets.*": "encoder.levels.*.blocks.*",
                    "decoder.up_blocks.*.resnets.*": "decoder.levels.*.blocks.*",
                    "*.mid_block.resnets.0": "*.middle.0",
                    "*.mid_block.resnets.1": "*.middle.2",
                },
                {**dict(zip(CONVOLUTIONS, CONVOLUTIONS, strict=True)), "conv_shortcut": "skip"},
            ),
            *crossed(
                {
                    "encoder.down_blocks.*.attentions.*": "encoder.levels.*.attention.*",
                    "decoder.up_blocks.*.attentions.*": "decoder.levels.*.attention.*",
                    "*.mid_block.attentions.0": "*.middle.1",
                },
                {"group_norm": "norm", _JOINED: "qkv", output: "proj"},
            ),
        ),
    )
    return Names(renames, projections, output, ends=0, levels="decoder.up_blocks")


DIFFUSERS: Final = _diffusers(("to_q", "to_k", "to_v"), "to_out.0")
OLDER_DIFFUSERS: Final = _diffusers(("query", "key", "value"), "proj_attn")


def names_of(state: Mapping[str, Tensor]) -> Names:
    """Tell whose names these are; those of latent diffusion unless others are seen."""
    for names in (DIFFUSERS, OLDER_DIFFUSERS):
        if any(f".{names.projections[0]}." in name for name in state):
            return names
    return LATENT_DIFFUSION


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours, whichever of the three names they have; strict.

    Raises:
        CheckpointError: foreign tensors, all named in one line.
    """
    return names_of(state).to_ours(state)


def to_official(state: Mapping[str, Tensor], names: Names = LATENT_DIFFUSION) -> State:
    """Rename our tensors to official names; strict."""
    return names.to_official(state)


__all__ = [
    "CONVOLUTIONS",
    "DIFFUSERS",
    "ENDS",
    "LATENT_DIFFUSION",
    "OLDER_DIFFUSERS",
    "Names",
    "crossed",
    "from_official",
    "names_of",
    "to_official",
]
