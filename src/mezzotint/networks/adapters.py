"""Adapters: where low-rank layers stand in somebody's network, and what else of it is trained.

    expert = frozen network + low-rank layers + biases + the norms' parameters and statistics

Go et al., "Towards Practical Plug-and-Play Diffusion Models", arXiv 2212.12990, section 4. The
published placements are data, as patterns of names; any other network gets the general one.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final, Protocol, runtime_checkable

from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mezzotint.config import Config, part
from mezzotint.errors import ConfigError
from mezzotint.nn.lowrank import BlockConv, ChannelConv, LowRank, LowRankLinear


@runtime_checkable
class ConvForm(Protocol):
    """What a low-rank convolution is."""

    def layer(self, base: nn.Conv2d, rank: int, scale: float) -> LowRank:
        """Put a difference beside a convolution."""
        ...


class Channels(Config):
    """peft's form, which its files hold: the default."""

    def layer(self, base: nn.Conv2d, rank: int, scale: float) -> LowRank:
        """Put a difference beside a convolution."""
        return ChannelConv(base, rank, scale)


class Blocks(Config):
    """PPAP's published form; larger for kernels above 1 x 1, and its files are not peft's."""

    def layer(self, base: nn.Conv2d, rank: int, scale: float) -> LowRank:
        """Put a difference beside a convolution."""
        return BlockConv(base, rank, scale)


class AdapterConfig(Config):
    """Where adapters stand, how large they are, and what is trained beside them.

    Patterns are of dotted names, with * for any text.

    Attributes:
        layers: linear layers and convolutions that get an adapter.
        trained: parameters that are trained beside the adapters.
        frozen: of all these, what is left alone after all.
        rank: r, the published gamma; it is also the number of channels between A and B.
        alpha: the difference is scaled by alpha / rank.
        linear_scale: scale of linear layers instead; PPAP's release forgets alpha / rank there,
            and its files want 1.
        convolutions: what a low-rank convolution is.
    """

    layers: tuple[str, ...]
    trained: tuple[str, ...] = ("*bias",)
    frozen: tuple[str, ...] = ()
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=8.0, gt=0)
    linear_scale: float | None = None
    convolutions: Annotated[ConvForm, part("low-rank")] = Channels()

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank


PUBLISHED: Final[dict[str, AdapterConfig]] = {
    # Stem, and the first two convolutions of each block; biases and everything called bn.
    "resnet": AdapterConfig(
        layers=("conv1", "layer?.*.conv1", "layer?.*.conv2"),
        trained=("*bias*", "*bn*"),
        frozen=("fc", "fc.*"),
    ),
    "deit": AdapterConfig(layers=("blocks.*.attn.qkv", "blocks.*.attn.proj"), linear_scale=1.0),
    # MiDaS-small, as torch.hub loads it. Its last refinement has no first input, so nothing there
    # is ever used.
    "midas": AdapterConfig(
        layers=(
            "pretrained.layer?.*conv_pw",
            "scratch.layer?_rn",
            "scratch.refinenet?.out_conv",
            "scratch.refinenet?.resConfUnit2.conv?",
            "scratch.refinenet[123].resConfUnit1.conv?",
        ),
        trained=("*bias*", "*bn*"),
        frozen=("scratch.refinenet4.resConfUnit1.*",),
    ),
}
"""Placements of the paper's release."""


def published(network: nn.Module) -> AdapterConfig:
    """Return the published placement that fits a network, or else the general one.

    The general one adapts every linear layer and every convolution without groups but the last
    (in networks of ours: but the one with a row for each class), and trains all biases and norms
    but the last layer's.

    Raises:
        ConfigError: the network has no such layer.
    """
    inside = _inside(network)
    names = [name.removeprefix(inside) for name, _ in network.named_modules()]
    for each in PUBLISHED.values():
        if all(_matching(wanted, names) for wanted in each.layers):
            placed = {
                field: tuple(inside + pattern for pattern in getattr(each, field))
                for field in ("layers", "frozen")
            }
            return each.model_copy(update=placed)
    return general(network)


