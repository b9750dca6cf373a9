"""`mezzotint sample --ppgn`: chains in code space, and what they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mezzotint.cli import shared
from mezzotint.errors import ConfigError

if TYPE_CHECKING:
    from mezzotint.drawing import Drawing
    from mezzotint.plugged.walker import Walker


@dataclass(frozen=True)
class Wish:
    """What chains are asked for.

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

    def refuse(self) -> None:
        """Refuse all of it where nothing walks.

        Raises:
            ConfigError: something is asked for.
        """
        given = {
            "--critic": self.critic,
            "--unit": self.units,
            "--image": self.image,
            "--hole": self.hole,
        }
        named = [name for name, value in given.items() if value]
        if named:
            raise ConfigError(f"{named[0]} is for chains in code space; add --ppgn")


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

    from mezzotint.plugged import opening, photo

    made = opening.opened(drawing.source, shared.device_of(device))
    units = tuple(opening.HiddenUnit.read(each) for each in wish.units)
    made = opening.asking(made, wish.critic, units, classes=wish.classes or not units)
    more = [*(settings or []), *([f"steps={steps}"] if steps else [])]
    made = made.walking(opening.recipe(made.sampling, more, drawing.sampling))
    if wish.image is None and wish.hole is not None:
        raise ConfigError(f"--hole {wish.hole}: give the picture that it is in with --image")
    if wish.image is None:
        return made.checked()
    size = made.image[0]
    mask = None if wish.hole is None else photo.hole(wish.hole, wish.image, size)
    return replace(made, photo=photo.photo(wish.image, size), mask=mask).checked()
