"""Which space a model has: one that reveals tokens, or one that walks from noise."""

from collections.abc import Mapping, Sequence

from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.token_generator import TokenGenerator
from mezzotint.tune.diffusion_space import DiffusionSpace
from mezzotint.tune.masked_space import MaskedSpace
from mezzotint.tune.space import Computing, Space


def space_of(
    source: str, models: Mapping[str, Generator], small: Sequence[str], computing: Computing
) -> Space:
    """Return the settings of a loaded model: what it cannot be drawn by is left out.

    Args:
        source: the model's name in `models`.
        models: loaded, by source.
        small: names of smaller ones, the smallest first.
        computing: how the networks may compute.

    Raises:
        ConfigError: smaller models beside a masked one, which has no noisy part to give away, or
            compiled networks, which it has none of.
    """
    made = models[source]
    if not isinstance(made, TokenGenerator):
        return DiffusionSpace.of(source, models, small, computing)
    if small:
        raise ConfigError(
            f"{source}: a masked model cannot be stitched with {small[0]}; leave the others out"
        )
    if computing.compiled:
        raise ConfigError(f"{source}: --compile: a masked model is not compiled; leave it out")
    return MaskedSpace.of(source, made, computing)


__all__ = ["space_of"]
