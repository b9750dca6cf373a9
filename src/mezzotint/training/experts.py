"""PPAP's training: one expert a range of noise, taught by the frozen network on the clean image.

    minimise distance(expert_n(x_t), network(x0)),    t uniform in range n

The images are a generator's own, and nobody labels them. Experts are trained one after the other in
the same module, from the clean end on: each begins where its less noisy neighbour ended, Adam's
moments included. Go et al., arXiv 2212.12990, and its release.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated

import torch
from jaxtyping import Float, Int, UInt8
from pydantic import Field
from torch import Tensor, nn

from mezzotint.config import Config, part
from mezzotint.diffusion.paths import Path
from mezzotint.errors import NumericError
from mezzotint.networks.adapters import AdapterConfig, adapt, belonging, published
from mezzotint.noise import SeededNoise, mix
from mezzotint.tokenizers.base import Tokenizer
from mezzotint.training.knowledge import Knowledge, Sharpened


class ExpertPlan(Config):
    """How experts are trained.

    Attributes:
        experts: ranges of noise, of equal length on the training clock.
        images: pictures that the generator draws for it; published: 500,000.
        sampling_steps: of the sampler that draws them; published: DDIM 25.
        steps: optimiser steps an expert; published: 60,000 for each of five.
        batch: images a step; published: 256.
        lr: learning rate at the start of each expert, falling to 0 in a straight line.
        weight_decay: of AdamW, on all that is trained.
        flip: mirror half of the images, as published; not where left and right mean something.
        warm: each expert begins from its less noisy neighbour; else all from the network itself.
        seed: of images, times and noise.
        knowledge: the distance.
        adapter: where adapters stand; None is the published placement, or a general one.
    """

    experts: int = Field(default=5, ge=1)
    images: int = Field(default=5000, ge=1)
    sampling_steps: int = Field(default=25, ge=1)
    steps: int = Field(default=1000, ge=1)
    batch: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    flip: bool = False
    warm: bool = True
    seed: int = 0
    knowledge: Annotated[Knowledge, part("knowledge")] = Sharpened()
    adapter: AdapterConfig | None = None

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.lr * (1 - step / self.steps)


@dataclass
class Transfer:
    """The training of all experts of a network.

    Args:
        network: trained on clean images; what it takes and gives is up to it. It is not changed.
        images: uint8, drawn by a generator.
        tokenizer: the generator's.
        path: the generator's.
        view: from the generator's latents, clean or noisy, to what the network reads.
        plan: how.
        device: where.

    Attributes:
        adapter: the placement that is used.
        student: the adapted network, at the expert in training.
    """

    network: nn.Module
    images: UInt8[Tensor, "n 3 h w"]
    tokenizer: Tokenizer
    path: Path
    view: Callable[[Tensor], Tensor]
    plan: ExpertPlan
    device: torch.device = torch.device("cpu")
    adapter: AdapterConfig = field(init=False)
    student: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.adapter = self.plan.adapter or published(self.network)
        self.teacher = copy.deepcopy(self.network).eval().to(self.device)
        self.teacher.requires_grad_(requires_grad=False)
        self.student = copy.deepcopy(self.network)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(self.plan.seed, 21))
            self.trained = adapt(self.student, self.adapter)
        self.student.to(self.device)
        self._plain = {name: t.clone() for name, t in belonging(self.student).items()}
        self.optimiser = self._optimiser()

    def _optimiser(self) -> torch.optim.AdamW:
        named = dict(self.student.named_parameters())
        return torch.optim.AdamW(
            [named[name] for name in self.trained],
            lr=self.plan.lr,
            weight_decay=self.plan.weight_decay,
        )

    def range_of(self, expert: int) -> tuple[float, float]:
        """Return the range (low, high] of an expert on our clock."""
        return expert / self.plan.experts, (expert + 1) / self.plan.experts

    def expert(self, number: int) -> Iterator[float]:
        """Train an expert, yielding the loss of every step.

        Args:
            number: from 0, the clean end; those before it must have been trained or put back.

        Raises:
            NumericError: the loss is no number.
        """
        if not self.plan.warm:
            self.put_back(self._plain)
            self.optimiser = self._optimiser()
        self.student.train()
        for step in range(self.plan.steps):
            for group in self.optimiser.param_groups:
                group["lr"] = self.plan.rate(step)
            loss = self.loss(number, step)
            if not bool(loss.detach().isfinite()):
                raise NumericError(
                    f"expert {number}: the loss of step {step} is no number; lower the rate, "
                    f"-o lr={self.plan.lr / 10:g}"
                )
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            yield float(loss.detach())
        self.student.eval()

    def loss(self, number: int, step: int) -> Float[Tensor, ""]:
        """Return the mean distance from the teacher on the images of a step."""
        plan = self.plan
        seeds = [mix(plan.seed, 23, number, step, k) for k in range(plan.batch)]
        rows = torch.tensor([mix(seed, 1) % len(self.images) for seed in seeds])
        x0, x = self.noised(rows, seeds, self.range_of(number))
        with torch.no_grad():
            wanted = self.teacher(self.view(x0))
            seen = self.view(x)
        return plan.knowledge(self.student(seen), wanted).mean()

    def noised(
        self, rows: Int[Tensor, "b"], seeds: list[int], between: tuple[float, float]
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
        """Return clean latents of some images, and the same at times between two, noised."""
        noise = SeededNoise(seeds)
        images = self.images[rows]
        if self.plan.flip:
            mirrored = (noise.uniform() < 0.5)[:, None, None, None]
            images = torch.where(mirrored, images.flip(3), images)
        low, high = between
        t = self.path.snap(high - (high - low) * noise.uniform())
        x0 = self.tokenizer.latents(self.tokenizer.encode(images.to(self.device)), noise)
        scales = self.path.at(t, x0)
        return x0, scales.alpha * x0 + scales.sigma * noise(x0)

    @torch.no_grad()
    def put_back(self, tensors: dict[str, Tensor]) -> None:
        """Fill the student with what belongs to an expert."""
        own = belonging(self.student)
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

    def taken(self) -> dict[str, Tensor]:
        """Return a copy of what belongs to the expert in training."""
        return {name: tensor.clone().cpu() for name, tensor in belonging(self.student).items()}


__all__ = ["ExpertPlan", "Transfer"]
