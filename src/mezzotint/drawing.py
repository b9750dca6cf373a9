"""A drawing recipe: which models draw, how their steps are dealt out, and how they are sampled.

    source, stitch, rule, precision, compiled, sampling

`mezzotint sample -c` takes one, and `mezzotint tune` writes one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any, Final, Literal, Self

import torch
from pydantic import Field, InstanceOf

from mezzotint import config, generator
from mezzotint.config import Config, part
from mezzotint.diffusion.allocation import COUNT, Rule
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator

PRECISIONS: Final[dict[str, torch.dtype | None]] = {"fp32": None, "bf16": torch.bfloat16}
"""The dtype to compute in; None is that of the weights."""


class Turn(Config):
    """A smaller model and its part of the way.

    Attributes:
        source: a zoo name, folder or file.
        fraction: of the steps.
    """

    source: str = Field(min_length=1)
    fraction: float = Field(ge=0, le=1)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read "emoji-dit-tiny:0.4".

        Raises:
            ConfigError: it is not a model, a colon and a fraction.
        """
        source, _, fraction = text.rpartition(":")
        try:
            return cls(source=source, fraction=float(fraction))
        except ValueError:
            wanted = "expected MODEL:FRACTION with a fraction from 0 to 1, such as small:0.4"
            raise ConfigError(f"{text!r}: {wanted}") from None


class Drawing(Config):
    """How images are drawn, from the files of the models on.

    Attributes:
        source: the model: a zoo name, folder or file.
        stitch: smaller models that take the first steps, the first one next to noise.
        rule: how their fractions become steps.
        precision: fp32, or bf16 to compute in that.
        compiled: draw with compiled networks, which take a while to start; `of` leaves it out.
        sampling: changes to the model's sampling recipe.
        steering: who steers; see `mezzotint.steering.Steering`. `open` leaves it to the verbs.
    """

    source: str
    stitch: tuple[Turn, ...] = ()
    rule: Annotated[InstanceOf[Rule], part("allocation")] = COUNT
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False
    sampling: dict[str, Any] = Field(default_factory=dict)
    steering: dict[str, Any] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """The models and their fractions in one line."""
        small = " + ".join(f"{each.source}:{each.fraction:g}" for each in self.stitch)
        return f"{small} + {self.source}" if small else self.source

    def open(self, device: str = "cpu", settings: Sequence[str] = ()) -> Generator:
        """Load the models, stitch them, and lay the recipe over the large one's.

        Args:
            device: where they compute.
            settings: dotted ones, such as "sampler.eta=1", which win over `sampling`.

        Raises:
            CheckpointError: a model is not there.
            ConfigError: they do not fit together, or a setting is not understood.
        """
        sources = {self.source, *(turn.source for turn in self.stitch)}
        loaded = {source: generator.load(source).to(device) for source in sources}
        made = self.of(loaded, settings)
        return made.compiled() if self.compiled else made

    def of(self, models: Mapping[str, Generator], settings: Sequence[str] = ()) -> Generator:
        """Return what `open` does, of models that are loaded already.

        Args:
            models: by source, all on one device.
            settings: as in `open`.

        Raises:
            ConfigError: they do not fit together, or a setting is not understood.
        """
        made = models[self.source]
        if self.stitch:
            listed: list[Any] = []
            for turn in self.stitch:
                listed += [models[turn.source], turn.fraction]
            try:
                made = made.stitch_with(*listed, rule=self.rule)
            except ConfigError as error:
                raise ConfigError(f"{self.name}: {error}") from None
        tree = config.override({**config.dump(made.sampling), **self.sampling}, settings)
        made = made.with_recipe(config.build(type(made.sampling), tree))
        return made.to(made.device, autocast=PRECISIONS[self.precision])


def read(path: FilePath, source: str | None = None) -> Drawing:
    """Read a drawing recipe; a training recipe, or a bare `sampling` section, will do as well.

    Args:
        path: a YAML or JSON file.
        source: the model, instead of the file's.

    Raises:
        ConfigError: it cannot be understood, or there is no model.
    """
    given = config.read(path)
    whole = "source" in given
    bare = {name: value for name, value in given.items() if name != "steering"}
    section = given.get("sampling", {} if whole else bare)
    if not isinstance(section, Mapping):
        wanted = "expected a mapping of settings such as steps: 40"
        raise ConfigError(f"{path}: sampling: {wanted}, got {config.shown(section)}")
    kept = given if whole else {name: given[name] for name in given if name == "steering"}
    tree = {**kept, "sampling": dict(section)}
    if source is not None:
        tree["source"] = source
    if "source" not in tree:
        raise ConfigError(f"{path}: no source in it; name the model on the command line")
    try:
        return config.build(Drawing, tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


__all__ = ["PRECISIONS", "Drawing", "Turn", "read"]
