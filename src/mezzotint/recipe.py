"""A recipe: everything that a training run depends on, as one tree.

    model, tokenizer, data, train, sampling

What one part knows is not asked of another: the network's channels, size and class count come from
the tokenizer and the data.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Annotated, Any, Final, Literal, Self

import torch
from pydantic import Field, InstanceOf, model_validator
from torch import nn

from mezzotint import config
from mezzotint.config import Config, part
from mezzotint.data.images import Data
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.errors import ConfigError
from mezzotint.generator import DiffusionConfig, Sampling
from mezzotint.tokenizers.base import TokenizerConfig
from mezzotint.training.loop import LoopPlan
from mezzotint.training.objectives import Denoising, Times, UniformTimes
from mezzotint.training.optim import ConstantRate, Decay, learning_rate

# Settings of `train:` that may change between two starts of a run. A run may be made longer, fit
# another machine, be watched more closely: its images, noise and weights so far stay what they are.
_FREE: Final = frozenset(
    {
        "steps",
        "accumulate",
        "compile",
        "patience",
        "save_minutes",
        "log_every",
        "validate_every",
        "sample_every",
        "validate_images",
    }
)
Share = Annotated[float, Field(ge=0, lt=1)]


class TrainPlan(Config):
    """The `train:` section of a recipe.

    Attributes:
        steps: optimiser steps.
        batch: images a step, over all ranks.
        accumulate: pieces into which each rank's share is cut to fit its memory.
        lr: peak learning rate.
        warmup: steps of linear rise to the peak.
        decay: the rate after that.
        betas, weight_decay: of AdamW.
        clip: largest norm of the gradient, or null.
        drop: share of labels replaced by the null class; 0 makes a model that cannot be guided.
        times: how training times are drawn.
        ema: decays of the averages; the first is the one that is exported.
        precision: float32, bf16, or auto: bf16 where the processor computes in it.
        compile: compile the network.
        seed: of the initial weights, the order, the noise, everything.
        flip: mirror half of the images.
        save_minutes: minutes between checkpoints.
        log_every, validate_every, sample_every: steps between log lines, losses on held-out
            images, and sample grids.
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
    clip: float | None = Field(default=None, gt=0)
    drop: float = Field(default=0.1, ge=0, le=1)
    times: Annotated[Times, part("times")] = UniformTimes()
    ema: tuple[Share, ...] = Field(default=(0.9999,), min_length=1)
    precision: Literal["auto", "float32", "bf16"] = "auto"
    compile: bool = False
    seed: int = 0
    flip: bool = False
    save_minutes: float = Field(default=5.0, ge=0)
    log_every: int = Field(default=50, ge=1)
    validate_every: int = Field(default=500, ge=1)
    sample_every: int = Field(default=1000, ge=1)
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

    def loop(self) -> LoopPlan:
        """Return what the training loop needs to know."""
        return LoopPlan(self.steps, self.accumulate, self.clip, self.rate, self.patience, self.seed)


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


class Recipe(Config):
    """A training run, complete.

    Attributes:
        model: what is trained.
        tokenizer: between images and latents.
        data: where images come from.
        train: how.
        sampling: how samples are drawn, in training and by default ever after.
    """

    model: Annotated[InstanceOf[DiffusionConfig], part("model")]
    tokenizer: Annotated[InstanceOf[TokenizerConfig], part("tokenizer")]
    data: Annotated[InstanceOf[Data], part("data")]
    train: TrainPlan
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _guidable(self) -> Self:
        guided = self.sampling.guidance != Sampling().guidance
        if guided and (self.model.null is None or not self.train.drop):
            raise ValueError(
                "sampling.guidance needs a null class: set train.drop above 0 and "
                "model.network.null_row to true"
            )
        if self.train.drop and self.model.null is None:
            raise ValueError("train.drop needs model.network.null_row: true, or set it to 0")
        return self

    def objective(self, network: nn.Module, device: torch.device) -> Denoising:
        """Return the loss of a network that this recipe describes."""
        model, plan = self.model, self.train
        denoiser = NetworkDenoiser(
            network, model.path, model.prediction, autocast=plan.autocast(device)
        )
        null = model.network.num_classes
        tokenizer = self.tokenizer.build()
        return Denoising(denoiser, tokenizer, plan.times, plan.drop, null, flip=plan.flip)

    def changes(self, before: Mapping[str, Any]) -> list[str]:
        """Return the dotted names of what differs from another recipe's tree and matters to a run.

        Args:
            before: a complete tree, as `config.dump` writes it.
        """
        earlier = config.dump(config.build(Recipe, before))
        return sorted(_differences(_lasting(earlier), _lasting(config.dump(self))))


