"""The facade: a generator is a tokenizer, a denoiser, class names and a sampling recipe.

    model = mezzotint.load("emoji-dit")
    images = model.sample(["animal", "flag"], seeds=range(8))

Every class with every seed; an image depends on its class and seed alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Self, Unpack

import torch
from jaxtyping import Int, UInt8
from PIL import Image
from pydantic import InstanceOf, model_validator
from torch import Tensor, nn

from mezzotint import checkpoint, config
from mezzotint.classify.defaults import Classifies
from mezzotint.config import Config, part
from mezzotint.data.draw import grid
from mezzotint.diffusion.allocation import COUNT, Rule
from mezzotint.diffusion.denoiser import Denoiser, NetworkDenoiser
from mezzotint.diffusion.guidance import ClassifierFree, Constant
from mezzotint.diffusion.paths import Linear, Path
from mezzotint.diffusion.predictions import Prediction, Velocity
from mezzotint.diffusion.samplers import Step
from mezzotint.diffusion.team import members, on_grid
from mezzotint.digest import digest_of_model
from mezzotint.errors import DataError
from mezzotint.networks.base import NetworkConfig
from mezzotint.noise import SeededNoise, one_each
from mezzotint.sampling import Sampling, Settings
from mezzotint.stitching import cost_of, paired, stitch
from mezzotint.tokenizers.base import Tokenizer, TokenizerConfig

_CELLS, _SIDE = 8, 64  # classes and seeds of a sheet; smaller images are enlarged to about this


class DiffusionConfig(Config):
    """A network on a path, read by a prediction.

    Attributes:
        network: the backbone.
        path: from data to noise.
        prediction: what the network's outputs mean.
    """

    network: Annotated[InstanceOf[NetworkConfig], part("network")]
    path: Annotated[Path, part("path")] = Linear()
    prediction: Annotated[Prediction, part("prediction")] = Velocity()

    @model_validator(mode="after")
    def _readable(self) -> Self:
        several = getattr(self.prediction, "several", False)
        if self.network.several and not several:
            raise ValueError(
                "prediction: this network predicts at several resolutions; expected multi-scale, "
                "such as {kind: multi-scale, inner: eps}"
            )
        if several and not self.network.several:
            raise ValueError(
                "prediction: this network has one output; expected what is inside of it"
            )
        return self

    def build(self) -> NetworkDenoiser:
        """Make the denoiser, with a fresh network."""
        return NetworkDenoiser(self.network.build(), self.path, self.prediction)

    def held(self, denoiser: Any) -> nn.Module:
        """Return the module whose tensors a file keeps."""
        return denoiser.network

    def open(
        self, tree: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object
    ) -> "Generator":
        """Return the generator that a stored tree describes, filled with tensors."""
        stored = config.build(_Stored, {k: tree[k] for k in _Stored.model_fields if k in tree})
        checkpoint.check_classes(stored.classes, stored.model.network.num_classes)
        denoiser = stored.model.build()
        checkpoint.load_strictly(denoiser.network, tensors, source)  # type: ignore[arg-type]
        return Generator(
            denoiser=denoiser.eval().requires_grad_(requires_grad=False),
            tokenizer=stored.tokenizer.build(),
            classes=stored.classes,
            sampling=stored.sampling,
            null=stored.model.null,
            tree=tree,
        )

    @property
    def null(self) -> int | None:
        """The null class, or None where the network has none."""
        return self.network.num_classes if getattr(self.network, "null_row", True) else None


@dataclass(frozen=True)
class Generator(Classifies):
    """Makes images of a class.

    Attributes:
        denoiser: what is sampled from.
        tokenizer: between latents and images.
        classes: names, in the order of the labels; empty for an unconditional model.
        sampling: how samples are drawn unless a call says otherwise.
        null: label of the null class, or None.
        tree: the config tree that this generator was loaded from.
    """

    denoiser: Denoiser
    tokenizer: Tokenizer
    classes: tuple[str, ...]
    sampling: Sampling = field(default_factory=Sampling)
    null: int | None = None
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def labels(self, classes: Iterable[str | int] | str | int) -> Int[Tensor, "k"]:
        """Return the labels of class names or numbers, or of a lone one.

        Raises:
            DataError: a class that does not exist, with the nearest names; or none at all.
        """
        wanted = [classes] if isinstance(classes, str | int) else list(classes)
        if not wanted:
            raise DataError("no class was asked for; expected at least one name or number")
        return torch.tensor([self._label(each) for each in wanted], dtype=torch.int64)

    def _label(self, name: str | int) -> int:
        if isinstance(name, str) and name in self.classes:
            return self.classes.index(name)
        count = max(len(self.classes), 1)
        if not isinstance(name, str) or name.isdecimal():
            if 0 <= int(name) < count:
                return int(name)
            raise DataError(f"class {name} is out of range, expected 0 to {count - 1}")
        raise DataError(f"no class {name!r}; {config.nearest(name, self.classes)}")

    def sample(
        self,
        classes: Iterable[str | int] | str | int | None = None,
        *,
        seeds: Iterable[int] | int = 0,
        batch: int = 64,
        **settings: Unpack[Settings],
    ) -> UInt8[Tensor, "n 3 H W"]:
        """Draw every class with every seed, class by class.

        Args:
            classes: names or numbers, or a lone one; all classes by default.
            seeds: one image each, or a lone one; an image depends on its class and seed alone.
            batch: images at a time.
            settings: changes to the sampling recipe; see `Settings`.

        Returns:
            uint8 images, len(classes) * len(seeds) of them.
        """
        y = self.labels((self.classes or (0,)) if classes is None else classes)
        seeds = [seeds] if isinstance(seeds, int) else list(seeds)
        if not seeds or batch < 1:
            raise DataError(f"{len(seeds)} seeds, batch {batch}: expected at least one of each")
        pairs = [(int(label), seed) for label in y for seed in seeds]
        images = self.with_sampling(**settings).stream(
            [label for label, _ in pairs], [seed for _, seed in pairs], batch=batch
        )
        return torch.cat(list(images))

    @property
    def digest(self) -> str:
        """Hex digest of weights, architecture and tokenizer; not of the sampling."""
        held = self.denoiser.state_dict() if isinstance(self.denoiser, nn.Module) else {}
        tree = {name: config.dump(self.tree.get(name)) for name in ("model", "tokenizer")}
        # Where a tokenizer lies does not matter: its fingerprint stands in the tree.
        tree["tokenizer"] = {k: v for k, v in (tree["tokenizer"] or {}).items() if k != "source"}
        return digest_of_model(held, tree)

    def with_recipe(self, sampling: Sampling) -> Self:
        """Return the same generator with another sampling recipe."""
        return replace(self, sampling=sampling)

    def with_sampling(self, **settings: Unpack[Settings]) -> Self:
        """Return the same generator with some settings of its sampling recipe changed."""
        given: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
        guidance = given.get("guidance")
        if isinstance(guidance, int | float):
            given["guidance"] = self.sampling.scaled(guidance)
        return self.with_recipe(config.build(type(self.sampling), {**dict(self.sampling), **given}))

    def stream(
        self, labels: Sequence[int], seeds: Sequence[int], *, batch: int = 64
    ) -> Iterator[UInt8[Tensor, "b 3 H W"]]:
        """Yield images batch by batch, so that any number of them fits in memory."""
        for first in range(0, len(labels), batch):
            rows = slice(first, first + batch)
            *_, last = self.steps(labels[rows], seeds[rows])
            yield self.tokenizer.decode(last.x).cpu()

    @torch.no_grad()
    def steps(self, labels: Sequence[int], seeds: Sequence[int]) -> Iterator[Step]:
        """Yield every step of the sampler for one batch."""
        one_each(labels, seeds)
        y, noise = torch.tensor(labels, device=self.device), SeededNoise(seeds)
        x = noise(torch.empty(len(seeds), *self.tokenizer.spec.shape, device=self.device))
        grid = self.sampling.grid(self.denoiser.path, self.sampling.steps)
        walked = replace(self, denoiser=on_grid(self.denoiser, grid)).guided
        yield from self.sampling.sampler(walked, x, y, grid, noise)

    def stitch_with(
        self, small: "Generator", fraction: float, *more: "Generator | float", rule: Rule = COUNT
    ) -> "Generator":
        """Return a generator whose first, noisy steps are those of smaller ones (T-Stitch).

        Args:
            small: runs next to noise.
            fraction: of the steps that it takes, 0 to 1; this generator takes what is left.
            more: further generators, each with its fraction, in the order of their turns.
            rule: how the fractions become steps; see `mezzotint.diffusion.allocation`.

        Raises:
            ConfigError: other noise schedule, latents or classes; fractions above 1 together.
        """
        return stitch(self, paired(Generator, (small, fraction, *more)), rule)

    @property
    def guided(self) -> Denoiser:
        """The denoiser under the recipe's guidance; without classes there is nothing to guide."""
        if not self.classes or self.sampling.guidance == Constant(1.0):
            return self.denoiser
        how = self.sampling
        return ClassifierFree(self.denoiser, how.guidance, self.null, how.channels, how.direction)

    @property
    def device(self) -> torch.device:
        """Where the denoiser computes."""
        held = self.denoiser.parameters() if isinstance(self.denoiser, nn.Module) else iter(())
        return next((each.device for each in held), torch.device("cpu"))

    def to(self, device: str | torch.device, *, autocast: torch.dtype | None = None) -> Self:
        """Move the network to a device, and let it compute in another dtype there."""
        for each in members(self.denoiser):
            each.to(device)
            each.autocast = autocast
        return self

    def compiled(self) -> Self:
        """Compile the network in place; the first batch of each size then takes longer."""
        for each in members(self.denoiser):
            each.network.compile()  # type: ignore[attr-defined]
        return self

    def save(self, folder: FilePath | str, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder that `load` reads.

        Args:
            folder: made if it is missing.
            dtype: of the trained tensors in the file, such as torch.bfloat16; theirs by default.
        """
        model = config.load("model", self.tree["model"])
        tensors = checkpoint.trained_as(
            dtype, model.held(self.denoiser), lambda: model.held(model.build())
        )
        changed = {"classes": self.classes, "sampling": self.sampling}
        checkpoint.write_model(FilePath(folder), tensors, {**self.tree, **changed})

    def measured(self) -> Self:
        """Return itself: what its samples are worth is for `mezzotint evaluate` to say."""
        return self

    def sheet(self) -> Image.Image:
        """Draw a grid of up to 8 classes with the same 8 seeds."""
        images = self.sample((classes := self.classes[:_CELLS]) or None, seeds=range(_CELLS))
        larger = max(1, _SIDE // images.shape[-1])
        return grid(images, columns=_CELLS, names=classes, magnify=larger)

    def cost(self) -> dict[str, int]:
        """Return parameters, and multiply-adds of one network evaluation of one image."""
        x = torch.zeros(1, *self.tokenizer.spec.shape, device=self.device)
        return cost_of(self.denoiser, x)


class _Stored(Config):
    model: Annotated[InstanceOf[DiffusionConfig], part("model")]
    tokenizer: Annotated[InstanceOf[TokenizerConfig], part("tokenizer")]
    classes: tuple[str, ...]
    sampling: Sampling = Sampling()


def load(source: FilePath | str) -> Generator:
    """Load a generator.

    Args:
        source: the name of a zoo model, a model or run folder, or a .safetensors file.

    Raises:
        CheckpointError: nothing is there, or it is not a generator.
    """
    found: Generator = checkpoint.open_model(source, "diffusion", "stitched", "masked")
    return found
