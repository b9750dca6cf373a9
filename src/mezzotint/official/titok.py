"""The generators of TiTok's release (bytedance/1d-tokenizer, arXiv 2406.07550)."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.errors import ConfigError
from mezzotint.masked.curves import Along, Begun, Finished, Flat, Ramp, Swell
from mezzotint.masked.heads import Perturbed
from mezzotint.masked.order import Confidence
from mezzotint.masked.plan import Arccos, Masked
from mezzotint.networks.maskgit import MaskGITConfig
from mezzotint.networks.nat import UViTBertConfig
from mezzotint.official.fused import fused, parted
from mezzotint.official.renames import Renames, State

_LAYER: Final = "model.encoder.layer.*"
_PARTS: Final = ("attention.self.query", "attention.self.key", "attention.self.value")
_WHOLE: Final = "attention.self.qkv"

BERT: Final = Renames(
    "TiTok's ImageBert",
    (
        ("model.embeddings.word_embeddings.weight", "words.weight"),
        ("model.embeddings.position_embeddings.weight", "positions.weight"),
        ("model.embeddings.token_type_embeddings.weight", "types.weight"),
        ("model.embeddings.LayerNorm.*", "norm.*"),
        (f"{_LAYER}.{_WHOLE}.*", "blocks.*.attn.qkv.*"),
        (f"{_LAYER}.attention.output.dense.*", "blocks.*.attn.proj.*"),
        (f"{_LAYER}.attention.output.LayerNorm.*", "blocks.*.norm1.*"),
        (f"{_LAYER}.intermediate.dense.*", "blocks.*.mlp.0.*"),
        (f"{_LAYER}.output.dense.*", "blocks.*.mlp.2.*"),
        (f"{_LAYER}.output.LayerNorm.*", "blocks.*.norm2.*"),
        ("model.lm_head.*", "head.*"),
    ),
)

_STACKS: Final = (("in_blocks.*", "first.*"), ("mid_block", "middle"), ("out_blocks.*", "last.*"))
_BLOCK: Final = (
    ("norm1.*", "norm1.*"),
    ("attn.qkv.*", "attn.qkv.*"),
    ("attn.proj.*", "attn.proj.*"),
    ("norm2.*", "norm2.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
)
TRUNK: Final = (
    *((f"{o}.{theirs}", f"trunk.{ours}.{own}") for o, ours in _STACKS for theirs, own in _BLOCK),
    ("out_blocks.*.skip_linear.*", "trunk.joins.*.*"),
)
"""The blocks of a U-ViT over tokens, in TiTok and in NAT."""

UVIT: Final = Renames(
    "TiTok's UViTBert",
    (
        ("embeddings.weight", "words.weight"),
        ("pos_embed", "positions"),
        *TRUNK,
        ("norm.*", "norm.*"),
        ("lm_head.*", "head.*"),
    ),
)


def _shape(arguments: Mapping[str, Any]) -> dict[str, Any]:
    generator = arguments["generator"]
    return {
        "codes": arguments["vq_model"]["codebook_size"],
        "size": (1, generator["image_seq_len"]),
        "num_classes": generator["condition_num_classes"],
        "depth": generator["num_hidden_layers"],
        "width": generator["hidden_size"],
        "heads": generator["num_attention_heads"],
        "hidden": generator["intermediate_size"],
    }


def bert_of(arguments: Mapping[str, Any]) -> MaskGITConfig:
    """Translate the `model` section of a release's config into ImageBert's shape."""
    return MaskGITConfig(**_shape(arguments), tied=False, null_row=True)


def uvit_of(arguments: Mapping[str, Any]) -> UViTBertConfig:
    """Translate the `model` section of a release's config into UViTBert's shape."""
    return UViTBertConfig(**_shape(arguments))


def bert_from_official(state: Mapping[str, Tensor]) -> State:
    """Rename an ImageBert's tensors to ours; strict."""
    return BERT.to_ours(fused(state, _PARTS, _WHOLE))


def bert_to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to an ImageBert's; strict."""
    return parted(BERT.to_official(state), _PARTS, _WHOLE)


def uvit_from_official(state: Mapping[str, Tensor]) -> State:
    """Rename a UViTBert's tensors to ours; strict."""
    return UVIT.to_ours(state)


def uvit_to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to a UViTBert's; strict."""
    return UVIT.to_official(state)


_DECAYS: Final[dict[str, Callable[[float, float], Along]]] = {
    "constant": lambda scale, _power: Flat(1 + scale),
    "linear": lambda scale, _power: Ramp(1.0, 1 + scale, clock=Begun()),
    "power-cosine": lambda scale, power: Swell(scale, power, Begun()),
}
"""In our terms, where 1 is the conditional model; "power-cosine" says it so in the release too."""


def parts(arguments: Mapping[str, Any]) -> tuple[Masked, Confidence, Perturbed, Along]:
    """Translate the settings of `generate`: counts, order, head and guidance.

    Args:
        arguments: `guidance_scale`, `guidance_decay`, `guidance_scale_pow`,
            `randomize_temperature` and `softmax_temperature_annealing`.

    Raises:
        ConfigError: guidance decays in a way that the release does not know.
    """
    decay = arguments.get("guidance_decay", "constant")
    if decay not in _DECAYS:
        raise ConfigError(f"guidance_decay {decay!r}: expected one of {', '.join(_DECAYS)}")
    # The release asks for 3.0 and 3.0 by default.
    scale, power = arguments.get("guidance_scale", 3.0), arguments.get("guidance_scale_pow", 3.0)
    spread = Ramp(arguments.get("randomize_temperature", 4.5), 0.0)
    annealed = arguments.get("softmax_temperature_annealing", False)
    temperature = Ramp(1.3, 0.5, clock=Finished()) if annealed else Flat(1.0)
    head = Perturbed(temperature, spread=spread)
    return Masked(Arccos()), Confidence(spread), head, _DECAYS[decay](scale, power)
