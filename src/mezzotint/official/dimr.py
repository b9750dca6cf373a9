"""DiMR's release (qihao067/DiMR, arXiv 2406.09416): names, shapes, and how it trains and samples.

The released models make 256 px ImageNet in latents of 4 x 32 x 32, on Stable Diffusion's chain. It
was sampled by DPM-Solver++ of order 3, 250 evaluations. Its weight decay of 0.03 spares only slopes
and shifts; ours spares every vector, and so those too.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.diffusion.betas import ScaledLinearBetas
from mezzotint.diffusion.dpm import DPMSolver
from mezzotint.diffusion.grids import Even
from mezzotint.diffusion.guidance import Constant, PowerCosine, Scale
from mezzotint.diffusion.multiscale import MultiScale
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.dimr import DiMRConfig
from mezzotint.networks.dimr_branches import BranchConfig, ConvolutionBranch, TransformerBranch
from mezzotint.nn.norm import RMS, FirstRMS, Norm, TimeLayer, TimeRMS
from mezzotint.official.renames import Renames, State

_TIMED: Final = (
    ("param0", "upper"),
    ("param1", "lower"),
    ("nodecay_weight", "slope"),
    ("nodecay_bias", "shift"),
)
_NORMS: Final = (
    ("upsample.0", "rise.norm1"),
    ("upsample.2", "rise.norm2"),
    ("output_layer.0", "norm"),
    ("blocks.*.block1.norm", "blocks.*.norm1"),
    ("blocks.*.block2.norm", "blocks.*.norm2"),
)
_PLAIN: Final = (
    ("input_layer.1.*", "patches.proj.*"),
    ("input_layer.3.position_embeddings.weight", "positions"),
    ("upsample.1.kernel.*", "rise.linear.*"),
    ("output_layer.2.*", "head.*"),
    ("skip_denses.*.*", "skips.*.*"),
    ("blocks.*.block1.query_key_value.weight", "blocks.*.attn.qkv.weight"),
    ("blocks.*.block1.dense.*", "blocks.*.attn.proj.*"),
    ("blocks.*.block1.qk_norm.scale", "blocks.*.attn.scale"),
    ("blocks.*.block1.pos_emb.freqs_h", "blocks.*.attn.rotation.rows"),
    ("blocks.*.block1.pos_emb.freqs_w", "blocks.*.attn.rotation.columns"),
    ("pos_emb.freqs_h", "unread.rows"),
    ("pos_emb.freqs_w", "unread.columns"),
    ("blocks.*.block1.1.*", "blocks.*.spread.*"),
    ("blocks.*.block2.w0.*", "blocks.*.mlp.gate.*"),
    ("blocks.*.block2.w1.*", "blocks.*.mlp.up.*"),
    ("blocks.*.block2.w2.*", "blocks.*.mlp.down.*"),
    *((f"blocks.*.block{k}.norm.scale", f"blocks.*.norm{k}.scale") for k in (1, 2)),
    *((f"blocks.*.block{k}.norm.linear.*", f"blocks.*.norm{k}.linear.*") for k in (1, 2)),
)

RENAMES: Final = Renames(
    "DiMR",
    (
        ("stages.0.class_embeds.weight", "label.table.weight"),
        *((f"stages.*.{theirs}", f"branches.*.{ours}") for theirs, ours in _PLAIN),
        *(
            (f"stages.*.{theirs}.*.{value}", f"branches.*.{ours}.*.{name}")
            for theirs, ours in _NORMS
            for value, name in _TIMED
        ),
    ),
)

NORMS: Final[Mapping[str, Norm]] = {
    "LN": TimeLayer(),
    "TDRMSN": TimeRMS(),
    "RMSN": RMS(),
    "ADARMSN": FirstRMS(),
}
"""The release's `norm_type`. The last is not used: beyond the transformer it makes no sense."""

SAMPLER: Final = DPMSolver()
GRID: Final = Even(end=1e-3)
STEPS: Final = 250  # evaluations; those with guidance are two forward passes each
SCALE: Final = 0.4  # the config's, 1.4 here; which one the published figures took is stated nowhere

_HEADS: Final = {
    preset["branches"][0].width: preset["branches"][0].heads
    for preset in DiMRConfig.PRESETS.values()
}
_NAMED: Final = (
    ("weight.param0", TimeLayer()),
    ("scale.param0", TimeRMS()),
    ("scale", RMS()),
    ("linear.weight", FirstRMS()),
)


def parts() -> tuple[DiscreteVP, MultiScale]:
    """Return the path, whose network time is n = 1 ... 1000, and the prediction of the release."""
    return DiscreteVP(ScaledLinearBetas(), clock_shift=1.0), MultiScale()


def guidance(scale: float = -1.0, power: float = -1.0) -> Scale:
    """Translate the release's `cfg_scale` and `cfg_scale_pow`.

    A negative power is a constant scale of 1 + `scale`; a positive one rises from 1 to `scale`
    along a cosine; 0, or a scale of 0, is none.

    Args:
        scale: -1 is the config's 0.4; below 1 at a constant scale, and from 1 on under a power.
        power: of the cosine.

    Raises:
        ConfigError: the release refuses this pair as well.
    """
    scale = SCALE if scale == -1 else scale
    if power == 0 or scale <= 0:
        return Constant(1.0)
    if (power < 0) != (scale < 1):
        raise ConfigError(
            f"cfg_scale {scale} with cfg_scale_pow {power}: expected a scale below 1 with a "
            "negative power, or one from 1 on with a positive power"
        )
    return Constant(1 + scale) if power < 0 else PowerCosine(scale, power)


