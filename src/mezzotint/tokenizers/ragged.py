"""Pictures of any sizes in one batch, as rows of patches with their places.

A picture is filled up with grey on the right and below until patches cover it, cut row by row, and
its row filled up to a common number of tokens. The first patch owns place (0, 0), where the filling
stands too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mezzotint.errors import DataError

_SLACK = 1e-5


@dataclass(frozen=True)
class Ragged:
    """Patches of several pictures.

    Attributes:
        patches: values of each patch; zeros where there is none.
        mask: where there is one.
        row, column: place of each patch in its picture; 0 where there is none.
        sizes: rows and columns of each picture in pixels, before it was filled up.
    """

    patches: Float[Tensor, "b n f"]
    mask: Bool[Tensor, "b n"]
    row: Int[Tensor, "b n"]
    column: Int[Tensor, "b n"]
    sizes: tuple[tuple[int, int], ...]

    def grids(self, patch: int) -> list[tuple[int, int]]:
        """Return rows and columns of patches of each picture."""
        return [(-(-height // patch), -(-width // patch)) for height, width in self.sizes]


def fitted(size: tuple[int, int], patch: int, tokens: int) -> tuple[int, int]:
    """Return to what size a picture is shrunk, so that at most `tokens` patches cover it.

    Both sides are floored by themselves, so the ratio of the sides can drift, as in the release.

    Args:
        size: rows and columns in pixels.
        patch: side of a patch.
        tokens: the budget, at least 1.
    """
    rows, columns = (math.ceil(side / patch) for side in size)
    if rows * columns <= tokens:
        return size
    share = math.sqrt(tokens / (rows * columns))
    height, width = (
        min(max(1, math.floor(cells * share + _SLACK)) * patch, side)
        for cells, side in zip((rows, columns), size, strict=True)
    )
    return height, width


def shrunk(picture: Float[Tensor, "c h w"], patch: int, tokens: int) -> Float[Tensor, "c i j"]:
    """Return a picture at the size that `fitted` gives it, by a bicubic filter that looks wider."""
    size = (picture.shape[1], picture.shape[2])
    wanted = fitted(size, patch, tokens)
    if wanted == size:
        return picture
    return functional.interpolate(picture[None], wanted, mode="bicubic", antialias=True)[0]


def patchify(
    pictures: Sequence[Float[Tensor, "c _h _w"]], patch: int, tokens: int | None = None
) -> Ragged:
    """Cut pictures into patches, channel by channel: (c, y, x).

    Args:
        pictures: in [-1, 1], of any sizes.
        patch: side of a patch.
        tokens: length of a row; the longest by default.

    Raises:
        DataError: a picture has more patches than that.
    """
    cut = [_cut(picture, patch) for picture in pictures]
    longest = max(len(patches) for patches, _ in cut)
    tokens = longest if tokens is None else tokens
    if longest > tokens:
        raise DataError(
            f"a picture has {longest} patches, but the budget is {tokens} tokens; shrink it first"
        )
    rows, columns, masks = [], [], []
    for patches, wide in cut:
        place = torch.arange(tokens, device=patches.device)
        masks.append(place < len(patches))
        rows.append(place // wide * masks[-1])
        columns.append(place % wide * masks[-1])
    filled = [functional.pad(patches, (0, 0, 0, tokens - len(patches))) for patches, _ in cut]
    sizes = tuple((p.shape[1], p.shape[2]) for p in pictures)
    stacked = [torch.stack(each) for each in (filled, masks, rows, columns)]
    return Ragged(stacked[0], stacked[1], stacked[2], stacked[3], sizes)


def _cut(picture: Float[Tensor, "c h w"], patch: int) -> tuple[Float[Tensor, "n f"], int]:
    _, height, width = picture.shape
    whole = functional.pad(picture, (0, -width % patch, 0, -height % patch))
    cells = functional.unfold(whole[None], patch, stride=patch)[0].T  # (N, c p p)
    return cells, whole.shape[2] // patch


def canvas(ragged: Ragged, patches: Float[Tensor, "b n f"], patch: int) -> Float[Tensor, "b c H W"]:
    """Lay patches at their places on canvases that are large enough for all pictures.

    Args:
        ragged: their places.
        patches: values in place of those of `ragged`.
        patch: side of a patch.
    """
    grids = ragged.grids(patch)
    rows, columns = (max(sides) for sides in zip(*grids, strict=True))
    place = ragged.row * columns + ragged.column
    cells = patches.new_zeros(len(patches), rows * columns, patches.shape[2])
    kept = patches * ragged.mask[..., None]
    cells.scatter_(1, place[..., None].expand_as(kept), kept)
    cells[:, 0] = kept[:, 0]
    size = (rows * patch, columns * patch)
    return functional.fold(cells.transpose(1, 2), size, patch, stride=patch)


def pictures_of(
    ragged: Ragged, patches: Float[Tensor, "b n f"], patch: int
) -> list[Float[Tensor, "c _h _w"]]:
    """Return the pictures that patches show, without what they were filled up with."""
    laid = canvas(ragged, patches, patch)
    pairs = zip(laid, ragged.sizes, strict=True)
    return [picture[:, :height, :width] for picture, (height, width) in pairs]


def uniform_grid(batch: int, grid: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and columns of patches of pictures of one size, (B, N) each."""
    place = torch.arange(grid[0] * grid[1], device=like.device).expand(batch, -1)
    return place // grid[1], place % grid[1]


__all__ = ["Ragged", "canvas", "fitted", "patchify", "pictures_of", "shrunk", "uniform_grid"]
