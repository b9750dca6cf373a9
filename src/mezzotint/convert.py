"""One network made of another: a LiT that inherits from a trained DiT.

Every tensor of the teacher is copied but those of its attention; the student's own attention starts
fresh. The gates around it are the teacher's, open already, so the loss jumps at first: that is
meant. LiT, arXiv 2501.12976, the fourth of its rules. The projections of attention can be copied
too, which is worse after a long training, by the paper, and better in a short one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.config import build
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.kinds import kind_of
from mezzotint.networks.dit import DiT, DiTConfig
from mezzotint.networks.lit import HEADS, LiT, LiTConfig

QKV, CONVOLUTION = ".attn.qkv.", ".attn.conv."


@dataclass(frozen=True)
class Inheritance:
    """What a student has of its teacher.

    Attributes:
        inherited: names of the tensors that were copied.
        fresh: names of the student's tensors that the teacher did not give.
        dropped: names of the teacher's tensors that the student did not take.
    """

    inherited: tuple[str, ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]

    def words(self) -> list[str]:
        """Return the same for a person, a line each."""
        count = len(self.inherited) + len(self.fresh)
        return [
            f"inherited {len(self.inherited)} of {count} tensors: {_grouped(self.inherited)}",
            f"fresh {len(self.fresh)}: {_grouped(self.fresh)}",
            f"dropped {len(self.dropped)} of the teacher's: {_grouped(self.dropped)}",
        ]


def inherit(
    teacher: Mapping[str, Tensor], fresh: Mapping[str, Tensor], *, attention: bool = False
) -> tuple[dict[str, Tensor], Inheritance]:
    """Return a student's tensors: the teacher's, but for attention, which stays fresh.

    Args:
        teacher: tensors of the teacher.
        fresh: tensors of the freshly initialised student.
        attention: copy the projections of attention too, and start its convolution from 0, so that
            the student begins as near to the teacher as it can.

    Raises:
        CheckpointError: the student needs a tensor outside of attention that the teacher lacks.
    """
    given = {name: tensor for name, tensor in teacher.items() if not _of_attention(name)}
    if attention:
        given |= _projections(teacher)
        fresh = {n: torch.zeros_like(x) if CONVOLUTION in n else x for n, x in fresh.items()}
    for name, tensor in fresh.items():
        found = given.get(name)
        if not _of_attention(name) and (found is None or found.shape != tensor.shape):
            size = "nothing" if found is None else tuple(found.shape)
            raise CheckpointError(
                f"{name}: the student needs {tuple(tensor.shape)}, the teacher has {size}; "
                "they must be equal but for attention"
            )
    record = Inheritance(
        inherited=tuple(name for name in fresh if name in given),
        fresh=tuple(name for name in fresh if name not in given),
        dropped=tuple(
            name for name in teacher if not any(n in fresh and n in given for n in _parts(name))
        ),
    )
    return {name: given.get(name, tensor) for name, tensor in fresh.items()}, record


def _parts(name: str) -> tuple[str, ...]:
    """Return what a teacher's tensor is called in a student: queries stand apart there."""
    parts = (name.replace(QKV, part) for part in (".attn.q.", ".attn.kv."))
    return tuple(parts) if QKV in name else (name,)


def _projections(teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the projections of a DiT's attention under the names that they have in a LiT."""
    found: dict[str, Tensor] = {}
    for name, tensor in teacher.items():
        if QKV in name:
            width = len(tensor) // 3
            pieces = tensor.split([width, 2 * width])
            found |= {part: x.clone() for part, x in zip(_parts(name), pieces, strict=True)}
        elif _of_attention(name):
            found[name] = tensor
    return found


def lit_from_dit(
    network: nn.Module,
    *,
    heads: int | None = None,
    kernel: int = 5,
    qkv_bias: bool = True,
    attention: bool = False,
    seed: int = 0,
) -> tuple[LiT, Inheritance]:
    """Make a LiT of a trained DiT, which is left as it is.

    Args:
        network: the DiT.
        heads: the LiT's attention heads, a divisor of the width; by default the published number
            for this width.
        kernel: side of the convolution of the values, odd; 0 leaves it out.
        qkv_bias: whether queries, keys and values have a bias.
        attention: copy the projections of attention too; a DiT's number of heads suits them best.
        seed: of the fresh tensors.

    Returns:
        The LiT, on the teacher's device and in its dtype, and what it has of the teacher.

    Raises:
        ConfigError: the network is no DiT, no number of heads is known for its width, or the LiT
            cannot be built: heads that do not divide the width, an even kernel.
    """
    if not isinstance(network, DiT) or isinstance(network, LiT):
        raise ConfigError(f"a LiT is made of a DiT, not of a {type(network).__name__}")
    width = network.config.width
    heads = HEADS.get(width) if heads is None else heads
    if heads is None:
        raise ConfigError(
            f"width {width} is of no published LiT; say how many heads it shall have "
            f"(heads, --heads), a small divisor of {width}"
        )
    changes = {"heads": heads, "kernel": kernel, "qkv_bias": qkv_bias}
    config = build(LiTConfig, network.config.model_dump() | changes)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        student = config.build()
    student.to(network.positions)
    state, record = inherit(network.state_dict(), student.state_dict(), attention=attention)
    student.load_state_dict(state)
    return student.train(network.training), record


def other_attention(
    network: nn.Module, source: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> frozenset[str]:
    """Return the names of the tensors that a network must not take, even where name and size fit.

    They are those of attention, when one of the two networks is a DiT and the other a LiT.

    Args:
        network: that takes them.
        source: config tree of the model that they are of.
        tensors: of that model.
    """
    model = source.get("model")
    theirs = model.get("network") if isinstance(model, Mapping) else None
    kind = theirs.get("kind") if isinstance(theirs, Mapping) else None
    ours = kind_of(type(getattr(network, "config", None)))
    if {ours, kind} != {kind_of(DiTConfig), kind_of(LiTConfig)}:
        return frozenset()
    return frozenset(name for name in tensors if _of_attention(name))


def _of_attention(name: str) -> bool:
    return "attn" in name


def _grouped(names: tuple[str, ...]) -> str:
    """Name the parts that tensors belong to, each once, whatever their block."""
    parts = (re.sub(r"\.\d+\.", ".*.", name).rpartition(".")[0] or name for name in names)
    return ", ".join(dict.fromkeys(parts)) or "none"
