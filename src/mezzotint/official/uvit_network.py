"""U-ViT's release (baofff/U-ViT, arXiv 2209.12152): names, shapes, and how it samples.

Its ten published models follow two noise processes and were sampled by three solvers, all by the
noise they predict. The arithmetic of its schedules stands in `official/uvit.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from mezzotint import config
from mezzotint.diffusion.betas import ScaledLinearBetas
from mezzotint.diffusion.dpm import DPMSolver, Fast, Nested
from mezzotint.diffusion.exponential import Data, NoiseTarget
from mezzotint.diffusion.grids import Even, Grid, LogSNR
from mezzotint.diffusion.paths import ContinuousVP, DiscreteVP, Path
from mezzotint.diffusion.predictions import Eps
from mezzotint.diffusion.samplers import Sampler
from mezzotint.diffusion.sde import EulerMaruyama, SBDMRate
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.uvit import UViTConfig
from mezzotint.official.ratios import ratio
from mezzotint.official.renames import Renames, State

_STACKS: Final = (
    ("in_blocks.*", "first.*"),
    ("mid_block", "middle"),
    ("out_blocks.*", "last.*"),
)
_BLOCK: Final = (
    ("norm1.*", "norm1.*"),
    ("attn.qkv.*", "attn.qkv.*"),
    ("attn.proj.*", "attn.proj.*"),
    ("norm2.*", "norm2.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
)

RENAMES: Final = Renames(
    "U-ViT",
    (
        ("pos_embed", "positions"),
        ("patch_embed.proj.*", "patches.proj.*"),
        ("time_embed.*.*", "time.*.*"),
        ("label_emb.weight", "label.table.weight"),
        ("context_embed.*", "context.*"),
        *(
            (f"{official}.{theirs}", f"{ours}.{own}")
            for official, ours in _STACKS
            for theirs, own in _BLOCK
        ),
        ("out_blocks.*.skip_linear.*", "joins.*.*"),
        ("norm.*", "norm.*"),
        ("decoder_pred.*", "linear.*"),
        ("final_layer.*", "convolution.*"),
    ),
)


@dataclass(frozen=True)
class Published:
    """How a published model was trained and sampled.

    Attributes:
        path: from data to noise, with the network's clock.
        sampler, grid, steps: how its figures were sampled; `steps` is what the grid is called with.
        scale: of guidance, 1 + s in the release's terms; 1 is without.
    """

    path: Path
    sampler: Sampler
    grid: Grid
    steps: int
    scale: float = 1.0

    @property
    def prediction(self) -> Eps:
        """What the outputs mean: the noise, in every published model."""
        return Eps()


_DISCRETE: Final = DiscreteVP(ScaledLinearBetas(), clock_shift=1.0)
_REVERSE_SDE: Final = Published(
    ContinuousVP(), EulerMaruyama(SBDMRate()), Even(tail=1e-3), steps=1000
)


def _first_solver(scale: float = 1.0) -> Published:
    """DPM-Solver: the noise is integrated, steps evenly spaced in lambda."""
    sampler, grid = DPMSolver(Fast(), NoiseTarget()), Nested(LogSNR(end=1e-4), Fast())
    return Published(ContinuousVP(), sampler, grid, 50, scale)


def _second_solver(scale: float) -> Published:
    """DPM-Solver++: the clean image is integrated, all times evenly spaced in t."""
    return Published(_DISCRETE, DPMSolver(Fast(), Data()), Even(end=1e-3), 50, scale)


PUBLISHED: Final[dict[str, Published]] = {
    "cifar10_uvit_small": _REVERSE_SDE,
    "celeba64_uvit_small": _REVERSE_SDE,
    "imagenet64_uvit_mid": _first_solver(),
    "imagenet64_uvit_large": _first_solver(),
    "imagenet256_uvit_large": _first_solver(1.4),
    "imagenet256_uvit_huge": _second_solver(1.4),
    "imagenet512_uvit_large": _first_solver(1.7),
    "imagenet512_uvit_huge": _second_solver(1.7),
    "mscoco_uvit_small": _second_solver(2.0),
    "mscoco_uvit_small_deep": _second_solver(2.0),
}
"""By the names of the released files."""


def published(name: str) -> Published:
    """Return how a published model was trained and sampled.

    Args:
        name: of its released file, without .pth.

    Raises:
        ConfigError: there is no such model; the nearest names are given.
    """
    if name not in PUBLISHED:
        raise ConfigError(f"no published U-ViT {name!r}; {config.nearest(name, PUBLISHED)}")
    return PUBLISHED[name]


def parts(name: str) -> tuple[Path, Eps]:
    """Return the path and the prediction of a published model, such as imagenet256_uvit_huge."""
    found = published(name)
    return found.path, found.prediction


def sampling(name: str) -> tuple[Sampler, Grid, int]:
    """Return sampler, grid and steps of a published model, such as imagenet256_uvit_huge.

    The release computes in float32, which moves a 10-step result by up to 1.5e-4; with the paths of
    `official/uvit.py` so do we.
    """
    found = published(name)
    return found.sampler, found.grid, found.steps


_HEADS: Final = {size["width"]: size["heads"] for size in UViTConfig.PRESETS.values()}
_NULL_ROW: Final = {1000: False, 1001: True}  # of the published tables, on ImageNet
_TEXT_TOKENS: Final = 77
_DEFAULTS: Final[dict[str, Any]] = {
    "img_size": 224,
    "patch_size": 16,
    "in_chans": 3,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4.0,
    "qkv_bias": False,
    "mlp_time_embed": False,
    "num_classes": -1,
    "conv": True,
    "skip": True,
    "num_clip_token": _TEXT_TOKENS,
}


def _classes(rows: int, *, null_row: bool | None) -> dict[str, Any]:
    """Translate the rows of a class table, none of them if `rows` is not positive."""
    if rows <= 0:
        return {"num_classes": 0, "null_row": False}
    has_null = _NULL_ROW.get(rows) if null_row is None else null_row
    if has_null is None:
        raise ConfigError(
            f"a class table of {rows} rows is of no published U-ViT; say with null_row whether the "
            "last is the null class"
        )
    return {"num_classes": rows - has_null, "null_row": has_null}


def config_of(arguments: Mapping[str, Any], *, null_row: bool | None = None) -> UViTConfig:
    """Translate the arguments of the official constructors, of classes and of text.

    Args:
        arguments: `img_size`, `patch_size`, `in_chans`, `embed_dim`, `depth`, `num_heads`,
            `mlp_ratio`, `qkv_bias`, `mlp_time_embed`, `num_classes`, `conv`, `skip`, and for text
            `clip_dim` and `num_clip_token`; what is missing is as the constructor has it. Others
            change no output.
        null_row: whether the last class is the null class; known for the published 1000 and 1001.

    Raises:
        ConfigError: whether the last class is the null class is neither known nor said.
    """
    given = _DEFAULTS | dict(arguments)
    width = given.get("clip_dim")
    return UViTConfig(
        channels=given["in_chans"],
        size=(given["img_size"], given["img_size"]),
        depth=given["depth"],
        width=given["embed_dim"],
        heads=given["num_heads"],
        patch=given["patch_size"],
        mlp_ratio=given["mlp_ratio"],
        qkv_bias=given["qkv_bias"],
        time_mlp=given["mlp_time_embed"],
        convolution=given["conv"],
        skips=given["skip"],
        context=None if width is None else (given["num_clip_token"], width),
        **_classes(given["num_classes"], null_row=null_row),
    )


def config_from_official(
    state: Mapping[str, Tensor],
    *,
    null_row: bool | None = None,
    heads: int | None = None,
    text_tokens: int = _TEXT_TOKENS,
) -> UViTConfig:
    """Read the shape of a U-ViT off its official tensors; inputs are square, depth is even.

    Args:
        state: official names to tensors.
        null_row: whether the last row of the class table is the null class; known for the
            published 1000 and 1001 rows.
        heads: attention heads; known for the published widths.
        text_tokens: tokens of a text; of a model of classes nothing.

    Raises:
        CheckpointError: the tensors that tell the shape are missing, or the input is not square.
        ConfigError: what shapes cannot tell is neither known nor said.
    """
    try:
        width, channels, patch, _ = state["patch_embed.proj.weight"].shape
        places = state["pos_embed"].shape[1]
        hidden = len(state["mid_block.mlp.fc1.weight"])
    except KeyError as error:
        raise CheckpointError(f"not a U-ViT checkpoint: it has no tensor {error}") from None
    rows = len(state.get("label_emb.weight", ()))
    text = state.get("context_embed.weight")
    heads = heads or _HEADS.get(width)
    if heads is None:
        raise ConfigError(f"width {width} is of no published U-ViT; say how many heads it has")
    patches = places - 1 - (rows > 0) - (0 if text is None else text_tokens)
    side = math.isqrt(max(patches, 0))
    if side < 1 or side**2 != patches:
        raise CheckpointError(f"{places} positions: {patches} of patches do not make a square")
    return UViTConfig(
        channels=channels,
        size=(side * patch, side * patch),
        depth=max(1, 2 * sum(_of(name, "in_blocks", "norm1.weight") for name in state)),
        width=width,
        heads=heads,
        patch=patch,
        mlp_ratio=ratio(hidden, width),
        qkv_bias="mid_block.attn.qkv.bias" in state,
        time_mlp="time_embed.0.weight" in state,
        convolution="final_layer.weight" in state,
        skips=any(_of(name, "out_blocks", "skip_linear.weight") for name in state),
        context=None if text is None else (text_tokens, text.shape[1]),
        **_classes(rows, null_row=null_row),
    )


def _of(name: str, stack: str, tensor: str) -> bool:
    return name.startswith(f"{stack}.") and name.endswith(f".{tensor}")


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)
