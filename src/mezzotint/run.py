"""A training run in its folder: made, continued, watched, exported.

    config.yaml  env.json  metrics.jsonl  samples/  resume/
    model.safetensors  config.json  README.md

The same recipe in the same folder continues where it stopped, bit for bit on a CPU.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from mezzotint import checkpoint, config
from mezzotint.averaged import Averaged, export
from mezzotint.card import Product, environment
from mezzotint.convert import other_attention
from mezzotint.data.loader import Loader, order_of
from mezzotint.errors import ConfigError, OutputError
from mezzotint.noise import mix
from mezzotint.recipe_base import Recipe
from mezzotint.training import resume
from mezzotint.training.distributed import Ranks
from mezzotint.training.ema import EMA
from mezzotint.training.loop import State, train
from mezzotint.training.stop import stopping
from mezzotint.training.track import Lines, Tracker
from mezzotint.training.transfer import transfer
from mezzotint.training.watch import Window


def _never() -> bool:
    return False


@dataclass
class Run:
    """A recipe at work in a folder.

    Args:
        recipe: what to train.
        folder: where; made if it is missing.
        ranks: this process among all.
        trackers: where the first rank's numbers go beside metrics.jsonl.
        init_from: a model to take weights from before the first step: a zoo name, folder or file.

    Attributes:
        state: where the run stands.
        inherited: what was taken from `init_from`, in words; empty when nothing was.
    """

    recipe: Recipe
    folder: Path
    ranks: Ranks
    trackers: Sequence[Tracker] = ()
    init_from: Path | str | None = None
    state: State = field(default_factory=State)
    inherited: Sequence[str] = ()

    def __post_init__(self) -> None:
        plan, device = self.recipe.train, self.ranks.device
        self.images = self.recipe.data.train()
        self.held_out = self.recipe.data.held_out()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(plan.seed, 6))
            self.network = self.recipe.network().to(device)
        self.ema = EMA(self.network, plan.ema)
        self.averaged = Averaged(self.recipe, self.network, self.ema, device)
        self.optimiser = plan.optimiser(self.network)
        self.groups = self.recipe.objective(self.network, device).groups
        self.window = Window.of(self.groups.count)
        self.seconds = 0.0
        self.environment = environment()

    # Starting and stopping ----------------------------------------------------------------

    def open(self) -> bool:
        """Prepare the folder, or take up the run it holds; return whether there was one.

        Raises:
            ConfigError: the folder holds a run of another recipe or on other images.
            CheckpointError: its state cannot be read, or `init_from` cannot.
        """
        self._same_recipe()
        note = resume.load(self.folder / "resume", self.network, self.ema, self.optimiser)
        if note is not None:
            self._take_up(note)
        else:
            heir, given = self.recipe.heir(self.network), self.init_from
            self.recipe.begins(heir, heir.state_dict() if given is None else self._inherit(given))
        self.ranks.wait()  # a folder that the first has begun to fill looks foreign to the others
        if self.ranks.first:
            self._describe()
            self.trackers = (Lines(self.folder / "metrics.jsonl", self.state.step), *self.trackers)
        return note is not None

    def _same_recipe(self) -> None:
        path = self.folder / "config.yaml"
        if not path.exists():
            self._unused()
            return
        try:
            changed = self.recipe.changes(config.read(path))
        except ConfigError as error:
            raise ConfigError(f"{path}: not a recipe of this version: {error}") from None
        if changed:
            raise ConfigError(
                f"{self.folder} holds a run of another recipe ({', '.join(changed[:5])} differ); "
                "choose another folder, or --force to move the old run aside"
            )

    def _unused(self) -> None:
        """Refuse a folder that holds something else than a run: nothing of it may be replaced."""
        if self.folder.is_file() or (self.folder.is_dir() and any(self.folder.iterdir())):
            raise OutputError(
                f"{self.folder}: holds something that is not a run; choose another --out, or "
                "--force to move it aside"
            )

    def _take_up(self, note: dict[str, Any]) -> None:
        if note.get("data", self.images.digest) != self.images.digest:
            raise ConfigError(
                f"{self.folder} holds a run on other images (the data have changed since); choose "
                "another folder and --init-from this one, or --force to move the old run aside"
            )
        self.state.step, self.state.in_a_row = note["step"], note["in_a_row"]
        self.window, self.seconds = Window(**note["window"]), note["seconds"]
        self.inherited = note.get("inherited", ())
        self.environment = note.get("environment", self.environment)
        source = note.get("init_from")
        if self.init_from is not None and str(self.init_from) != (source or str(self.init_from)):
            raise ConfigError(
                f"{self.folder} holds a run that started from {source}; leave --init-from out to "
                "go on with it, or choose another folder"
            )

    def _inherit(self, source: Path | str) -> Sequence[str]:
        """Take what fits; return the names of the tensors that are new."""
        tensors, tree = checkpoint.read_named(source)
        classes, heir = tree.get("classes", ()), self.recipe.heir(self.network)
        barred = other_attention(heir, tree, tensors)
        taken = transfer(heir, tensors, classes, self.images.classes, source, barred)
        self.ema.restart()
        seen = tree.get("provenance", {}).get("seen", "an unknown number of")
        self.inherited = (
            f"started from {source}, which had seen {seen} images",
            *taken.words(),
            *self._other_meaning(tree),
        )
        return taken.fresh

    def _other_meaning(self, tree: dict[str, Any]) -> Iterator[str]:
        """Say what the inherited outputs meant, where it is not what they mean here."""
        theirs, ours = tree.get("model", {}), config.dump(self.recipe.model)
        for name in ours.keys() - {"kind", "network"}:
            if theirs.get(name) != ours[name]:
                yield f"its {name} was {theirs.get(name)}; here it is {ours[name]}"

    def _describe(self) -> None:
        checkpoint.remove_drafts(self.folder)
        text = yaml.safe_dump(config.dump(self.recipe), sort_keys=False, allow_unicode=True)
        checkpoint.write_text(self.folder / "config.yaml", text)
        place = self.folder / "env.json"
        checkpoint.replace_file(place, lambda draft: config.write_json(draft, environment()))

    def save(self) -> None:
        """Write everything that a resumed run needs, and the model as it stands."""
        if not self.ranks.first:
            return
        note = {
            "step": self.state.step,
            "in_a_row": self.state.in_a_row,
            "window": asdict(self.window),
            "seconds": self.seconds,
            "data": self.images.digest,
            "inherited": self.inherited,
            "environment": self.environment,
            "init_from": None if self.init_from is None else str(self.init_from),
        }
        resume.save(self.folder / "resume", self.network, self.ema, self.optimiser, note)
        pictures = sorted((self.folder / "samples").glob("step_*.png"))
        newest = f"samples/{pictures[-1].name}" if pictures else ""
        export(self.product(), self.folder, picture=newest)

    @property
    def done(self) -> bool:
        """Whether the last step has been taken."""
        return self.state.step >= self.recipe.train.steps

    # The run itself -----------------------------------------------------------------------

    def steps(self) -> Iterator[State]:
        """Train to the end, yielding after every step, and do nothing else."""
        plan, ranks = self.recipe.train, self.ranks
        network = ranks.share(self.network)
        if plan.compile:
            self.network.compile()
        order = order_of(self.images, balanced=self.recipe.data.balanced, seed=plan.seed)
        loader = Loader(self.images, plan.batch, order, plan.seed, ranks.rank, ranks.count)
        objective = self.recipe.objective(network, ranks.device)
        before, started = self.seconds, time.monotonic()
        for state in train(
            objective, network, loader, self.optimiser, self.ema, plan.loop(), self.state, ranks
        ):
            self.seconds = before + time.monotonic() - started
            self.window.add(state)
            yield state

    def fit(self, stop: Callable[[], bool] = _never) -> Iterator[State]:
        """Train to the end, yielding after every step; logs, saves and samples on the way.

        Args:
            stop: asked after every step; once any rank's says yes, the run is saved and left.

        Raises:
            NumericError: too many steps in a row had a loss or gradient that is no number.
            OutputError: the disk is full; the last checkpoint stands.
        """
        if self.done:
            self.save()  # the end may have been reached and not been exported
        saved = time.monotonic()
        try:
            for state in self.steps():
                self._watch(state)
                leave = self.ranks.agree(stop()) or self.done
                if leave or time.monotonic() - saved >= self.recipe.train.save_minutes * 60:
                    self.save()
                    saved = time.monotonic()
                yield state
                if leave:
                    return
        finally:
            for tracker in self.trackers:
                tracker.close()

    def _watch(self, state: State) -> None:
        """Log, validate and sample when it is time to; the last step is always a time to."""
        if not self.ranks.first:
            return
        plan = self.recipe.train
        values: dict[str, Any] = {}
        if state.step % plan.log_every == 0 or self.done:
            seen = state.step * plan.batch
            values |= self.window.summary(self.groups)
            values |= {"seen": seen, "lr": state.lr, "norm": state.norm}
            values["seconds"] = round(self.seconds, 3)
            self.window = Window.of(self.groups.count)
        if state.skipped:
            values["not_finite"] = "gradient" if math.isfinite(state.loss) else "loss"
        watched = min(plan.validate_images, len(self.held_out))
        if watched and (state.step % plan.validate_every == 0 or self.done):
            values |= self.averaged.held_out(self.held_out)
        if values:
            for tracker in self.trackers:
                tracker.log(state.step, values)
        if plan.draws(state.step) or self.done:
            self._draw(self.folder / "samples" / f"step_{state.step:09d}.png")

    def _draw(self, path: Path) -> None:
        """Write a grid of samples, if the model makes any."""
        picture = self.product().sheet()
        if picture is not None:
            checkpoint.replace_file(path, lambda draft: picture.save(draft, format="PNG"))

    # What comes out -----------------------------------------------------------------------

    def product(self) -> Product:
        """Return the averaged model as it stands."""
        recipe = self.recipe
        provenance = {
            **recipe.provenance(),
            "data_digest": self.images.digest,
            "data_images": len(self.images),
            "step": self.state.step,
            "seen": self.state.step * recipe.train.batch,
            "ema": recipe.train.ema[0],
            "inherited": self.inherited,
            "seconds": round(self.seconds, 1),
            "environment": self.environment,
        }
        return self.averaged.product(self.images.classes, provenance)


def move_aside(folder: Path) -> Path | None:
    """Rename a folder to the first free name of the form NAME.1, so that nothing is lost."""
    if not folder.exists():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


__all__ = ["Run", "move_aside", "stopping"]
