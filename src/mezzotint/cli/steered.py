"""What of `mezzotint sample` lets a critic or a weaker model steer: two options and a section.

    --critic NAME --critic-scale 4 -o steering.sees=x0 -o steering.unlabelled=true
    -o steering.weaker=emoji-dit-tiny -o steering.apart=2

In a file, `steering:` stands beside `sampling:`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mezzotint.errors import ConfigError

if TYPE_CHECKING:
    from mezzotint.generator import Generator
    from mezzotint.steering import Steering

_SECTION = "steering."


@dataclass(frozen=True)
class Wish:
    """The steering that is asked for."""

    steering: "Steering"

    def over(self, generator: "Generator") -> "Generator":
        """Return a generator with it, or as it is where nothing is asked for.

        Raises:
            ConfigError: critic or weaker model do not fit the generator.
        """
        if self.steering.critic is not None:
            return self._critic(self.steering.critic, generator)
        return generator if self.steering.weaker is None else self._away(generator)

    def _critic(self, name: str, generator: "Generator") -> "Generator":
        from mezzotint import experts, steering

        wanted = self.steering
        judge = experts.judge(name).to(generator.device)
        return steering.steered(
            generator, judge, wanted.scale, look=wanted.sees, unlabelled=wanted.unlabelled
        )

    def _away(self, generator: "Generator") -> "Generator":
        from mezzotint import autoguiding
        from mezzotint import generator as models

        other = models.load(str(self.steering.weaker)).to(generator.device)
        return autoguiding.autoguided(generator, other, self.steering.apart)


@dataclass(frozen=True)
class Pull:
    """The options --critic and --critic-scale, as they were given."""

    critic: str | None
    scale: float | None

    def refuse(self) -> None:
        """Refuse a scale where chains are walked, which have weights of their own.

        Raises:
            ConfigError: one was given.
        """
        if self.scale is not None:
            raise ConfigError(f"--critic-scale {self.scale:g}: set -o weights.condition for chains")


def wished(settings: Sequence[str], section: dict[str, Any], pull: Pull) -> tuple[list[str], Wish]:
    """Return the settings that are not of the steering, and what those that are wish for.

    Args:
        settings: of -o.
        section: `steering` of a file.
        pull: the options, which win.

    Raises:
        ConfigError: the section is not understood, or a scale came without a critic.
    """
    from mezzotint import config
    from mezzotint.steering import Steering

    own = [each.removeprefix(_SECTION) for each in settings if each.startswith(_SECTION)]
    tree: dict[str, Any] = config.override(section, own)
    given = {"critic": pull.critic, "scale": pull.scale}
    tree |= {name: value for name, value in given.items() if value is not None}
    if pull.scale is not None and tree.get("critic") is None:
        raise ConfigError("--critic-scale needs a critic; say which with --critic NAME")
    rest = [each for each in settings if not each.startswith(_SECTION)]
    return rest, Wish(config.build(Steering, tree))


def said(generator: "Generator") -> dict[str, Any]:
    """Return what a manifest tells of critic or weaker model; nothing where there is none."""
    found = getattr(generator, "said", None)
    return {"steering": dict(found)} if found else {}
