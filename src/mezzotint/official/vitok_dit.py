"""Names and arguments of the generator in ViTok's first release (arXiv 2501.09755)."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.token_dit import TokenDiTConfig
from mezzotint.official.renames import Renames, State
from mezzotint.official.vitok import BLOCK

RENAMES: Final = Renames(
    "ViTok's DiT",
    (
        *((f"encoder.blocks.*.{theirs}", f"blocks.*.{ours}") for theirs, ours in BLOCK),
        ("encoder.blocks.*.linear_modulation.*", "blocks.*.modulation.linear.*"),
        ("encoder.norm.*", "norm.*"),
        ("final_layer.norm_final.*", "last_norm.*"),
        ("final_layer.adaLN_modulation.0.*", "modulation.linear.*"),
        ("final_layer.linear.*", "head.*"),
        ("input_width_to_width.*", "tokens.*"),
        ("posemb", "positions"),
        ("t_embedder.mlp.*.*", "time.mlp.*.*"),
        ("y_embedder.embedding_table.weight", "label.table.weight"),
    ),
)


def config_of(
    arguments: Mapping[str, Any], *, size: tuple[int, int] | None = None
) -> TokenDiTConfig:
    """Translate the arguments of the release's constructor.

    Args:
        arguments: `code_width`, `width`, `depth`, `num_heads`, `num_classes`, `num_tokens`, and
            where they differ from the release's, `learn_sigma`, `rope`.
        size: rows and columns that the tokens stand in; a single row by default.
    """
    return TokenDiTConfig(
        channels=arguments["code_width"],
        size=size or (1, arguments["num_tokens"]),
        num_classes=arguments["num_classes"],
        depth=arguments["depth"],
        width=arguments["width"],
        heads=arguments["num_heads"],
        theta=arguments.get("rope", 10000.0),
        outputs=1 + arguments.get("learn_sigma", True),
    )


def config_from_official(
    state: Mapping[str, Tensor], *, heads: int, size: tuple[int, int] | None = None
) -> TokenDiTConfig:
    """Read the shape off official tensors.

    Args:
        state: official names to tensors.
        heads: attention heads, which shapes do not tell.
        size: rows and columns that the tokens stand in; a single row by default.

    Raises:
        CheckpointError: tensors that tell the shape are missing.
        ConfigError: the tokens are not as many as `size` has places.
    """
    try:
        width, channels = state["input_width_to_width.weight"].shape
        length = state["posemb"].shape[1]
        rows = len(state["y_embedder.embedding_table.weight"])
        outputs = len(state["final_layer.linear.weight"]) // channels
    except KeyError as error:
        raise CheckpointError(f"not ViTok's DiT: it has no tensor {error}") from None
    found = TokenDiTConfig(
        channels=channels,
        size=size or (1, length),
        num_classes=rows - 1,
        depth=sum(n.endswith(".linear_modulation.weight") for n in state),
        width=width,
        heads=heads,
        outputs=outputs,
    )
    if found.length != length:
        raise ConfigError(f"size {size}: these tensors are of {length} tokens")
    return found


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)


__all__ = ["RENAMES", "config_from_official", "config_of", "from_official", "to_official"]
