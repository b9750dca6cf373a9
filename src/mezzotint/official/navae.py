"""NaVAE's names, after the JAX code of philippe-eecs/vitok: paths of a tree, kernels [in, out].

Two kinds of towers were written: one whose heads share keys, with separate projections, and an
older one, whose kernels have an axis for the heads.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.nn.resample import Lanczos, Triangle
from mezzotint.official.renames import Renames, State
from mezzotint.tokenizers.navae import NaVAEConfig
from mezzotint.tokenizers.vitok_parts import Half

_HEADS: Final = "MultiHeadDotProductAttention_0"
_SHARED: Final = "FlashGQAAttention_0"
_LEAVES: Final = {"kernel": "weight", "scale": "weight"}
_SHARED_ROWS: Final = tuple(
    (f"{_SHARED}.{each}_proj.*", f"attn.{each}.*") for each in ("q", "k", "v", "out")
)
_PLAIN_ROWS: Final = tuple(
    (f"{_HEADS}.{theirs}.*", f"attn.{ours}.*")
    for theirs, ours in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out"))
)
_MLPS: Final = (
    ("T5_MLP_0.Dense_0.weight", "mlp.gate.weight"),
    ("T5_MLP_0.Dense_1.weight", "mlp.value.weight"),
    ("T5_MLP_0.Dense_2.weight", "mlp.project.weight"),
    ("MlpBlock_0.Dense_0.*", "mlp.0.*"),
    ("MlpBlock_0.Dense_1.*", "mlp.2.*"),
)
_NORMS: Final = (("LayerNorm_0.*", "norm1.*"), ("LayerNorm_1.*", "norm2.*"))
_WINDOW: Final = (128, 128)
_CANVAS: Final = 256
"""Places that the older towers resample their tables to; others keep to the table."""
_TOWERS: Final = {"img": "encoder", "decoder_image": "decoder"}


def _renames(attention: tuple[tuple[str, str], ...]) -> Renames:
    rows = [("Dense_0.*", "to_code.*"), ("final_proj.*", "pixels.*"), ("t", "t"), ("b", "b")]
    for theirs, ours in _TOWERS.items():
        rows += [
            (f"{theirs}.Transformer.encoder.*.{a}", f"{ours}.blocks.*.{b}")
            for a, b in (*_NORMS, *attention, *_MLPS)
        ]
        rows += [
            (f"{theirs}.Transformer.encoder_norm.*", f"{ours}.norm.*"),
            (f"{theirs}.embedding.*", f"{ours}.embed.*"),
            (f"{theirs}.pos_embedding", f"{ours}.positions"),
        ]
    return Renames("NaVAE", tuple(rows))


SHARED: Final = _renames(_SHARED_ROWS)
PLAIN: Final = _renames(_PLAIN_ROWS)


def config_of(arguments: Mapping[str, Any]) -> NaVAEConfig:
    """Translate the arguments of the release's model.

    Args:
        arguments: `channel_dim`, `patch_size`, and for `image` and `decoder_image` the `width`,
            `depth`, `num_heads`, `nposemb`, `kv_groups` and `local_ws` of a tower.

    Raises:
        ConfigError: the towers differ in more than their size, or look further one way.
    """
    image = arguments["image"]
    for key in ("nposemb", "kv_groups", "local_ws", "use_t5_mlp"):
        ours, theirs = image.get(key), arguments["decoder_image"].get(key)
        if ours != theirs:
            raise ConfigError(f"{key}: {ours} and {theirs}; expected the same in both towers")
    shared = "gqa" in arguments.get("image_model", "gqa")
    encoder, decoder = (
        Half(width=tree["width"], depth=tree["depth"], heads=tree["num_heads"])
        for tree in (image, arguments["decoder_image"])
    )
    before, after = (image.get("local_ws", _WINDOW) if shared else None) or (None, None)
    if before != after:
        raise ConfigError(f"local_ws: {before} and {after}; expected the same to both sides")
    return NaVAEConfig(
        latent_channels=arguments["channel_dim"],
        patch=arguments["patch_size"],
        places=image["nposemb"],
        groups=image.get("kv_groups", 2) if shared else 1,
        canvas=None if shared else _CANVAS,
        window=before,
        gated=image.get("use_t5_mlp", shared),
        resample=Lanczos() if shared else Triangle(),
        encoder=encoder,
        decoder=decoder,
    )


def config_from_official(
    state: Mapping[str, Tensor], *, heads: tuple[int, int], window: int | None = 128
) -> NaVAEConfig:
    """Read the shape of a NaVAE off its official tensors.

    Args:
        state: official paths to tensors.
        heads: heads of queries of encoder and decoder.
        window: how far a token looks, for towers whose heads share keys.

    Raises:
        CheckpointError: tensors that tell the shape are missing.
    """
    shared = _of_shared(state)
    try:
        pixels, wide = state["img/embedding/kernel"].shape
        values, deep = state["decoder_image/embedding/kernel"].shape
        places = len(state["img/pos_embedding"])
        key = f"img/Transformer/encoderblock_0/{_SHARED}/k_proj/kernel"
        groups = wide // state[key].shape[1] if shared else 1
    except KeyError as error:
        raise CheckpointError(f"not a NaVAE: it has no tensor {error}") from None
    depths = [
        len({n.split("/")[2] for n in state if n.startswith(f"{tower}/Transformer/encoderblock_")})
        for tower in _TOWERS
    ]
    return NaVAEConfig(
        latent_channels=values,
        patch=round((pixels / 3) ** 0.5),
        encoder=Half(width=wide, depth=depths[0], heads=heads[0]),
        decoder=Half(width=deep, depth=depths[1], heads=heads[1]),
        places=places,
        canvas=None if shared else _CANVAS,
        groups=groups,
        window=window if shared else None,
        gated=any("/T5_MLP_0/" in path for path in state),
        resample=Lanczos() if shared else Triangle(),
        bias="b" in state,
    )


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename and turn official tensors to ours; strict."""
    turned = {_dotted(path): _flat(path, tensor) for path, tensor in state.items()}
    return (SHARED if _of_shared(state) else PLAIN).to_ours(turned)


