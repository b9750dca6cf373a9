"""ReCAP: some full passes are replaced by light ones, which look at a group of tokens alone.

    recap(generator, reuse=1, after=8)        the plan is regrouped; the generator's type stays

Keys and values of all other tokens are kept from the group's full pass: of those that are known,
and of those that wait for later groups. "Plug-and-Play Context Feature Reuse for Efficient Masked
Generation", arXiv 2505.19089. Nothing is trained.
"""

from dataclasses import replace

from mezzotint.masked.generate import MaskedGenerator


def recap(generator: MaskedGenerator, *, reuse: int, after: int = 0) -> MaskedGenerator:
    """Return the generator with light passes in place of some full ones.

    Args:
        generator: any masked generator.
        reuse: light passes that follow a full one; 0 is the generator with full passes only,
            every published setting is 1.
        after: stages at the start that keep a full pass each.

    Raises:
        ConfigError: a negative number, or a network that cannot look at some tokens alone.
    """
    return replace(generator, plan=generator.plan.regrouped(reuse, after))


__all__ = ["recap"]
