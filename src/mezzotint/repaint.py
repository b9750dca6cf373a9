"""Inpainting and class-conditional editing, which masked generators do without any training.

    tokens under the hole are masked -> the others stay -> what is drawn is pasted into the hole

Give another class than the image's own, and that is drawn into the hole.
"""

from collections.abc import Sequence
from contextlib import suppress

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor
from torch.nn import functional

from mezzotint.errors import ConfigError, DataError
from mezzotint.masked.generate import MaskedGenerator
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
    rows, columns = generator.denoiser.network.config.grid
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
    if 1 in (rows, columns) and rows * columns > 1:
        raise DataError("the tokens of this model lie on no grid, so a hole is nowhere among them")
    labels = generator.labels(classes)
    masked = functional.adaptive_max_pool2d(holes[:, None].float(), (rows, columns)) > 0
    masked = masked.flatten(1)
    result = images.clone()
    # A plan is made for a number of tokens, so images whose holes are as large go together.
    for total in sorted(set(masked.sum(1).tolist()) - {0}):
        for chosen in (masked.sum(1) == total).nonzero()[:, 0].split(batch):
            own = [seeds[row] for row in chosen.tolist()]
            rows = images[chosen], masked[chosen], labels[chosen]
            drawn = _drawn(generator, *rows, own, int(total))
            inside = holes[chosen][:, None]
            result[chosen] = torch.where(inside, drawn.to(result.device), images[chosen])
    return result


def _drawn(
    generator: TokenGenerator,
    images: UInt8[Tensor, "n 3 H W"],
    masked: Bool[Tensor, "n l"],
    labels: Tensor,
    seeds: Sequence[int],
    total: int,
) -> UInt8[Tensor, "n 3 H W"]:
    """Return whole images of which some tokens were drawn; as many in each."""
    network, tokenizer, device = generator.denoiser.network, generator.tokenizer, generator.device
    noise = SeededNoise([mix(seed, _ENCODING) for seed in seeds])
    tokens = network.tokens(tokenizer.latents(tokenizer.encode(images.to(device)), noise))
    filling = _filling(generator, total)
    *_, last = filling.fill(tokens, masked.to(device), labels.to(device), SeededNoise(seeds))
    return tokenizer.decode(network.latents(last.tokens)).cpu()


def _filling(generator: TokenGenerator, total: int) -> MaskedGenerator:
    """Return what draws so many tokens, in as many of the recipe's stages as they allow."""
    for steps in range(generator.sampling.steps, 1, -1):
        with suppress(ConfigError):
            return generator.with_sampling(steps=steps).revealing(total)
    return generator.with_sampling(steps=1).revealing(total)


__all__ = ["repaint"]