def to_official(state: Mapping[str, Tensor], config: NaVAEConfig) -> State:
    """Rename and turn our tensors to the official ones; strict."""
    shared = config.groups > 1 or config.window is not None or config.resample != Triangle()
    renamed = (SHARED if shared else PLAIN).to_official(state)
    found: State = {}
    for name, tensor in renamed.items():
        norm = "LayerNorm_" in name or "encoder_norm" in name
        leaf = "scale" if norm else "kernel"
        path = re.sub(r"Transformer\.encoder\.(\d+)", r"Transformer.encoderblock_\1", name)
        path = re.sub(r"\.weight$", f".{leaf}", path).replace(".", "/")
        heads = (config.encoder if path.startswith("img/") else config.decoder).heads
        found[path] = _with_heads(path, tensor if norm or tensor.dim() != 2 else tensor.T, heads)
    return found


def _of_shared(state: Mapping[str, Tensor]) -> bool:
    return any(f"/{_SHARED}/" in path for path in state)


def _dotted(path: str) -> str:
    *parents, leaf = path.split("/")
    name = ".".join([*parents, _LEAVES.get(leaf, leaf)])
    return re.sub(r"encoderblock_(\d+)", r"encoder.\1", name)


def _flat(path: str, tensor: Tensor) -> Tensor:
    """Turn a kernel, and put its heads side by side."""
    if f"/{_HEADS}/" in path and tensor.dim() > 1:
        if path.endswith("/bias"):
            return tensor.flatten()
        tensor = tensor.flatten(0, 1) if "/out/" in path else tensor.flatten(1)
    return tensor.T if path.endswith("/kernel") else tensor


def _with_heads(path: str, tensor: Tensor, heads: int) -> Tensor:
    """Give a kernel of the older towers its axis of heads again."""
    if f"/{_HEADS}/" not in path:
        return tensor.contiguous()
    if "/out/" in path:
        return (tensor.unflatten(0, (heads, -1)) if tensor.dim() > 1 else tensor).contiguous()
    return tensor.unflatten(-1, (heads, -1)).contiguous()


__all__ = [
    "PLAIN",
    "SHARED",
    "config_from_official",
    "config_of",
    "from_official",
    "to_official",
]
