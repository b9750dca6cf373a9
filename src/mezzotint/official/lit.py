"""LiT's names and shapes (arXiv 2501.12976): DiT's, but for the attention.

No class-conditional weights are known to be public. The names of the attention are certain for the
text-to-image release and likely for the other; a fused `qkv`, with rows q, k, v, is read too.
"""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.lit import HEADS, LiTConfig
from mezzotint.official import dit
from mezzotint.official.renames import Renames, State

RENAMES: Final = Renames(
    "LiT",
    (
        *(row for row in dit.RENAMES.rows if ".attn." not in row[0]),
        ("blocks.*.attn.q.*", "blocks.*.attn.q.*"),
        ("blocks.*.attn.kv.*", "blocks.*.attn.kv.*"),
        ("blocks.*.attn.dwc.*", "blocks.*.attn.conv.*"),
        ("blocks.*.attn.proj.*", "blocks.*.attn.proj.*"),
    ),
)

_FUSED: Final = ".attn.qkv."
_KERNEL: Final = "blocks.0.attn.dwc.weight"
_DEFAULTS: Final[dict[str, Any]] = {
    "patch_size": 2,
    "in_channels": 4,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": True,
}


def config_from_official(
    state: Mapping[str, Tensor], *, null_row: bool = True, heads: int | None = None
) -> LiTConfig:
    """Read the shape of a LiT off its official tensors; inputs are square.

    Args:
        state: official names to tensors.
        null_row: whether the last row of the class table is the null class; shapes cannot tell.
        heads: attention heads. The convolution, which is as deep as a head, tells them; where
            there is none, nothing does.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
        ConfigError: the number of heads is not told, or told otherwise than the tensors do.
    """
    kernel = state.get(_KERNEL)
    if kernel is not None:
        heads = _agreed(heads, len(state["blocks.0.attn.proj.weight"]), len(kernel))
    if heads is None:
        raise ConfigError("a LiT without convolution does not tell its heads; say how many")
    # DiT's reader counts blocks by the name of their fused projection.
    fused = {name.replace(".attn.q.", _FUSED): tensor for name, tensor in state.items()}
    shape = dit.config_from_official(fused, null_row=null_row, heads=heads)
    return LiTConfig(
        **shape.model_dump(),
        kernel=0 if kernel is None else kernel.shape[-1],
        qkv_bias="blocks.0.attn.qkv.bias" in fused,
    )


def config_of(arguments: Mapping[str, Any]) -> LiTConfig:
    """Translate DiT's constructor arguments and LiT's own; what is not given is the published.

    Args:
        arguments: those of `mezzotint.official.dit.config_of`, without `num_heads`; `lit_heads`,
            `kernel_size` and `qkv_bias`.
    """
    heads = arguments.get("lit_heads", HEADS.get(arguments["hidden_size"]))
    shape = dit.config_of({**_DEFAULTS, **arguments, "num_heads": heads})
    return LiTConfig(
        **shape.model_dump(),
        kernel=arguments.get("kernel_size", 5),
        qkv_bias=arguments.get("qkv_bias", True),
    )


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours, and split a fused `qkv`; strict."""
    split: State = {}
    for name, tensor in state.items():
        if _FUSED in name:
            width = len(tensor) // 3
            split[name.replace(_FUSED, ".attn.q.")] = tensor[:width]
            split[name.replace(_FUSED, ".attn.kv.")] = tensor[width:]
        else:
            split[name] = tensor
    return RENAMES.to_ours(split)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)


def _agreed(heads: int | None, width: int, depth: int) -> int:
    """Return the heads that the convolution tells, if nobody says otherwise."""
    if width % depth:
        raise CheckpointError(f"{_KERNEL}: a head of {depth} channels does not divide {width}")
    told = width // depth
    if heads not in (None, told):
        raise ConfigError(f"heads {heads}: this LiT has {told}, as its convolution tells")
    return told
