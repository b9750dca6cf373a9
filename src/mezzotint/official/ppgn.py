"""PPGN's names and shapes: its generator, and CaffeNet, which encodes and judges.

Caffe keeps a layer's weight and bias as blobs 0 and 1 under the layer's name; here they are
`<layer>.weight` and `<layer>.bias`. No blob is transposed. The files are BGR without the mean.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mezzotint.errors import CheckpointError
from mezzotint.networks.upconvolution import UpconvolutionConfig
from mezzotint.official.renames import Renames, State

_LINEAR: Final = 3
_PLACES: Final = 4  # rows and columns of the first map


def config_of(arguments: Mapping[str, Any]) -> UpconvolutionConfig:
    """Translate the widths of a released generator.

    Args:
        arguments: `code_dim`, `fc_width`, `c0`, and `channels` of all transposed convolutions in
            their order: three stages of two layers, then stages of one.
    """
    refined, single = arguments["channels"][:6], arguments["channels"][6:]
    stages = [*zip(refined[::2], refined[1::2], strict=True), *((c, 0) for c in single[:-1])]
    side = _PLACES * 2 ** (len(stages) + 1)
    return UpconvolutionConfig(
        code=arguments["code_dim"],
        channels=single[-1],
        size=(side, side),
        hidden=(arguments["fc_width"],) * (_LINEAR - 1),
        first=arguments["c0"],
        stages=(*stages, (0, 0)),
    )


def config_from_official(state: Mapping[str, Tensor]) -> UpconvolutionConfig:
    """Read the shape of a generator off its official tensors; the first map is square.

    Raises:
        CheckpointError: the tensors that tell the shape are missing.
    """
    try:
        last = len(_doublings(state)) - 1
        names = [f"deconv{k}.weight" for k in range(last, -1, -1)]
        widths = [state[name].shape[1] for name in names]
        finer = [state.get(f"conv{k}_1.weight") for k in range(last, -1, -1)]
        refined = [0 if weight is None else weight.shape[1] for weight in finer]
        first = state[names[0]].shape[0]
        places = round((state["defc5.weight"].shape[0] / first) ** 0.5)
        side = places * 2 ** len(widths)
        return UpconvolutionConfig(
            code=state["defc7.weight"].shape[1],
            channels=widths[-1],
            size=(side, side),
            hidden=(len(state["defc7.weight"]), len(state["defc6.weight"])),
            first=first,
            stages=(*zip(widths[:-1], refined[:-1], strict=True), (0, 0)),
        )
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"not the tensors of a PPGN generator: {error} is missing; expected defc7 to deconv0"
        ) from None


def from_official(state: Mapping[str, Tensor]) -> State:
    """Rename a generator's official tensors to ours; strict."""
    return _renames(len(_doublings(state))).to_ours(state)


def to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our generator's tensors to the official names; strict."""
    return _renames(len({name for name in state if ".up.w" in name})).to_official(state)


def _doublings(state: Mapping[str, Tensor]) -> list[str]:
    return [name for name in state if re.fullmatch(r"deconv\d+\.weight", name)]


def _renames(stages: int) -> Renames:
    """Return the table of a generator; the release counts stages from the image inwards."""
    rows = [(f"defc{7 - k}.*", f"linear.{k}.*") for k in range(_LINEAR)]
    for k in range(stages):
        rows.append((f"deconv{stages - 1 - k}.*", f"stages.{k}.up.*"))
        rows.append((f"conv{stages - 1 - k}_1.*", f"stages.{k}.refine.*"))
    return Renames("PPGN's generator", tuple(rows))


def caffenet_from_official(state: Mapping[str, Tensor]) -> State:
    """Rename CaffeNet's tensors (conv1 to fc8; Places205's are the same) to ours; strict."""
    return _caffenet(sum(bool(re.fullmatch(r"conv\d+\.weight", n)) for n in state)).to_ours(state)


def caffenet_to_official(state: Mapping[str, Tensor]) -> State:
    """Rename our CaffeNet's tensors to the official names; strict."""
    found = sum(n.startswith("convolutions.") and n.endswith(".weight") for n in state)
    return _caffenet(found).to_official(state)


def _caffenet(convolutions: int) -> Renames:
    """Return the table of a CaffeNet: two hidden layers and the head follow the convolutions."""
    rows = [(f"conv{k + 1}.*", f"convolutions.{k}.0.*") for k in range(convolutions)]
    linear = ("hidden.0", "hidden.1", "head")
    rows += [(f"fc{convolutions + 1 + k}.*", f"{name}.*") for k, name in enumerate(linear)]
    return Renames("CaffeNet", tuple(rows))


__all__ = [
    "caffenet_from_official",
    "caffenet_to_official",
    "config_from_official",
    "config_of",
    "from_official",
    "to_official",
]
