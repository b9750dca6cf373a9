"""MaskGIT's release (google-research/maskgit, arXiv 2202.04200): JAX arrays, names, and sampling.

Arrays are named by their path, parts joined by "/"; a leading "params" is dropped. Kernels are
(in, out), and those of attention have an axis for the heads.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.masked.curves import Along, Flat, Ramp
from mezzotint.masked.order import Confidence
from mezzotint.networks.maskgit import MaskGITConfig
from mezzotint.official.fused import fused, parted
from mezzotint.official.renames import Renames, State

_LAYER: Final = "TransformerLayer_*"
_PARTS: Final = ("self_attention.query", "self_attention.key", "self_attention.value")
_WHOLE: Final = "self_attention.qkv"

RENAMES: Final = Renames(
    "MaskGIT",
    (
        ("Embed_0.word_embeddings.weight", "words.weight"),
        ("Embed_0.position_embeddings.weight", "positions.weight"),
        ("Embed_0.embeddings_ln.*", "norm.*"),
        (f"{_LAYER}.Attention_0.self_attention.qkv.*", "blocks.*.attn.qkv.*"),
        (f"{_LAYER}.Attention_0.self_attention.out.*", "blocks.*.attn.proj.*"),
        (f"{_LAYER}.Attention_0.attention_output_ln.*", "blocks.*.norm1.*"),
        (f"{_LAYER}.Mlp_0.intermediate_output.*", "blocks.*.mlp.0.*"),
        (f"{_LAYER}.Mlp_0.layer_output.*", "blocks.*.mlp.2.*"),
        (f"{_LAYER}.Mlp_0.layer_output_ln.*", "blocks.*.norm2.*"),
        ("MlmLayer_0.mlm_dense.*", "head.dense.*"),
        ("MlmLayer_0.mlm_ln.*", "head.norm.*"),
        ("MlmLayer_0.mlm_bias.bias", "head.bias"),
    ),
)

_HEADED: Final = (".query.", ".key.", ".value.")


def config_from_official(
    state: Mapping[str, Tensor], *, codes: int = 1024, size: tuple[int, int] | None = None
) -> MaskGITConfig:
    """Read the shape of a MaskGIT off its arrays.

    Args:
        state: names to arrays.
        codes: entries of the codebook; shapes tell only how many codes and classes there are.
        size: rows and columns of the tokens; a square by default.

    Raises:
        CheckpointError: the arrays that tell the shape are missing.
    """
    plain = _plain(state)
    try:
        rows, width = plain["Embed_0.word_embeddings.embedding"].shape
        places = len(plain["Embed_0.position_embeddings.embedding"])
        heads = plain["TransformerLayer_0.Attention_0.self_attention.query.kernel"].shape[1]
        hidden = plain["TransformerLayer_0.Mlp_0.intermediate_output.kernel"].shape[1]
    except KeyError as error:
        raise CheckpointError(f"not a MaskGIT checkpoint: it has no array {error}") from None
    side = round((places - 1) ** 0.5)
    return MaskGITConfig(
        codes=codes,
        size=size or (side, side),
        num_classes=rows - codes - 1,
        depth=sum(name.endswith("attention_output_ln.bias") for name in plain),
        width=width,
        heads=heads,
        hidden=hidden,
    )


def config_of(arguments: Mapping[str, Any]) -> MaskGITConfig:
    """Translate the arguments of the official constructor.

    Args:
        arguments: `codebook`, `nclass`, `seq`, `hidden`, `layers`, `heads` and `inter`, or the
            names of the released configs: `vocab_size`, `max_position_embeddings`, `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, `intermediate_size`, for 1024 codes.
    """
    codes = arguments.get("codebook", 1024)
    rows = arguments.get("vocab_size", codes + arguments.get("nclass", 1000) + 1)
    places = arguments.get("max_position_embeddings", arguments.get("seq", 256) + 1)
    side = round((places - 1) ** 0.5)
    size = (side, side) if side**2 == places - 1 else (1, places - 1)
    return MaskGITConfig(
        codes=codes,
        size=size,
        num_classes=rows - codes - 1,
        depth=_either(arguments, "layers", "num_hidden_layers"),
        width=_either(arguments, "hidden", "hidden_size"),
        heads=_either(arguments, "heads", "num_attention_heads"),
        hidden=_either(arguments, "inter", "intermediate_size"),
    )


def _either(arguments: Mapping[str, Any], short: str, long: str) -> int:
    value: int = arguments[short] if short in arguments else arguments[long]
    return value


def _plain(state: Mapping[str, Tensor]) -> State:
    return {name.removeprefix("params/").replace("/", "."): t for name, t in state.items()}


def from_official(state: Mapping[str, Tensor]) -> State:
    """Turn the release's arrays into our tensors; strict."""
    plain: State = {}
    for name, array in _plain(state).items():
        if name.endswith(".kernel"):
            headed = any(each in name for each in _HEADED)
            flat = array.flatten(1) if headed else array.flatten(0, -2)
            plain[name.removesuffix("kernel") + "weight"] = flat.T.contiguous()
        elif name.endswith((".scale", ".embedding")):
            plain[name.rpartition(".")[0] + ".weight"] = array
        else:
            plain[name] = array.flatten()
    return RENAMES.to_ours(fused(plain, _PARTS, _WHOLE))


def to_official(state: Mapping[str, Tensor], *, heads: int) -> State:
    """Turn our tensors into the release's arrays; strict.

    Args:
        state: our names to tensors.
        heads: attention heads, which are an axis there.
    """
    result: State = {}
    for name, tensor in parted(RENAMES.to_official(state), _PARTS, _WHOLE).items():
        path, _, last = name.rpartition(".")
        headed = f".{path.rpartition('.')[2]}." in _HEADED
        if last == "bias":
            value = tensor.view(heads, -1) if headed else tensor
        elif "embeddings_ln" in path or path.endswith("_ln"):
            last, value = "scale", tensor
        elif path.endswith("_embeddings"):
            last, value = "embedding", tensor
        else:
            last, value = "kernel", tensor.T.contiguous()
            if headed:
                value = value.view(len(value), heads, -1)
            elif path.endswith(".out"):
                value = value.view(heads, -1, value.shape[1])
        result[f"{path}.{last}".replace(".", "/")] = value
    return result


def hints(config: MaskGITConfig) -> dict[str, Any]:
    """Return what `to_official` has to be told of a network."""
    return {"heads": config.heads}


Share = Callable[[Float[Tensor, ""], Float[Tensor, ""]], Float[Tensor, ""]]
"""From r and the number of tokens, both float32, to the share of them that is masked."""

_SHARES: Final[dict[str, Share]] = {
    "uniform": lambda r, _: 1 - r,
    "cosine": lambda r, _: torch.cos(math.pi / 2 * r),
    "log": lambda r, tokens: -torch.log2(r) / torch.log2(tokens),
    "exp": lambda r, tokens: 1 - torch.exp2(-torch.log2(tokens) * (1 - r)),
}
_POWER: Final = "pow"


def share_of(schedule: str) -> Share:
    """Return a schedule of the release by its name, such as "cosine" or "pow2.5".

    Raises:
        ConfigError: the release does not know it.
    """
    power = schedule.removeprefix(_POWER)
    try:
        return _SHARES[schedule] if power == schedule else _power(float(power))
    except (KeyError, ValueError):
        names = ", ".join(_SHARES)
        raise ConfigError(f"schedule {schedule!r}: expected one of {names}, pow2.5") from None


def _power(power: float) -> Share:
    return lambda r, _: 1 - r**power


@dataclass(frozen=True)
class Schedule:
    """The release's counts: k = max(1, min(masked - 1, floor(total share((s + 1) / T)))).

    It reckons in float32 throughout, so that a floor may come out one less than it should.

    Args:
        share: that is masked.
        start: the first iteration (`start_iter`); those before it reveal nothing. The release edits
            images from the third of 12 on.
    """

    share: Share = _SHARES["cosine"]
    start: int = 0

    def __call__(self, total: int, steps: int) -> tuple[int, ...]:
        """Return the counts.

        Raises:
            ConfigError: there is no iteration left after the start.
        """
        if not 0 <= self.start < steps:
            raise ConfigError(f"start {self.start}: expected 0 to {steps - 1}, of {steps} steps")
        left, tokens = [total] * (1 + self.start), torch.tensor(float(total), dtype=torch.float32)
        for step in range(1 + self.start, steps):
            ratio = torch.tensor(step, dtype=torch.float32) / steps
            wanted = int(tokens * self.share(ratio, tokens).clamp(1e-6, 1.0))
            left.append(min(total, max(1, min(left[-1] - 1, wanted))))
        return tuple(before - after for before, after in pairwise([*left, 0]))


def parts(
    *,
    choice_temperature: float = 4.5,
    guidance: float = 1.0,
    schedule: str = "cosine",
    start: int = 0,
) -> tuple[Schedule, Confidence, Along]:
    """Return counts, order and guidance of the release; it has no guidance, which stays at 1."""
    order = Confidence(Ramp(choice_temperature, 0.0))
    return Schedule(share_of(schedule), start), order, Flat(guidance)
