"""Adapters on disk, in peft's format: adapter_config.json and adapter_model.safetensors.

Low-rank matrices, biases and norms go under the names that peft 0.21 reads back (LORA, bias "all",
the norms as modules_to_save). PPAP's own form of convolutions is none of peft's: its files say so
by another peft_type, which peft refuses.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import config
from mezzotint.checkpoint import read_tensors
from mezzotint.errors import CheckpointError
from mezzotint.files import replace_file
from mezzotint.networks.adapters import NORMS, AdapterConfig
from mezzotint.nn.lowrank import BlockConv, LowRank, LowRankLinear

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."


def write(
    folder: Path,
    network: nn.Module,
    adapter: AdapterConfig,
    tensors: Mapping[str, Tensor],
    base: str,
) -> None:
    """Write what belongs to one expert.

    Args:
        folder: made if it is missing.
        network: the adapted network.
        adapter: its placement.
        tensors: what belongs to the expert, by the network's names.
        base: where the frozen network is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ready = {to_peft(name): tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(folder / WEIGHTS, lambda draft: save_file(ready, draft, metadata={"format": "pt"}))
    config.write_json(folder / CONFIG, description(network, adapter, base))


def description(network: nn.Module, adapter: AdapterConfig, base: str) -> dict[str, Any]:
    """Return peft's config of an adapted network."""
    layers = {name: each for name, each in network.named_modules() if isinstance(each, LowRank)}
    foreign = any(
        isinstance(each, BlockConv) and each.base.kernel_size != (1, 1) for each in layers.values()
    )
    linear = [name for name, each in layers.items() if isinstance(each, LowRankLinear)]
    scale = adapter.scale if adapter.linear_scale is None else adapter.linear_scale
    other = dict.fromkeys(linear, scale * adapter.rank) if scale != adapter.scale else {}
    norms = [name for name, each in network.named_modules() if isinstance(each, NORMS)]
    return {
        "peft_type": "PPAP" if foreign else "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "all",
        "fan_in_fan_out": False,
        "target_modules": list(layers),
        "modules_to_save": norms or None,
        "alpha_pattern": other,
        "rank_pattern": {},
    }


def read(folder: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read what belongs to one expert.

    Args:
        folder: with both files.
        wanted: what belongs to an expert of this network, whose shapes must be met.

    Raises:
        CheckpointError: a file is missing or damaged, or is of another network.
    """
    try:
        json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG}: cannot be read ({error})") from None
    tensors, _ = read_tensors(folder / WEIGHTS)
    found = {from_peft(name): tensor for name, tensor in tensors.items()}
    for name in wanted.keys() | found.keys():
        if name not in found or name not in wanted or found[name].shape != wanted[name].shape:
            raise CheckpointError(
                f"{folder}: {name} does not fit the network that these experts are of; "
                "expected adapters of this very classifier"
            )
    return found


def to_peft(name: str) -> str:
    """Return peft's name of a tensor of an adapted network."""
    if name.endswith((".lora_A", ".lora_B")):
        return f"{_PREFIX}{name}.weight"
    return _PREFIX + name.replace(".base.", ".base_layer.")


def from_peft(name: str) -> str:
    """Return the name of a tensor of peft's in an adapted network; undoes `to_peft`."""
    inside = name.removeprefix(_PREFIX)
    if inside.endswith((".lora_A.weight", ".lora_B.weight")):
        return inside.removesuffix(".weight")
    return inside.replace(".base_layer.", ".base.")


__all__ = ["CONFIG", "WEIGHTS", "description", "from_peft", "read", "to_peft", "write"]
