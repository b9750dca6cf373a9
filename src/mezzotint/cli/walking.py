"""What of `mezzotint sample` goes on from a picture, and chains in code space (`--ppgn`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mezzotint.cli import shared
from mezzotint.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8
    from torch import Tensor

    from mezzotint.drawing import Drawing
    from mezzotint.generator import Generator
    from mezzotint.plugged.walker import Walker


@dataclass(frozen=True)
class Wish:
    """What chains are asked for, or masked models that repaint.

    Args:
        critic: the condition network; None is the model's own.
        units: hidden units of it.
        image: a picture to start from.
        hole: what of it is to be filled.
        classes: whether classes are asked for by name.
    """

    critic: str | None
    units: Sequence[str]
    image: Path | None
    hole: str | None
    classes: bool

    @property
    def said(self) -> dict[str, str]:
        """What a manifest tells of picture and hole; nothing where there is none."""
        told = {"image": self.image, "hole": self.hole}
        return {name: str(value) for name, value in told.items() if value is not None}

    def given(
        self, size: int
    ) -> "tuple[UInt8[Tensor, '3 s s'], Bool[Tensor, 's s'] | None] | None":
        """Return the picture and its hole at a size, or None where none is given.

        Raises:
            ConfigError: a hole without a picture.
            DataError: one of them cannot be used.
        """
        from mezzotint.data import photo

        if self.image is None and self.hole is not None:
            raise ConfigError(f"--hole {self.hole}: give the picture that it is in with --image")
        if self.image is None:
            return None
        hole = None if self.hole is None else photo.hole(self.hole, self.image, size)
        return photo.photo(self.image, size), hole

    def over(self, generator: "Generator") -> "Generator":
        """Return a generator that repaints the picture, or as it is where none is given.

        Raises:
            ConfigError: units, which chains alone have; a picture without a hole, a hole without a
                picture, or either for a model that is not masked.
            DataError: picture or hole cannot be used.
        """
        if self.units:
            raise ConfigError("--unit is for chains in code space; add --ppgn")
        if self.image is None and self.hole is None:
            return generator
        from mezzotint.repaint import repainting
        from mezzotint.token_generator import TokenGenerator

        if not isinstance(generator, TokenGenerator):
            named = "--hole" if self.image is None else "--image"
            raise ConfigError(
                f"{named} is for masked models, such as emoji-maskgit, and for chains in code "
                "space; for those add --ppgn"
            )
        found = self.given(generator.tokenizer.spec.image[0])
        if found is None or found[1] is None:
            raise ConfigError(f"--image {self.image}: say what of it to draw anew with --hole")
        return repainting(generator, found[0], found[1])


def check(drawing: "Drawing", guidance: float | None) -> None:
    """Refuse what chains in code space have not.

    Raises:
        ConfigError: guidance, or smaller models.
    """
    if guidance is not None:
        raise ConfigError(
            f"--guidance {guidance:g}: chains have none; set -o weights.condition instead"
        )
    if drawing.stitch:
        raise ConfigError("--stitch: not with --ppgn, whose chains have no time to be cut")


def walks(model: str) -> bool:
    """Tell whether a model's folder says that chains are all that it is for."""
    from mezzotint import checkpoint, config, kinds
    from mezzotint.plugged.model import PluggedConfig

    path = checkpoint.zoo().get(model, Path(model)) / checkpoint.CONFIG
    if not path.is_file():
        return False
    try:
        kind = config.read(path).get("model", {}).get("kind")
    except (ConfigError, AttributeError):  # whoever opens it says what is wrong with it
        return False
    return kind in kinds.names("model") and kinds.find("model", kind) is PluggedConfig


def walker(
    drawing: "Drawing",
    device: str,
    wish: Wish,
    settings: Sequence[str] | None,
    steps: int | None,
) -> "Walker":
    """Open a model as chains that are asked for what is wished."""
    from dataclasses import replace

    from mezzotint.plugged import opening
    from mezzotint.tokenizers.base import floats

    made = opening.opened(drawing.source, shared.device_of(device))
    units = tuple(opening.HiddenUnit.read(each) for each in wish.units)
    made = opening.asking(made, wish.critic, units, classes=wish.classes or not units)
    more = [*(settings or []), *([f"steps={steps}"] if steps else [])]
    made = made.walking(opening.recipe(made.sampling, more, drawing.sampling))
    found = wish.given(made.image[0])
    if found is None:
        return made.checked()
    picture, hole = found
    mask = None if hole is None else hole[None].float()
    return replace(made, photo=floats(picture[None])[0], mask=mask).checked()