def _inside(network: nn.Module) -> str:
    """Return the prefix of the names of somebody's network inside one of ours."""
    held = [
        name
        for name, child in network.named_children()
        if next(child.parameters(), None) is not None
    ]
    return f"{held[0]}." if len(held) == 1 else ""


def general(network: nn.Module) -> AdapterConfig:
    """Return a placement for any network: see `published`."""
    able = [name for name, layer in network.named_modules() if _able(layer)]
    if len(able) < 2:
        raise ConfigError(
            f"{type(network).__name__} has {len(able)} linear layers and convolutions without "
            "groups, too few to adapt; expected two or more"
        )
    rows = getattr(network, "class_rows", ())  # ours say which tensors hold a row for each class
    ends = {row.rpartition(".")[0] for row in rows} or {able[-1]}
    norms = tuple(
        f"{name}.*" for name, layer in network.named_modules() if isinstance(layer, NORMS)
    )
    return AdapterConfig(
        layers=tuple(name for name in able if name not in ends),
        trained=("*bias", *norms),
        frozen=tuple(f"{name}.*" for name in sorted(ends)),
    )


LOW_RANK: Final = "*.lora_?"
"""Names of the matrices A and B."""
NORMS: Final = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


def _able(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.kernel_size[0] == layer.kernel_size[1]
    return type(layer) is nn.Linear


def adapt(network: nn.Module, config: AdapterConfig) -> list[str]:
    """Put adapters into a network, in place, and freeze all but what is trained.

    Args:
        network: whose layers are replaced; its answers stay the same.
        config: where.

    Returns:
        Names of the trained parameters, in the network's order.

    Raises:
        ConfigError: a pattern fits nothing that can be adapted.
    """
    found = [name for name, layer in network.named_modules() if _able(layer)]
    chosen = [
        name for name in found if _fits(name, config.layers) and not _fits(name, config.frozen)
    ]
    for wanted in config.layers:
        if not _matching(wanted, found):
            raise ConfigError(
                f"adapter.layers: {wanted!r} fits no linear layer or convolution without groups of "
                f"{type(network).__name__}; expected names such as {', '.join(found[:3])}"
            )
    for name in chosen:
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, _beside(network.get_submodule(name), config))
    trained = []
    for name, parameter in network.named_parameters():
        felt = _fits(name, (LOW_RANK, *config.trained))
        parameter.requires_grad = felt and not _fits(name, config.frozen)
        trained += [name] if parameter.requires_grad else []
    return trained


def _matching(wanted: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, wanted) for name in names)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _beside(layer: nn.Module, config: AdapterConfig) -> LowRank:
    if isinstance(layer, nn.Conv2d):
        return config.convolutions.layer(layer, config.rank, config.scale)
    assert isinstance(layer, nn.Linear), "chosen because it can be adapted"
    scale = config.scale if config.linear_scale is None else config.linear_scale
    return LowRankLinear(layer, config.rank, scale)


def belonging(network: nn.Module) -> dict[str, Tensor]:
    """Return what belongs to one expert of an adapted network: trained tensors and statistics.

    The running means and variances of every batch norm, the frozen ones too, have moved to the
    noisy images of the expert's range.
    """
    own = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    return own | dict(_statistics(network))


def _statistics(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm):
            yield from layer.named_buffers(prefix=name)


def trained_share(network: nn.Module) -> tuple[int, int]:
    """Return how many numbers of an adapted network are trained, and how many it had before."""
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    own = sum(p.numel() for name, p in network.named_parameters() if not _fits(name, (LOW_RANK,)))
    return trained, own


__all__ = [
    "PUBLISHED",
    "AdapterConfig",
    "Blocks",
    "Channels",
    "ConvForm",
    "adapt",
    "belonging",
    "general",
    "published",
    "trained_share",
]
