"""Training of masked generators: tokens are masked, and the head is scored where they are.

loss = sum over masked tokens of head.loss(features, token) / number of them
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mezzotint.config import part
from mezzotint.data.images import Images, Mirror, mirrored, spread
from mezzotint.data.loader import Batch
from mezzotint.masked.heads import Head
from mezzotint.masked.look import gathered
from mezzotint.masked.masking import Masking, Ratio
from mezzotint.noise import SeededNoise, mix
from mezzotint.tokenizers.base import Tokenizer
from mezzotint.training.objectives import LEVELS, Groups, Loss, level
from mezzotint.training.plan import TrainPlan
from mezzotint.training.watch import by_group


class MaskedPlan(TrainPlan):
    """What a masked generator's run adds.

    Attributes:
        drop: share of labels replaced by the null class; 0 makes a model that cannot be guided.
        masking: how many tokens are masked, and which.
        flip: mirror half of the images.
        seen: weight of a token that is not masked, beside 1 of one that is; 0.1 in TiTok, 1 in
            Halton-MaskGIT, 0 in the others.
        by_image: average over each image's tokens first, so that images count alike (MaskGIT);
            else all tokens of a batch count alike.
        sample_every: steps between sample grids.
    """

    drop: float = Field(default=0.1, ge=0, le=1)
    masking: Annotated[Masking, part("masking")] = Ratio()
    flip: bool = False
    seen: float = Field(default=0.0, ge=0)
    by_image: bool = False
    sample_every: int = Field(default=1000, ge=1)

    def draws(self, step: int) -> bool:
        """Return whether samples are drawn after a step."""
        return step % self.sample_every == 0


@dataclass(frozen=True)
class MaskedTokens:
    """The loss of a token network on images some of whose tokens are masked.

    Every draw comes from the image's own seed, but for a masking that is shared: that is drawn
    from the first image of what is scored at once, a batch, or a piece or rank's share of it.

    Args:
        network: from (tokens, masked, y) to features of every token.
        head: scores tokens by the features of their places.
        tokenizer: from images to latents.
        tokens: from latents to tokens.
        masking: how many tokens are masked, and which.
        drop: share of labels replaced by the null class, so that the model can be guided.
        null: the null class.
        flip: mirror half of the images.
        mirror: how that is done.
        seen: weight of a token that is not masked.
        by_image: average over each image's tokens first.
        drops: whether the network is told which tokens its encoder is not to see (MAGE).
        device: where the network is.
        autocast: dtype in which the network may compute, or None for that of its weights.
    """

    network: Callable[..., Tensor]
    head: Head
    tokenizer: Tokenizer
    tokens: Callable[[Tensor], Tensor]
    masking: Masking
    drop: float
    null: int
    flip: bool = False
    mirror: Mirror = mirrored
    seen: float = 0.0
    by_image: bool = False
    drops: bool = False
    device: torch.device = torch.device("cpu")
    autocast: torch.dtype | None = None

    @property
    def groups(self) -> Groups:
        """The fifths of the share of tokens that is masked."""
        return Groups("masked", LEVELS)

    def __call__(self, batch: Batch) -> Loss:
        """Draw dropped labels, mirroring and masks, and score."""
        noise = SeededNoise(batch.seeds)
        dropped = noise.uniform() < self.drop
        y = torch.where(dropped, self.null, batch.y)
        if self.flip:
            batch = replace(batch, images=self.mirror(batch.images, noise.uniform() < 0.5))
        return self.at(batch, y, noise)

    def at(self, batch: Batch, y: Int[Tensor, "b"], noise: SeededNoise) -> Loss:
        """Score a batch at given labels."""
        codes = self.tokenizer.encode(batch.images.to(self.device))
        tokens = self.tokens(self.tokenizer.latents(codes, noise))
        masked, dropped = self.masking(len(tokens), tokens.shape[1], noise)
        if not self.seen:
            # An image without a masked token would have no loss: 0 / 0.
            for row in (~masked.any(1)).nonzero()[:, 0].tolist():
                masked[row, mix(batch.seeds[row], 7) % masked.shape[1]] = True
        hidden = (dropped.to(self.device),) if self.drops and bool(dropped.any()) else ()
        counts = masked.sum(1)
        # The masked ones first; where images differ in number, the rest weighs what seen ones do.
        looked = masked.shape[1] if self.seen else int(counts.max())
        where = masked.int().argsort(dim=1, descending=True, stable=True)[:, :looked]
        weight = torch.where(masked.gather(1, where), 1.0, self.seen).to(self.device)
        where, masked = where.to(self.device), masked.to(self.device)
        with torch.autocast(
            self.device.type, dtype=self.autocast, enabled=self.autocast is not None
        ):
            features = self.network(tokens, masked, y.to(self.device), *hidden)
        each = self.head.loss(gathered(features, where), gathered(tokens, where), noise) * weight
        total = each.sum() / weight.sum()
        if self.by_image:
            total = (each.sum(1) / weight.sum(1)).mean()
        share = counts.double() / masked.shape[1]
        return Loss(total, (each.sum(1) / weight.sum(1)).detach(), level(share.cpu()))


@torch.no_grad()
def held_out(objective: MaskedTokens, images: Images, plan: MaskedPlan) -> dict[str, Any]:
    """Return the loss on images that are never trained on, with masks that never change.

    Args:
        objective: what scores.
        images: the held-out images.
        plan: how many are looked at, at a time, and the seed of the masks.
    """
    rows, parts, groups = spread(len(images), plan.validate_images), [], []
    for first in range(0, len(rows), plan.batch):
        chosen = rows[first : first + plan.batch]
        seeds = [mix(plan.seed, 5, first + k) for k in range(len(chosen))]
        batch = Batch(images.read(chosen), images.labels[chosen], seeds)
        loss = objective.at(batch, batch.y, SeededNoise(seeds))
        parts.append(loss.each.float().cpu())
        groups.append(loss.group)
    each: Float[Tensor, n] = torch.cat(parts)
    found = by_group(each, torch.cat(groups), LEVELS)
    return {"held_out": float(each.mean()), "held_out_by_masked": found}


__all__ = ["MaskedPlan", "MaskedTokens", "held_out"]
