"""NAT's U-ViT, the "MaskGIT-r" of ReCAP's release (liebenxj/ReCAP): names and how it samples."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.masked.curves import Along, ByGroup, EndToEnd, Flat, Ramp
from mezzotint.masked.heads import Categorical
from mezzotint.masked.order import Confidence
from mezzotint.masked.plan import AtLeastOne, Power
from mezzotint.networks.nat import NATConfig
from mezzotint.official.renames import Renames, State
from mezzotint.official.titok import TRUNK

RENAMES: Final = Renames(
    "NAT's U-ViT",
    (
        ("token_emb.word_embeddings.weight", "words.weight"),
        ("token_emb.position_embeddings.weight", "positions.weight"),
        ("token_emb.LayerNorm.*", "word_norm.*"),
        ("context_embed.word_embeddings.weight", "labels.weight"),
        ("context_embed.position_embeddings.weight", "label_position.weight"),
        ("context_embed.LayerNorm.*", "label_norm.*"),
        *TRUNK,
        ("norm.*", "norm.*"),
        ("mlm_layer.fc.*", "head.dense.*"),
        ("mlm_layer.ln.*", "head.norm.*"),
        ("mlm_layer.bias", "head.bias"),
    ),
)


def config_of(arguments: Mapping[str, Any]) -> NATConfig:
    """Translate the arguments of the official constructor.

    Args:
        arguments: `img_size` in tokens, `codebook_size`, `embed_dim`, `depth`, `num_heads`,
            `mlp_ratio`, `qkv_bias`, `num_classes` with the null class among them, `skip`.
    """
    side = arguments["img_size"]
    return NATConfig(
        codes=arguments["codebook_size"],
        size=(side, side),
        num_classes=arguments["num_classes"] - 1,
        depth=arguments["depth"],
        width=arguments["embed_dim"],
        heads=arguments["num_heads"],
        hidden=int(arguments["embed_dim"] * arguments.get("mlp_ratio", 4)),
        qkv_bias=arguments.get("qkv_bias", False),
        skips=arguments.get("skip", True),
    )


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    plain = RENAMES.to_ours(state)
    return plain | {"head.bias": plain["head.bias"].flatten()}


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    plain = RENAMES.to_official(state)
    return plain | {"mlm_layer.bias": plain["mlm_layer.bias"].view(1, 1, -1)}


def parts(
    *, temperature: float = 0.65, noise: float = 5.5, guided: bool = False
) -> tuple[AtLeastOne, Confidence, Categorical, Along]:
    """Return counts, order, head and guidance of the release.

    Tokens are ranked by other draws than those written, with the logits as they are: give
    `Categorical()` as the ranker. Light passes are guided as the stage before: `lagging=True`.

    Args:
        temperature: of the softmax at the last stage; it falls from 1 with the root of the stage.
        noise: of the confidence, falling by group.
        guided: the release's weak guidance, 0.05 to 0.1, which its published scripts leave off.
    """
    order = Confidence(Ramp(noise, 0.0, clock=ByGroup()))
    head = Categorical(Ramp(1.0, temperature, 0.5, EndToEnd()))
    scale = Ramp(1.05, 1.1, clock=EndToEnd()) if guided else Flat(1.0)
    return AtLeastOne(Power(2.5)), order, head, scale
