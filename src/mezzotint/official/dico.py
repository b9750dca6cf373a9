"""DiCo's release (shallowdream204/DiCo, arXiv 2505.11196): names, shapes, and how it samples.

It trains and samples as DiT does: the same chain, learned variance, and guidance on three of four
channels. The published figures took 250 ancestral steps.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from torch import Tensor

from mezzotint.errors import CheckpointError
from mezzotint.networks.dico import DiCoConfig
from mezzotint.official.dit import GUIDED_CHANNELS, STEPS, parts
from mezzotint.official.renames import Renames, State

STAGES: Final = (  # in the order of ours
    "encoder_level_1",
    "encoder_level_2",
    "latent",
    "decoder_level_2",
    "decoder_level_1",
)
BLOCK: Final = (
    ("conv1", "conv_in"),
    ("conv2", "depthwise"),
    ("ca.1", "attention.conv"),
    ("conv3", "conv_out"),
    ("conv4", "mlp.0"),
    ("conv5", "mlp.2"),
    ("adaLN_modulation.1", "modulation.linear"),
)
_LEVELS: Final = range(3)

RENAMES: Final = Renames(
    "DiCo",
    (
        ("x_embedder.proj.*", "stem.*"),
        *((f"t_embedder_{k + 1}.mlp.*.*", f"times.{k}.mlp.*.*") for k in _LEVELS),
        *((f"y_embedder.embedding_table_{k}.*", f"labels.{k}.table.*") for k in _LEVELS),
        *(
            (f"{stage}.*.{theirs}.*", f"stages.{k}.*.{ours}.*")
            for k, stage in enumerate(STAGES)
            for theirs, ours in BLOCK
        ),
        ("down1_2.body.0.weight", "downs.0.conv.weight"),
        ("down2_3.body.0.weight", "downs.1.conv.weight"),
        ("up3_2.body.0.weight", "ups.0.conv.weight"),
        ("up2_1.body.0.weight", "ups.1.conv.weight"),
        ("reduce_chan_level2.*", "joins.0.*"),
        ("reduce_chan_level1.*", "joins.1.*"),
        ("final_layer.adaLN_modulation.1.*", "head.modulation.linear.*"),
        ("final_layer.out_proj.*", "head.conv.*"),
    ),
)

SCALE: Final = 1.4  # of XL at 256 px, FID 2.05; those of XL at 512 px and of H are not known
_SIZE: Final = (32, 32)
_DIGITS: Final = 16
_DEFAULTS: Final[dict[str, Any]] = {  # the constructor's, of no published size
    "in_channels": 4,
    "hidden_size": 1152,
    "depth": (2, 5, 8, 5, 2),
    "mlp_ratio": 4,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": True,
}


def config_from_official(
    state: Mapping[str, Tensor], *, null_row: bool = True, size: tuple[int, int] = _SIZE
) -> DiCoConfig:
    """Read the shape of a DiCo off its official tensors.

    Args:
        state: official names to tensors.
        null_row: whether the last row of the class tables is the null class. It is, in all
            published weights; shapes cannot tell.
        size: rows and columns of x; the network is convolutional, so no tensor tells.

    Raises:
        CheckpointError: the tensors that tell the shape are missing, or their shapes disagree.
    """
    try:
        width, channels, _, _ = state["x_embedder.proj.weight"].shape
        rows = len(state["y_embedder.embedding_table_0.weight"])
        values = len(state["final_layer.out_proj.weight"])
        kernel = state["latent.0.conv2.weight"].shape[-1]
        hidden = [len(state[f"{stage}.0.conv4.weight"]) for stage in STAGES[:3]]
    except KeyError as error:
        raise CheckpointError(f"not a DiCo checkpoint: it has no tensor {error}") from None
    first, second, third, fourth, fifth = (
        sum(f"{stage}.{k}.conv1.weight" in state for k in range(len(state))) for stage in STAGES
    )
    return DiCoConfig(
        channels=channels,
        size=size,
        num_classes=rows - null_row,
        width=width,
        depths=(first, second, third, fourth, fifth),
        mlp_ratio=_ratio(hidden, [width, 2 * width, 4 * width]),
        outputs=values // channels,
        null_row=null_row,
        kernel=kernel,
        attention="latent.0.ca.1.weight" in state,
    )


def _ratio(hidden: list[int], widths: list[int]) -> float:
    """Return the shortest decimal whose products with the widths, cut off, are the hidden ones."""
    least = max(Fraction(inner, width) for inner, width in zip(hidden, widths, strict=True))
    for digits in range(_DIGITS):
        ratio = math.ceil(least * 10**digits) / 10**digits
        if [int(width * ratio) for width in widths] == hidden:
            return ratio
    raise CheckpointError(
        f"MLPs {hidden} wide in blocks {widths} wide have no ratio in common, as a DiCo's have"
    )


def config_of(arguments: Mapping[str, Any], *, size: tuple[int, int] = _SIZE) -> DiCoConfig:
    """Translate the arguments of the official constructor.

    Args:
        arguments: `in_channels`, `hidden_size`, `depth`, `mlp_ratio`, `class_dropout_prob`,
            `num_classes` and `learn_sigma`; what is missing is as the constructor has it.
        size: rows and columns of x, which the constructor does not ask for.
    """
    given = _DEFAULTS | dict(arguments)
    return DiCoConfig(
        channels=given["in_channels"],
        size=size,
        num_classes=given["num_classes"],
        width=given["hidden_size"],
        depths=tuple(given["depth"]),
        mlp_ratio=given["mlp_ratio"],
        outputs=1 + given["learn_sigma"],
        null_row=given["class_dropout_prob"] > 0,
    )


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)


__all__ = [
    "BLOCK",
    "GUIDED_CHANNELS",
    "RENAMES",
    "SCALE",
    "STAGES",
    "STEPS",
    "config_from_official",
    "config_of",
    "from_official",
    "parts",
    "to_official",
]
