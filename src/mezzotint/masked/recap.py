"""ReCAP: some full passes are replaced by light ones, which look at a group of tokens alone.

    recap(generator, reuse=1, after=8)        the plan is regrouped; the generator's type stays

Keys and values of all other tokens are kept from the group's full pass: of those that are known,
and of those that wait for later groups. "Plug-and-Play Context Feature Reuse for Efficient Masked
Generation", arXiv 2505.19089. Nothing is trained.
"""

from typing import Protocol, Self, TypeVar


class Regroups(Protocol):
    """What reveals tokens by a plan: a `MaskedGenerator`, or a model that `load` returns."""

    def regrouped(self, reuse: int, after: int = 0) -> Self:
        """Return the same with light passes in place of some full ones."""
        ...


G = TypeVar("G", bound=Regroups)


def recap(generator: G, *, reuse: int, after: int = 0) -> G:
    """Return the generator with light passes in place of some full ones.

    Args:
        generator: any masked generator, also one that `mezzotint.load` returned.
        reuse: light passes that follow a full one; 0 is the generator with full passes only,
            every published setting is 1.
        after: stages at the start that keep a full pass each.

    Raises:
        ConfigError: a negative number, or a network that cannot look at some tokens alone.
    """
    return generator.regrouped(reuse, after)


__all__ = ["recap"]
