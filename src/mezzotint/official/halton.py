"""Halton-MaskGIT's release (valeoai/Halton-MaskGIT, ICLR 2025): names, shapes, and its samplers.

A released checkpoint also holds `head.weight`, which is the embedding table once more; the file's
"module." and "_orig_mod." are stripped.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.masked.curves import Along, EndToEnd, Flat, Inverse, Ramp
from mezzotint.masked.heads import Categorical
from mezzotint.masked.order import Confidence, Halton
from mezzotint.masked.plan import Arccos, Revealed
from mezzotint.networks.halton import HaltonConfig
from mezzotint.official.fused import fused, parted
from mezzotint.official.renames import Renames, State

_PARTS: Final = (".attn.wq.", ".attn.wk.", ".attn.wv.")
_WHOLE: Final = ".attn.qkv."

RENAMES: Final = Renames(
    "Halton-MaskGIT",
    (
        ("cls_emb.weight", "labels.weight"),
        ("tok_emb.weight", "words.weight"),
        ("pos_emb.weight", "positions.weight"),
        ("reg_tokens.weight", "registers.weight"),
        ("transformer.layers.*.mlp.1.*", "blocks.*.modulation.linear.*"),
        ("transformer.layers.*.ln1.weight", "blocks.*.norm1.weight"),
        ("transformer.layers.*.attn.qkv.weight", "blocks.*.attn.qkv.weight"),
        ("transformer.layers.*.attn.wo.weight", "blocks.*.attn.proj.weight"),
        ("transformer.layers.*.ln2.weight", "blocks.*.norm2.weight"),
        ("transformer.layers.*.ff.w1.weight", "blocks.*.mlp.gate.weight"),
        ("transformer.layers.*.ff.w2.weight", "blocks.*.mlp.down.weight"),
        ("transformer.layers.*.ff.w3.weight", "blocks.*.mlp.up.weight"),
        ("last_norm.norm_final.weight", "norm.weight"),
        ("last_norm.norm_final.bias", "shift"),
        ("last_norm.mlp.1.*", "modulation.linear.*"),
        ("head.bias", "bias"),
    ),
)

_LINEAR: Final = "linear"  # how the confidence sampler's noise fades

Share = Callable[[Float[Tensor, "t"]], Float[Tensor, "t"]]

SHARES: Final[dict[str, Share]] = {
    "arccos": lambda r: 1 - torch.arccos(r) / (math.pi / 2),
    "cosine": lambda r: 1 - torch.cos(math.pi / 2 * r),
    "linear": lambda r: r,
    "root": torch.sqrt,
    "square": torch.square,
}
"""By the release's `sched_mode`, from ratios to the share of tokens that is known."""


@dataclass(frozen=True)
class Early(Revealed):
    """Counts of the confidence sampler, in float32 throughout as in the release.

        known = max(s + 1, floor(total share(s / (T - 1))))

    A floor may come out one less than it should, and elsewhere than if r alone were rounded.

    Args:
        share: of tokens that is known.
    """

    share: Share = SHARES["arccos"]

    def known(self, total: int, steps: int) -> list[int]:
        """Return how many tokens are to be known after each step, however few that may be."""
        ratios = torch.linspace(0.0, 1.0, steps, dtype=torch.float32)
        return [*(self.share(ratios) * total).int().tolist()[:-1], total]


def config_of(arguments: Mapping[str, Any]) -> HaltonConfig:
    """Translate the arguments of the official constructor.

    Raises:
        ConfigError: `proj` is not 1; with others the release itself fails.
    """
    if arguments.get("proj", 1) != 1:
        raise ConfigError(f"proj {arguments['proj']}: the release runs with 1 alone")
    side = arguments["input_size"]
    return HaltonConfig(
        codes=arguments["codebook_size"],
        size=(side, side),
        num_classes=arguments.get("nclass", 1000),
        depth=arguments["depth"],
        width=arguments["hidden_dim"],
        heads=arguments["heads"],
        mlp=arguments.get("mlp_dim"),
        registers=arguments.get("register", 1),
    )


_HEADS: Final = {size["width"]: size["heads"] for size in HaltonConfig.PRESETS.values()}