def config_of(arguments: Mapping[str, Any], *, null_row: bool = True) -> DiMRConfig:
    """Translate the release's `nnet` settings, in which even numbers of blocks mean one more.

    Args:
        arguments: `channels`, `num_classes`, `norm_type`, `pe_type`, `block_grad_to_lowres` and
            `stage_configs`; all but the first and the last may be missing.
        null_row: whether the last of the classes is the null class, as in all released models.
    """
    stages = arguments["stage_configs"]
    rotary = arguments.get("pe_type", "APE") == "Axial_RoPE"
    last = stages[-1]
    cell = last["image_input_ratio"] * last["input_feature_ratio"]
    rows = arguments.get("num_classes") or 0
    return DiMRConfig(
        channels=arguments["channels"],
        size=(last["max_height"] * cell, last["max_width"] * cell),
        num_classes=rows - null_row if rows else 0,
        branches=tuple(_branch(stage, rotary=rotary) for stage in stages),
        norm=NORMS[arguments.get("norm_type", "LN")],
        null_row=null_row,
        block_gradient=arguments.get("block_grad_to_lowres", False),
    )


def _branch(stage: Mapping[str, Any], *, rotary: bool) -> BranchConfig:
    shared: dict[str, Any] = {
        "width": stage["dim"],
        "depth": stage["num_blocks"] // 2 * 2 + 1,
        "patch": stage["input_feature_ratio"],
        "shrink": stage["image_input_ratio"],
        "mlp_ratio": stage["hidden_dim"] / stage["dim"],
        "head_kernel": stage["final_kernel_size"],
    }
    if stage["block_type"] == "TransformerBlock":
        return TransformerBranch(**shared, heads=stage["num_attention_heads"], rotary=rotary)
    return ConvolutionBranch(**shared, kernel=stage["kernel_size"])


def config_from_official(
    state: Mapping[str, Tensor], *, null_row: bool = True, heads: int | None = None
) -> DiMRConfig:
    """Read the shape of a DiMR off its official tensors; inputs are square.

    Args:
        state: official names to tensors.
        null_row: whether the last row of the class table is the null class. It is, in the
            released weights; shapes cannot tell.
        heads: attention heads; known for the published widths.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
        ConfigError: the number of heads is not known for this width.
    """
    try:
        return _read(state, null_row=null_row, heads=heads)
    except KeyError as error:
        raise CheckpointError(f"not a DiMR checkpoint: it has no tensor {error}") from None


def _read(state: Mapping[str, Tensor], *, null_row: bool, heads: int | None) -> DiMRConfig:
    patches = _each(state, "input_layer.1.weight")
    rises = _each(state, "upsample.1.kernel.weight", first=1)
    ratios = [
        math.isqrt(len(kernel) // len(patch))
        for kernel, patch in zip(rises, patches[1:], strict=True)
    ]
    last = patches[-1].shape[-1]
    cells = [last * math.prod(ratios[r:]) for r in range(len(patches))]
    places = state[f"stages.{len(ratios)}.input_layer.3.position_embeddings.weight"]
    side = math.isqrt(len(places)) * last
    rows = len(state.get("stages.0.class_embeds.weight", ()))
    return DiMRConfig(
        channels=patches[0].shape[1],
        size=(side, side),
        num_classes=rows - null_row if rows else 0,
        branches=tuple(_read_branch(state, r, cell, heads) for r, cell in enumerate(cells)),
        norm=_read_norm(state),
        null_row=null_row,
    )


def _each(state: Mapping[str, Tensor], name: str, *, first: int = 0) -> list[Tensor]:
    """Return a tensor of every branch from `first` on; branch `first` must have it."""
    count = sum(each.endswith(name) for each in state)
    return [state[f"stages.{r}.{name}"] for r in range(first, max(1, first + count))]


def _read_branch(
    state: Mapping[str, Tensor], index: int, cell: int, heads: int | None
) -> BranchConfig:
    """Read a branch whose places are `cell` pixels wide; its input is shrunk to fit its patches."""
    stage = f"stages.{index}"
    width, _, patch, _ = state[f"{stage}.input_layer.1.weight"].shape
    hidden = len(state[f"{stage}.blocks.0.block2.w0.weight"])
    shared: dict[str, Any] = {
        "width": width,
        "depth": sum(
            name.startswith(f"{stage}.blocks.") and name.endswith("w2.bias") for name in state
        ),
        "patch": patch,
        "shrink": cell // patch,
        "mlp_ratio": hidden / width,
        "head_kernel": state[f"{stage}.output_layer.2.weight"].shape[-1],
    }
    if f"{stage}.blocks.0.block1.dense.weight" not in state:
        kernel = state[f"{stage}.blocks.0.block1.1.weight"].shape[-1]
        return ConvolutionBranch(**shared, kernel=kernel)
    rotary_heads = len(state.get(f"{stage}.blocks.0.block1.qk_norm.scale", ()))
    known = rotary_heads or heads or _HEADS.get(width)
    if known is None:
        raise ConfigError(f"width {width} is of no published DiMR; say how many heads it has")
    return TransformerBranch(**shared, heads=known, rotary=rotary_heads > 0)


def _read_norm(state: Mapping[str, Tensor]) -> Norm:
    stem = "stages.0.blocks.0.block2.norm"
    for name, made in _NAMED:
        if f"{stem}.{name}" in state:
            return made
    raise KeyError(f"{stem}.scale")


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename official tensors to ours; strict."""
    return RENAMES.to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the official names; strict."""
    return RENAMES.to_official(state)
