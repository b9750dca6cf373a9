"""The facade of chains: a generator of images from codes, a prior, and whatever is asked for.

    walker = plugged.open("runs/digits-ppgn")
    images = walker.sample(["3", "7"], seeds=range(8))

What is asked for belongs to a network of its own: exchange it, and nothing is trained anew.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mezzotint import config
from mezzotint.classifier import Classifier
from mezzotint.diffusion.conditions import Hole, Together, Towards, Unit
from mezzotint.diffusion.critics import Critic, Through
from mezzotint.diffusion.langevin import Langevin, Link
from mezzotint.diffusion.priors import Once
from mezzotint.errors import ConfigError, DataError
from mezzotint.noise import SeededNoise
from mezzotint.plugged.walk import Pieces, Walk
from mezzotint.tokenizers.base import LatentSpec, pixels


@dataclass(frozen=True)
class Asked:
    """A condition: a network, and the unit of it that is asked for.

    Attributes:
        network: from images in [-1, 1] to activations.
        label: the unit; None is the class that a chain is given.
        weight: of its log p among several.
        place: row and column of a map; None is the middle.
    """

    network: Callable[[Tensor], Tensor]
    label: int | None = None
    weight: float = 1.0
    place: tuple[int, int] | None = None


@dataclass(frozen=True)
class Decoding:
    """What a chain's codes look like, and how they are shown."""

    spec: LatentSpec
    decode: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Walker:
    """Chains in the code space of a generator.

    Attributes:
        generator: from codes to images in [-1, 1].
        pieces: what the model offers beside; its view is the generator.
        image: rows and columns of an image.
        classes: names of the classes that chains may be asked for; empty if there are none.
        asked: the conditions, at least one when it comes to walking.
        sampling: how chains walk.
        digest: of the model and of what is asked.
        photo: an image to start from, in [-1, 1], or None.
        mask: 1 in the hole of the photo that is to be filled, or None.
        own: the model's own classifier, which asks unless another does; or None.
        tree: the config tree of the model.
        device: where everything computes.
    """

    generator: Callable[[Tensor], Tensor]
    pieces: Pieces
    image: tuple[int, int]
    classes: tuple[str, ...]
    asked: tuple[Asked, ...]
    sampling: Walk = field(default_factory=Walk)
    digest: str = ""
    photo: Float[Tensor, "3 h w"] | None = None
    mask: Float[Tensor, "1 i j"] | None = None
    own: Classifier | None = None
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)
    device: torch.device = torch.device("cpu")

    def __post_init__(self) -> None:
        if self.photo is not None and tuple(self.photo.shape[1:]) != self.image:
            rows, columns = self.photo.shape[1:]
            raise DataError(
                f"the image is {columns} x {rows} px and this model makes {self.image[1]} x "
                f"{self.image[0]} px; resize it"
            )
        if self.mask is not None and self.photo is None:
            raise DataError("a hole needs the image that it is in; give that too")

    @property
    def hole(self) -> Hole | None:
        """The photo and its hole."""
        if self.photo is None or self.mask is None:
            return None
        return Hole(self.photo.to(self.device), self.mask.to(self.device))

    @property
    def chain(self) -> Langevin:
        """The chain that all of this makes.

        Raises:
            ConfigError: nothing is asked for, or the prior that the recipe names is not there.
            DataError: photo and mask are not of a size.
        """
        if not self.asked:
            raise ConfigError(
                "nothing is asked for: a chain needs a condition network, such as --critic "
                "digits-guide"
            )
        walk, hole, whole = self.sampling, self.hole, Once(self.generator)
        view = whole if hole is None else _Filled(whole, hole)
        critics: list[Critic] = [self._critic(each, view) for each in self.asked]
        e2, shares = walk.weights.condition, [each.weight for each in self.asked]
        if hole is not None:  # what stands around has a weight of its own, e4, beside e2
            critics.append(Through(whole, hole.around))
            e2, shares = 1.0, [*(e2 * share for share in shares), walk.around]
        return Langevin(
            prior=walk.prior.of(self.pieces._replace(view=view)),
            critic=Together(critics, shares),
            weights=replace(walk.weights, condition=e2),
            stride=walk.stride,
            bounds=walk.bounds.of(self.pieces),
            restart=walk.restart,
            balance=walk.balance,
            enough=math.log(walk.enough) if walk.enough < 1 else math.inf,
        )

    def _critic(self, asked: Asked, view: Callable[[Tensor], Tensor]) -> Critic:
        unit = Unit(asked.network, self.sampling.reading, asked.place)
        return Through(view, unit if asked.label is None else Towards(unit, asked.label))

    @torch.no_grad()
    def checked(self) -> Self:
        """Return itself, once a code has been judged: what cannot walk says so before it starts.

        Raises:
            ConfigError: nothing is asked for, or the model lacks what the recipe names.
            DataError: there is no such unit, or photo and mask are not of a size.
        """
        code = torch.zeros(1, *self.pieces.shape, device=self.device)
        y = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.chain.critic(code, torch.zeros(1, dtype=torch.float64), y)
        return self

    def start(self, noise: SeededNoise) -> Float[Tensor, "b ..."]:
        """Return where chains begin: at the photo's code, its hole grey, or as the recipe says.

        Raises:
            ConfigError: a photo is given and the model cannot encode it.
        """
        like = torch.empty(len(noise), *self.pieces.shape, device=self.device)
        if self.photo is None:
            return self.sampling.start(self.pieces, like, noise)
        if self.pieces.encoder is None:
            raise ConfigError("this model has no encoder, so chains cannot start from an image")
        photo = self.photo.to(self.device)
        known = photo if self.mask is None else photo * (1 - self.mask.to(self.device))
        return self.pieces.encoder(known[None]).expand_as(like).clone()

    @torch.no_grad()
    def steps(self, labels: Sequence[int], seeds: Sequence[int]) -> Iterator[Link]:
        """Yield every step of a chain for each label and seed."""
        assert len(labels) == len(seeds), "one seed a chain"
        noise = SeededNoise(seeds)
        y = torch.tensor(labels, dtype=torch.int64, device=self.device)
        yield from self.chain(self.start(noise), y, self.sampling.steps, noise)

    def stream(
        self, labels: Sequence[int], seeds: Sequence[int], *, batch: int = 64
    ) -> Iterator[UInt8[Tensor, "b 3 H W"]]:
        """Yield images batch by batch."""
        for first in range(0, len(labels), batch):
            rows = slice(first, first + batch)
            *_, last = self.steps(labels[rows], seeds[rows])
            yield self.show(last.after)

    def sample(
        self,
        classes: Iterable[str | int] | str | int | None = None,
        *,
        seeds: Iterable[int] | int = 0,
        batch: int = 64,
    ) -> UInt8[Tensor, "n 3 H W"]:
        """Walk to every class from every seed, class by class.

        Args:
            classes: names or numbers, or a lone one; all by default.
            seeds: one chain each; a chain depends on its class and seed alone.
            batch: chains at a time.
        """
        labels = self.labels((self.classes or (0,)) if classes is None else classes).tolist()
        each = [seeds] if isinstance(seeds, int) else list(seeds)
        if not each or batch < 1:
            raise DataError(f"{len(each)} seeds, batch {batch}: expected at least one of each")
        pairs = [(label, seed) for label in labels for seed in each]
        images = self.stream([y for y, _ in pairs], [seed for _, seed in pairs], batch=batch)
        return torch.cat(list(images))

    @torch.no_grad()
    def show(self, codes: Float[Tensor, "b ..."]) -> UInt8[Tensor, "b 3 H W"]:
        """Return the images of codes, in the photo where there is one."""
        x, hole = self.generator(codes), self.hole
        return pixels(x if hole is None else hole.filled(x)).cpu()

    def labels(self, classes: Iterable[str | int] | str | int) -> Int[Tensor, "k"]:
        """Return the numbers of classes of the condition network, given by name or number.

        Raises:
            DataError: it does not have such a class; or none at all was asked for.
        """
        wanted = [classes] if isinstance(classes, str | int) else list(classes)
        if not wanted:
            raise DataError("no class was asked for; expected at least one name or number")
        return torch.tensor([self._label(each) for each in wanted], dtype=torch.int64)

    def _label(self, name: str | int) -> int:
        if isinstance(name, str) and name in self.classes:
            return self.classes.index(name)
        if not isinstance(name, str) or name.isdecimal():
            if 0 <= int(name) < max(len(self.classes), 1):
                return int(name)
            known = len(self.classes)
            raise DataError(f"class {name}: the condition network knows {known}, 0 to {known - 1}")
        hint = config.nearest(name, self.classes)
        raise DataError(f"the condition network knows no class {name!r}; {hint}")

    @property
    def tokenizer(self) -> Decoding:
        """How codes are shown."""
        spec = LatentSpec(shape=(3, *self.image), image=self.image, fingerprint=self.digest)
        return Decoding(spec, self.show)

    def asking(self, *asked: Asked, classes: tuple[str, ...] = ()) -> Self:
        """Return the same chains with other conditions; the generator stays as it is."""
        return replace(self, asked=asked, classes=classes)

    def walking(self, sampling: Walk) -> Self:
        """Return the same chains that walk in another way."""
        return replace(self, sampling=sampling)


@dataclass(frozen=True)
class _Filled:
    generator: Callable[[Tensor], Tensor]
    hole: Hole

    def __call__(self, codes: Float[Tensor, "b ..."]) -> Float[Tensor, "b c h w"]:
        return self.hole.filled(self.generator(codes))


__all__ = ["Asked", "Decoding", "Walker"]