def config_from_official(state: Mapping[str, Tensor], *, heads: int | None = None) -> HaltonConfig:
    """Read the shape of a Halton-MaskGIT off its tensors; images are square.

    Args:
        state: official names to tensors.
        heads: attention heads; known for the published widths.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
        ConfigError: the number of heads is not known for this width.
    """
    state = _plain(state)
    try:
        rows, width = state["tok_emb.weight"].shape
        side = math.isqrt(len(state["pos_emb.weight"]))
        classes = len(state["cls_emb.weight"]) - 1
        hidden = len(state["transformer.layers.0.ff.w1.weight"])
    except KeyError as error:
        raise CheckpointError(f"not a Halton-MaskGIT checkpoint: it has no {error}") from None
    heads = heads or _HEADS.get(width)
    if heads is None:
        raise ConfigError(f"width {width} is of no published Halton-MaskGIT; say how many heads")
    return HaltonConfig(
        codes=rows - 1,
        size=(side, side),
        num_classes=classes,
        depth=sum(name.endswith(".ff.w1.weight") for name in state),
        width=width,
        heads=heads,
        mlp=None if hidden == HaltonConfig.wide(4 * width) else hidden * 3 // 2,
        registers=len(state.get("reg_tokens.weight", ())),
    )


def _plain(state: Mapping[str, Tensor]) -> State:
    """Strip what wrappers have put before the names, and the table's second name."""
    plain = {
        name.removeprefix("module.").removeprefix("_orig_mod."): tensor
        for name, tensor in state.items()
    }
    plain.pop("head.weight", None)
    return plain


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict, but for `head.weight`, which is the table again."""
    return RENAMES.to_ours(fused(_plain(state), _PARTS, _WHOLE))


def to_official(state: Mapping[str, Tensor], *, tied: bool = False) -> State:
    """Rename our tensors to the official names; strict.

    Args:
        state: our names to tensors.
        tied: also write the table as `head.weight`, as released files have it.
    """
    result = parted(RENAMES.to_official(state), _PARTS, _WHOLE)
    return result | ({"head.weight": result["tok_emb.weight"]} if tied else {})


def confident(
    arguments: Mapping[str, Any],
) -> tuple[Revealed, Confidence, Categorical, Along]:
    """Translate the settings of the confidence sampler: counts, order, head and guidance.

    Its tokens may be drawn as the mask, and are then drawn again: use `again=True`.

    Args:
        arguments: `sm_temp`, which multiplies logits, `w`, `randomize`, `r_temp`, `sched_mode`.

    Raises:
        ConfigError: a `sched_mode` that the release does not know, or a `randomize` that is not
            "linear": what others do is not specified.
    """
    mode, weight = arguments.get("sched_mode", "arccos"), arguments.get("w", 0.0)
    if mode not in SHARES:
        raise ConfigError(f"sched_mode {mode!r}: expected one of {', '.join(SHARES)}")
    if (kind := arguments.get("randomize", _LINEAR)) != _LINEAR:
        raise ConfigError(
            f"randomize {kind!r}: of the confidence sampler only {_LINEAR!r} is known"
        )
    noise = Ramp(arguments.get("r_temp", 4.5), 0.0, clock=EndToEnd())
    head = Categorical(Inverse(Flat(arguments.get("sm_temp", 1.0))))
    scale = Ramp(1.0, 1.0 + weight, clock=EndToEnd())
    return Early(share=SHARES[mode]), Confidence(noise), head, scale


def visiting(
    arguments: Mapping[str, Any], size: tuple[int, int]
) -> tuple[Revealed, Halton, Categorical, Along]:
    """Translate the settings of the Halton sampler: counts, order, head and guidance.

    Args:
        arguments: `sm_temp_min`, `sm_temp_max`, `temp_pow`, `temp_warmup`, `w`, `randomize`,
            `top_k`; `sched_pow` is accepted and never used, as in the release.
        size: rows and columns of the tokens.
    """
    low, high = arguments.get("sm_temp_min", 1.0), arguments.get("sm_temp_max", 1.0)
    sharp = Ramp(low, high, clock=EndToEnd())
    power, warmup = arguments.get("temp_pow", 1.0), arguments.get("temp_warmup", 0)
    top = arguments.get("top_k", -1)
    head = Categorical(Inverse(sharp, power, warmup), top=top if top > 0 else None)
    order = Halton(size, roll=arguments.get("randomize", False))
    return Revealed(Arccos()), order, head, Flat(1.0 + arguments.get("w", 0.0))
