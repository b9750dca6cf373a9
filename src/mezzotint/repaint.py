"""Inpainting and class-conditional editing, which masked generators do without any training.

    tokens under the hole are masked -> the others stay -> what is drawn is pasted into the hole

Give another class than the image's own, and that is drawn into the hole.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from torch.nn import functional

from mezzotint.errors import ConfigError, DataError
from mezzotint.masked.generate import Canvas, MaskedGenerator
from mezzotint.noise import SeededNoise, mix
from mezzotint.token_generator import TokenGenerator

_ENCODING = 6  # keeps what a tokenizer draws apart from what the generator draws


@torch.no_grad()
def repaint(
    generator: TokenGenerator,
    images: UInt8[Tensor, "n 3 H W"],
    holes: Bool[Tensor, "n H W"],
    classes: Sequence[str | int],
    *,
    seeds: Sequence[int] | int,
    batch: int = 64,
) -> UInt8[Tensor, "n 3 H W"]:
    """Draw what is inside of holes again; pixels outside stay as they were.

    Args:
        generator: a masked generator, with its sampling recipe.
        images: of the generator's size.
        holes: where to draw; a token is drawn if any of its pixels is in the hole.
        classes: names or numbers, one an image.
        seeds: one an image, or a lone one for all; what is drawn depends on image, hole, class and
            seed alone.
        batch: images at a time.

    Returns:
        The images, changed inside of the holes.

    Raises:
        DataError: numbers or sizes that do not fit, an unknown class, or tokens without a grid.
    """
    wanted = generator.tokenizer.spec.image
    count = len(images)
    seeds = [seeds] * count if isinstance(seeds, int) else seeds
    if not count == len(holes) == len(classes) == len(seeds):
        raise DataError(
            f"{count} images, {len(holes)} holes, {len(classes)} classes, {len(seeds)} seeds: "
            "expected as many of each"
        )
    if tuple(images.shape[2:]) != wanted or holes.shape[1:] != images.shape[2:]:
        raise DataError(
            f"images of {tuple(images.shape[2:])}, holes of {tuple(holes.shape[1:])}: "
            f"expected {wanted}, the size that this model draws"
        )
    masked, labels = _under(holes, generator), generator.labels(classes)
    result = images.clone()
    # A plan is made for a number of tokens, so images whose holes are as large go together.
    for total in sorted(set(masked.sum(1).tolist()) - {0}):
        for chosen in (masked.sum(1) == total).nonzero()[:, 0].split(batch):
            own = [seeds[row] for row in chosen.tolist()]
            rows = images[chosen], masked[chosen], labels[chosen]
            *_, last = _filled(generator, *rows, own)
            drawn = generator.tokenizer.decode(generator.denoiser.network.latents(last.tokens))
            inside = holes[chosen][:, None]
            result[chosen] = torch.where(inside, drawn.to(result.device), images[chosen])
    return result


@dataclass(frozen=True, kw_only=True)
class Repainting(TokenGenerator):
    """A masked generator all of whose images are one picture with its hole drawn anew.

    Attributes:
        picture: of the model's size.
        hole: True where to draw.
    """

    picture: UInt8[Tensor, "3 H W"]
    hole: Bool[Tensor, "H W"]

    def stream(
        self, labels: Sequence[int], seeds: Sequence[int], *, batch: int = 64
    ) -> Iterator[UInt8[Tensor, "b 3 H W"]]:
        """Yield repainted pictures batch by batch."""
        for drawn in super().stream(labels, seeds, batch=batch):
            yield torch.where(self.hole, drawn, self.picture)

    def canvases(self, y: Int[Tensor, "b"], seeds: Sequence[int]) -> Iterator[Canvas]:
        """Yield the canvas of a batch after every stage, from the picture without its hole."""
        images = self.picture.expand(len(y), -1, -1, -1)
        masked = _under(self.hole.expand(len(y), -1, -1), self)
        return _filled(self, images, masked, y, seeds)


def repainting(
    generator: TokenGenerator, picture: UInt8[Tensor, "3 H W"], hole: Bool[Tensor, "H W"]
) -> Repainting:
    """Return a generator whose images of a class are a picture with its hole drawn anew.

    Args:
        generator: a masked generator.
        picture: of its size.
        hole: True where to draw, somewhere at least.

    Raises:
        DataError: an empty hole, or tokens without a grid.
    """
    if not _under(hole[None], generator).any():
        raise DataError("the hole is empty; expected some pixel to draw")
    held = {each.name: getattr(generator, each.name) for each in fields(TokenGenerator)}
    return Repainting(**held, picture=picture, hole=hole)


def _under(holes: Bool[Tensor, "n H W"], generator: TokenGenerator) -> Bool[Tensor, "n l"]:
    """Tell which tokens have a pixel in the hole."""
    rows, columns = generator.denoiser.network.config.grid
    if 1 in (rows, columns) and rows * columns > 1:
        raise DataError("the tokens of this model lie on no grid, so a hole is nowhere among them")
    masked = functional.adaptive_max_pool2d(holes[:, None].float(), (rows, columns)) > 0
    return masked.flatten(1)


def _filled(
    generator: TokenGenerator,
    images: UInt8[Tensor, "n 3 H W"],
    masked: Bool[Tensor, "n l"],
    labels: Int[Tensor, "n"],
    seeds: Sequence[int],
) -> Iterator[Canvas]:
    """Yield canvases on which some tokens are drawn; as many in each."""
    network, tokenizer, device = generator.denoiser.network, generator.tokenizer, generator.device
    noise = SeededNoise([mix(seed, _ENCODING) for seed in seeds])
    tokens = network.tokens(tokenizer.latents(tokenizer.encode(images.to(device)), noise))
    filling = _filling(generator, int(masked[0].sum()))
    yield from filling.fill(tokens, masked.to(device), labels.to(device), SeededNoise(seeds))


def _filling(generator: TokenGenerator, total: int) -> MaskedGenerator:
    """Return what draws so many tokens, in as many of the recipe's stages as they allow."""
    for steps in range(generator.sampling.steps, 1, -1):
        with suppress(ConfigError):
            return generator.with_sampling(steps=steps).revealing(total)
    return generator.with_sampling(steps=1).revealing(total)


__all__ = ["Repainting", "repaint", "repainting"]