def shipped() -> dict[str, FilePath]:
    """Return the recipes that come with the package, by name."""
    inside = FilePath(str(files("mezzotint") / "recipes"))
    beside = FilePath(__file__).parents[2] / "recipes"  # a checkout keeps them at its root
    home = inside if inside.is_dir() else beside
    return {path.stem: path for path in sorted(home.glob("*.yaml"))}


def find(name: str) -> dict[str, Any]:
    """Read the tree of a recipe, given as a path or by the name of a shipped one.

    Raises:
        ConfigError: there is none; the nearest names are given.
    """
    path = shipped().get(name, FilePath(name))
    if not path.exists():
        raise ConfigError(f"no recipe {name!r}; {config.nearest(name, shipped())}")
    return config.read(path)


def resolve(tree: Mapping[str, Any]) -> Recipe:
    """Complete a recipe's tree with what its parts know of each other, and validate it.

    Raises:
        ConfigError: a part is missing or wrong, or says something else than the data do.
    """
    sections = dict(tree)
    for name in ("model", "data", "train"):
        if name not in sections:
            raise ConfigError(f"{name}: missing; a recipe has model, data, train, sampling")
    data = config.load_at("data", "data", sections["data"])
    if not isinstance(data, Data):
        raise ConfigError(f"data: {_PART}, got {data!r}")
    images = data.train()
    sections.setdefault("tokenizer", "pixels")
    sections["tokenizer"] = _filled("tokenizer", sections["tokenizer"], {"size": images.size})
    tokenizer: TokenizerConfig = config.load_at("tokenizer", "tokenizer", sections["tokenizer"])
    channels, *size = tokenizer.build().spec.shape
    model = _opened("model", sections["model"])
    known = {"channels": channels, "size": size, "num_classes": len(images.classes)}
    model["network"] = _filled("model.network", model.get("network", {}), known)
    sections["model"] = model
    return config.build(Recipe, sections | {"data": data, "tokenizer": tokenizer})


_PLACES: Final = ("path", "root")
_PART: Final = "expected a kind, or a mapping with a kind"


def _opened(where: str, part_tree: Any) -> dict[str, Any]:
    if isinstance(part_tree, str):
        return {"kind": part_tree}
    if not isinstance(part_tree, Mapping):
        raise ConfigError(f"{where}: {_PART}, got {part_tree!r}")
    return dict(part_tree)


def _filled(where: str, part_tree: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Lay what the data know under a part's fields; a contradiction is an error."""
    tree = _opened(where, part_tree)
    for key, value in known.items():
        if key in tree and tree[key] != value:
            raise ConfigError(
                f"{where}.{key}: {tree[key]!r}, but the data make it {value!r}; "
                "leave it out of the recipe"
            )
    return {**known, **tree}


def _lasting(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a recipe's tree must stay the same as long as a run lasts."""
    train = {key: value for key, value in tree["train"].items() if key not in _FREE}
    # Where the pictures lie does not matter: what they are is compared by their digest.
    data = {key: value for key, value in tree["data"].items() if key not in _PLACES}
    return {"model": tree["model"], "tokenizer": tree["tokenizer"], "data": data, "train": train}


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            below = f"{where}.{key}" if where else str(key)
            yield from _differences(before.get(key), now.get(key), below)
    elif before != now:
        yield where
