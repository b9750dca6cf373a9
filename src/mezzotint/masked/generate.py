"""Masked generation: from a canvas of masked tokens to one of known tokens, group by group.

    features, context = prefill(canvas)           one full pass for a group
    where = order(score, masked, n)               the group's places, the first ones first
    canvas[where of the stage] = draw(features)   stage by stage
    features = extend(canvas, where, context)     a light pass between two stages of a group

A plan whose groups are of one stage is MaskGIT's, MAGE's or MAR's sampler; longer groups are ReCAP.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from mezzotint.errors import ConfigError, DataError
from mezzotint.masked.curves import Along, Flat
from mezzotint.masked.heads import Head
from mezzotint.masked.look import Look, TokenNetwork, Tokens, gathered
from mezzotint.masked.order import Choice, Order
from mezzotint.masked.plan import Moment, Plan
from mezzotint.noise import Noise


@dataclass(frozen=True)
class Canvas:
    """Tokens after a stage.

    Attributes:
        tokens: known ones, and anything where they are masked.
        masked: where they are.
        moment: the stage.
    """

    tokens: Tokens
    masked: Bool[Tensor, "b l"]
    moment: Moment


@dataclass(frozen=True)
class MaskedGenerator:
    """Draws tokens of a class.

    Args:
        network: over tokens.
        head: from its features to tokens.
        plan: how many tokens each stage reveals.
        order: which ones.
        scale: of classifier-free guidance along the plan; 1 is the conditional model. Only where it
            is not 1 the null class is evaluated too.
        ranker: draws the tokens whose scores the order looks at, and which are then drawn afresh
            by `head` (NAT, ReCAP); None writes the tokens that were looked at (MaskGIT, MAGE).
        lagging: whether a light pass is guided as the stage before it (ReCAP's MaskGIT).
        again: whether a token drawn as the mask itself stays masked, and the draws of the last
            stage replace all tokens, known ones too: what Halton-MaskGIT's confidence sampler does,
            whose logits have a place for the mask.

    Raises:
        ConfigError: the plan reveals more tokens than the network has, or groups stages for a
            network that cannot look at some tokens alone; or guidance has no null class.
    """

    network: TokenNetwork
    head: Head
    plan: Plan
    order: Order
    scale: Along = Flat(1.0)
    ranker: Head | None = None
    lagging: bool = False
    again: bool = False

    def __post_init__(self) -> None:
        if self.plan.total > self.network.length:
            raise ConfigError(
                f"the plan reveals {self.plan.total} tokens, but there are {self.network.length}"
            )
        if self.plan.passes[1] and not hasattr(self.network, "extend"):
            raise ConfigError(
                "the plan has stages that share a full pass, but this network cannot look at some "
                "tokens alone; use reuse 0"
            )
        if self.plan.passes[1] and self.again:
            raise ConfigError(
                "again masks tokens anew after a stage, but a light pass takes its group's tokens "
                "as they stand; use reuse 0"
            )
        if self.network.null is None and any(map(self._guides, self.plan.moments())):
            raise ConfigError(
                "this model has no null class, so it cannot be guided; leave guidance at 1"
            )

    def _guides(self, group: tuple[Moment, ...]) -> bool:
        return any(self.scale(moment) != 1 for moment in group)

    def regrouped(self, reuse: int, after: int = 0) -> Self:
        """Return the same with light passes in place of some full ones; see `recap`."""
        return replace(self, plan=self.plan.regrouped(reuse, after))

    def __call__(self, y: Int[Tensor, "b"], noise: Noise) -> Iterator[Canvas]:
        """Yield the canvas after each stage, from nothing to all tokens.

        Args:
            y: labels in 0..K.
            noise: a row an image; an image depends on its row alone.

        Raises:
            DataError: a label that the network does not have.
        """
        tokens = self.network.empty(len(y)).to(y.device)
        masked = torch.ones(tokens.shape[:2], dtype=torch.bool, device=y.device)
        yield from self.fill(tokens, masked, y, noise)

    def fill(
        self, tokens: Tokens, masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"], noise: Noise
    ) -> Iterator[Canvas]:
        """Yield the canvas after each stage, starting from some known tokens, which stay.

        Args:
            tokens: of the images; what stands where they are masked does not matter.
            masked: what is to be drawn; as many tokens in each image as the plan reveals.
            y: labels in 0..K.
            noise: a row an image.

        Raises:
            DataError: shapes, labels or the number of masked tokens do not fit.
        """
        self._check(tokens, masked, y)
        choose = self.order.begin(masked, noise)
        for group in self.plan.moments():
            if any(moment.count for moment in group):
                for canvas in self._group(group, choose, tokens, masked, y, noise):
                    tokens, masked = canvas.tokens, canvas.masked
                    yield canvas

    def _group(
        self,
        group: tuple[Moment, ...],
        choose: Choice,
        tokens: Tokens,
        masked: Bool[Tensor, "b l"],
        y: Int[Tensor, "b"],
        noise: Noise,
    ) -> Iterator[Canvas]:
        """Make one full pass, reveal its first stage, and the others by light passes."""
        look = Look.full(self.network, tokens, masked, y, guided=self._guides(group))
        scale = self.scale(group[0])
        drawn, score = None, None
        if self.order.looks:
            drawn, score = look.draw(self.ranker or self.head, scale, group[0], noise)
        need = masked.sum(1) - group[-1].left
        where = choose(score, masked, int(need.max()), group[-1], noise)
        wanted = torch.arange(where.shape[1], device=where.device) < need[:, None]
        if len(group) > 1 and not bool(wanted.all()):
            raise DataError("images with masks of different sizes cannot share a light pass")
        ready = None if drawn is None or self.ranker is not None else gathered(drawn, where)
        look = look.at(where)
        for moment in group:
            if not moment.count:
                continue
            if moment.offset:
                look = look.again(tokens, masked, where)
                scale = scale if self.lagging else self.scale(moment)
            alone = len(group) == 1
            block = slice(None) if alone else slice(moment.offset, moment.offset + moment.count)
            if ready is not None and not moment.offset:
                written = ready[:, block]
            else:
                written, _ = look.only(block).draw(self.head, scale, moment, noise)
            tokens, masked = self._write(tokens, masked, where[:, block], wanted[:, block], written)
            scale = self.scale(moment)
            if self.again and drawn is not None and not moment.left:
                tokens = drawn
            yield Canvas(tokens, masked, moment)

    def _write(
        self,
        tokens: Tokens,
        masked: Bool[Tensor, "b l"],
        where: Int[Tensor, "b n"],
        wanted: Bool[Tensor, "b n"],
        written: Shaped[Tensor, "b n ..."],
    ) -> tuple[Tokens, Bool[Tensor, "b l"]]:
        """Put tokens in their places; those that are not wanted stay as they were."""
        image, slot = wanted.nonzero(as_tuple=True)
        place = where[image, slot]
        tokens, masked = tokens.clone(), masked.clone()
        tokens[image, place] = written[image, slot].to(tokens.dtype)
        still = self.again and written[image, slot] == self.network.mask
        masked[image, place] = still
        return tokens, masked

    def _check(self, tokens: Tokens, masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]) -> None:
        network = self.network
        if tokens.shape[:2] != (len(y), network.length) or masked.shape != tokens.shape[:2]:
            raise DataError(
                f"tokens {tuple(tokens.shape)}, mask {tuple(masked.shape)}, {len(y)} labels: "
                f"expected {network.length} tokens and a mask over them for each label"
            )
        most = max(0, network.num_classes - (network.null is None))
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) <= most:
            raise DataError(f"labels {y.tolist()}: expected 0 to {most}")
        counts = masked.sum(1)
        if not bool((counts == self.plan.total).all()):
            raise DataError(
                f"{sorted(set(counts.tolist()))} tokens are masked, but the plan reveals "
                f"{self.plan.total}; make a plan for as many as are masked"
            )


__all__ = ["Canvas", "MaskedGenerator"]
