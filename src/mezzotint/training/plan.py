"""The `train:` section of a recipe: what every run has, and what each objective adds."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from mezzotint.config import Config, part
from mezzotint.diffusion.times import Times, UniformTimes
from mezzotint.training.augment import Augmentation
from mezzotint.training.distilled import Teacher
from mezzotint.training.loop import LoopPlan
from mezzotint.training.optim import ConstantRate, Decay, adamw, learning_rate
from mezzotint.training.pixel_losses import PixelLoss, Squared
from mezzotint.training.reconstruction import Adversarial, Trainee, Weights

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainPlan(Config):
    """What every run has.

    Attributes:
        steps: optimiser steps.
        batch: images a step, over all ranks.
        accumulate: pieces into which each rank's share is cut to fit its memory.
        lr: peak learning rate.
        warmup: steps of linear rise to the peak.
        decay: the rate after that.
        betas, weight_decay: of AdamW.
        decay_vectors: let biases and norms' scales decay too, as U-ViT's and DiMR's releases do.
        clip: largest norm of the gradient, or null.
        ema: decays of the averages; the first is the one that is exported.
        precision: float32, bf16, or auto: bf16 where the processor computes in it.
        compile: compile the network.
        seed: of the initial weights, the order, the noise, everything.
        save_minutes: minutes between checkpoints.
        log_every, validate_every: steps between log lines, and looks at held-out images.
        validate_images: held-out images that are looked at.
        patience: steps in a row that may be skipped for a loss that is no number.
    """

    steps: int = Field(ge=1)
    batch: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    lr: float = Field(default=1e-4, gt=0)
    warmup: int = Field(default=0, ge=0)
    decay: Annotated[Decay, part("decay")] = ConstantRate()
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    decay_vectors: bool = False
    clip: float | None = Field(default=None, gt=0)
    ema: tuple[Share, ...] = Field(default=(0.9999,), min_length=1)
    precision: Literal["auto", "float32", "bf16"] = "auto"
    compile: bool = False
    seed: int = 0
    save_minutes: float = Field(default=5.0, ge=0)
    log_every: int = Field(default=50, ge=1)
    validate_every: int = Field(default=500, ge=1)
    validate_images: int = Field(default=512, ge=0)
    patience: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.ema)) != len(self.ema):
            raise ValueError(f"ema {self.ema} names a decay twice")
        return self

    def autocast(self, device: torch.device) -> torch.dtype | None:
        """Return the dtype in which the network computes; None is that of its weights."""
        return _AUTOCAST[self.precision](device)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return learning_rate(
            step, peak=self.lr, warmup=self.warmup, steps=self.steps, decay=self.decay
        )

    def optimiser(self, network: nn.Module) -> torch.optim.AdamW:
        """Return the optimiser of a network, at its peak rate."""
        return adamw(
            network,
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            decay_vectors=self.decay_vectors,
        )

    def draws(self, step: int) -> bool:  # noqa: ARG002 (a run may make no pictures)
        """Return whether samples are drawn after a step."""
        return False

    def loop(self) -> LoopPlan:
        """Return what the training loop needs to know."""
        return LoopPlan(self.steps, self.accumulate, self.clip, self.rate, self.patience, self.seed)


class DenoisingPlan(TrainPlan):
    """What a generator's run adds.

    Attributes:
        drop: share of labels replaced by the null class; 0 makes a model that cannot be guided.
        times: how training times are drawn.
        flip: mirror half of the images.
        sample_every: steps between sample grids.
        teacher: a trained model to learn from beside the data, or null.
    """

    drop: float = Field(default=0.1, ge=0, le=1)
    times: Annotated[Times, part("times")] = UniformTimes()
    flip: bool = False
    sample_every: int = Field(default=1000, ge=1)
    teacher: Teacher | None = None

    def draws(self, step: int) -> bool:
        """Return whether samples are drawn after a step."""
        return step % self.sample_every == 0


class ClassifyingPlan(TrainPlan):
    """What a classifier's run adds.

    Attributes:
        smoothing: share of each label's probability that is spread over all classes.
        augmentations: what is done to the pictures, in this order.
    """

    smoothing: Share = 0.0
    augmentations: tuple[Annotated[Augmentation, part("augmentation")], ...] = ()


class TokenizingPlan(TrainPlan):
    """What a tokenizer's run adds.

    Attributes:
        pixel: the distance of images from their originals, pixel by pixel.
        perceptual: the distance to the eye, or null.
        weights: of these two, and of the penalty of the codes.
        adversarial: a discriminator, or null.
        freeze: train the decoder alone; what makes the codes stays as it was started from.
        augmentations: what is done to the pictures, in this order.
        sample_every: steps between pictures of what comes back.
        measured: images whose latents tell scale and shift; 0 leaves both as the model says.
    """

    pixel: Annotated[PixelLoss, part("pixel-loss")] = Squared()
    perceptual: Annotated[Any, part("perceptual")] = None
    weights: Weights = Weights()
    adversarial: Adversarial | None = None
    freeze: bool = False
    augmentations: tuple[Annotated[Augmentation, part("augmentation")], ...] = ()
    sample_every: int = Field(default=1000, ge=1)
    measured: int = Field(default=1024, ge=0)

    def optimiser(self, network: nn.Module) -> torch.optim.AdamW:
        """Return the optimiser of a trainee: its discriminator learns at a rate of its own."""
        assert isinstance(network, Trainee), "a tokenizer's run trains a trainee"
        made = super().optimiser(network.autoencoder)
        if network.critic is not None and self.adversarial is not None:
            rival = {"params": list(network.critic.parameters()), "rate": self.adversarial.rate}
            made.add_param_group({**rival, "weight_decay": self.weight_decay})
        return made

    def draws(self, step: int) -> bool:
        """Return whether pictures are drawn after a step."""
        return step % self.sample_every == 0


def fast_bf16(device: torch.device) -> bool:
    """Return whether bf16 is worth while on a device, and not emulated."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        flags: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    return False


_AUTOCAST: Final[dict[str, Callable[[torch.device], torch.dtype | None]]] = {
    "auto": lambda device: torch.bfloat16 if fast_bf16(device) else None,
    "float32": lambda _device: None,
    "bf16": lambda _device: torch.bfloat16,
}

__all__ = ["ClassifyingPlan", "DenoisingPlan", "TokenizingPlan", "TrainPlan", "fast_bf16"]
