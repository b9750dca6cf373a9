"""A training run in its folder: made, continued, watched, exported.

    config.yaml  env.json  metrics.jsonl  samples/  resume/  model.safetensors  config.json  README.md

The same recipe in the same folder continues where it stopped, bit for bit on a CPU.
"""

import copy
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from torch import nn

from mezzotint import __version__, checkpoint, config
from mezzotint.card import model_card
from mezzotint.data.draw import grid
from mezzotint.data.images import Images
from mezzotint.data.loader import Balanced, Loader, Order, Shuffled
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.noise import mix
from mezzotint.recipe import Recipe
from mezzotint.training import resume
from mezzotint.training.distributed import Ranks
from mezzotint.training.ema import EMA
from mezzotint.training.loop import LoopPlan, State, train
from mezzotint.training.objectives import Denoising
from mezzotint.training.optim import adamw, learning_rate
from mezzotint.training.track import Lines, Tracker
from mezzotint.training.watch import HeldOut, Window

# Settings that may change between two starts of the same run: they move no bit of its result.
_FREE: Final = (
    "save_minutes",
    "log_every",
    "validate_every",
    "sample_every",
    "validate_images",
    "compile",
)
_CELLS: Final = 8
"""Classes and seeds of the sample grids."""


@dataclass
class Run:
    """A recipe at work in a folder.

    Args:
        recipe: what to train.
        folder: where; made if it is missing.
        ranks: this process among all.
        trackers: where numbers go beside metrics.jsonl.
    """

    recipe: Recipe
    folder: Path
    ranks: Ranks
    trackers: Sequence[Tracker] = ()
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        plan = self.recipe.train
        self.images = self.recipe.data.train()
        self.held_out = self.recipe.data.held_out()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(plan.seed, 6))
            self.network = self.recipe.model.network.build().to(self.ranks.device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        self.ema = EMA(self.network, plan.ema)
        self.optimiser = adamw(
            self.network, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay
        )
        self.window = Window()
        self.seconds = 0.0

    # Starting and stopping ----------------------------------------------------------------

    def open(self) -> bool:
        """Prepare the folder, or take up the run it holds; return whether there was one.

        Raises:
            ConfigError: the folder holds a run of another recipe.
        """
        self._same_recipe()
        note = resume.load(self.folder / "resume", self.network, self.ema, self.optimiser)
        if note is not None:
            self.state.step, self.state.in_a_row = note["step"], note["in_a_row"]
            self.window, self.seconds = Window(**note["window"]), note["seconds"]
        if self.ranks.first:
            self._describe()
            lines = Lines(self.folder / "metrics.jsonl", self.state.step)
            self.trackers = (lines, *self.trackers)
        return note is not None

    def _same_recipe(self) -> None:
        path = self.folder / "config.yaml"
        if not path.exists():
            return
        before, now = _fixed(config.read(path)), _fixed(config.dump(self.recipe))
        changed = sorted(_differences(before, now))
        if changed:
            raise ConfigError(
                f"{self.folder} holds a run of another recipe ({', '.join(changed[:5])} differ); "
                "choose another folder, or --force to move the old run aside"
            )

    def _describe(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tree = config.dump(self.recipe)
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        checkpoint.replace_file(self.folder / "config.yaml", lambda draft: _write_text(draft, text))
        checkpoint.replace_file(
            self.folder / "env.json", lambda draft: config.write_json(draft, environment())
        )

    def save(self) -> Path | None:
        """Write everything that a resumed run needs, and the model as it stands."""
        if not self.ranks.first:
            return None
        note = {
            "step": self.state.step,
            "in_a_row": self.state.in_a_row,
            "window": asdict(self.window),
            "seconds": self.seconds,
        }
        path = resume.save(self.folder / "resume", self.network, self.ema, self.optimiser, note)
        self.export()
        return path

    # The run itself -----------------------------------------------------------------------

    def fit(self) -> Iterator[State]:
        """Train to the end, yielding after every step; logs, saves and samples on the way."""
        plan = self.recipe.train
        network = self.ranks.share(self.network)
        if plan.compile:
            self.network.compile()
        started, saved = time.monotonic(), time.monotonic()
        before = self.seconds
        steps = train(
            self._objective(network),
            network,
            self._loader(),
            self.optimiser,
            self.ema,
            self._loop_plan(),
            self.state,
            self.ranks,
        )
        for state in steps:
            self.seconds = before + time.monotonic() - started
            self.window.add(state)
            self._watch(state)
            if time.monotonic() - saved >= plan.save_minutes * 60:
                self.save()
                saved = time.monotonic()
            yield state
        self.save()
        for tracker in self.trackers:
            tracker.close()

    def _watch(self, state: State) -> None:
        """Log, validate and sample when it is time to; the last step is always a time to."""
        if not self.ranks.first:
            return
        plan, last = self.recipe.train, state.step == self.recipe.train.steps
        values: dict[str, Any] = {}
        if state.step % plan.log_every == 0 or last:
            seen = state.step * plan.batch
            values |= self.window.summary() | {"seen": seen, "lr": state.lr, "norm": state.norm}
            values["seconds"] = round(self.seconds, 3)
            self.window = Window()
        if (state.step % plan.validate_every == 0 or last) and len(self.held_out):
            values |= self.validate()
        if values:
            for tracker in self.trackers:
                tracker.log(state.step, values)
        if state.step % plan.sample_every == 0 or last:
            path = self.folder / "samples" / f"step_{state.step:09d}.png"
            path.parent.mkdir(exist_ok=True)
            sheet(self.generator()).save(path)

    def validate(self) -> dict[str, Any]:
        """Return the loss of the averaged weights on held-out images."""
        plan = self.recipe.train
        watcher = HeldOut(self.held_out, plan.validate_images, plan.batch, plan.seed)
        self._average()
        return watcher.loss(self._objective(self.average))

    def _objective(self, network: nn.Module) -> Denoising:
        plan, model = self.recipe.train, self.recipe.model
        denoiser = NetworkDenoiser(
            network, model.path, model.prediction, autocast=plan.autocast(self.ranks.device)
        )
        null = model.network.num_classes
        tokenizer = self.recipe.tokenizer.build()
        return Denoising(denoiser, tokenizer, plan.times, plan.drop, null, flip=plan.flip)

    def _loader(self) -> Loader:
        plan = self.recipe.train
        order = order_of(self.images, balanced=self.recipe.data.balanced, seed=plan.seed)
        ranks = self.ranks
        return Loader(self.images, plan.batch, order, plan.seed, ranks.rank, ranks.count)

    def _loop_plan(self) -> LoopPlan:
        plan = self.recipe.train

        def rate(step: int) -> float:
            return learning_rate(
                step, peak=plan.lr, warmup=plan.warmup, steps=plan.steps, decay=plan.decay
            )

        return LoopPlan(plan.steps, plan.accumulate, plan.clip, rate, plan.patience)

    # What comes out -----------------------------------------------------------------------

    def _average(self) -> None:
        buffers = dict(self.network.named_buffers())
        self.average.load_state_dict(self.ema.averages[self.recipe.train.ema[0]] | buffers)

    def generator(self) -> Generator:
        """Return the averaged model as it stands."""
        self._average()
        model = self.recipe.model
        return Generator(
            denoiser=NetworkDenoiser(self.average, model.path, model.prediction),
            tokenizer=self.recipe.tokenizer.build(),
            classes=self.images.classes,
            sampling=self.recipe.sampling,
            null=model.null,
            tree=self.tree(),
        )

    def tree(self) -> dict[str, Any]:
        """Return the config tree of the exported model."""
        recipe = self.recipe
        return {
            "model": recipe.model,
            "tokenizer": recipe.tokenizer,
            "classes": self.images.classes,
            "sampling": recipe.sampling,
            "provenance": {
                "recipe": {"data": recipe.data, "train": recipe.train},
                "data_digest": self.images.digest,
                "data_images": len(self.images),
                "step": self.state.step,
                "seen": self.state.step * recipe.train.batch,
                "ema": recipe.train.ema[0],
                "seconds": round(self.seconds, 1),
                "environment": environment(),
            },
        }

    def export(self) -> None:
        """Write the averaged model, its config and its card, so that the run folder can be loaded."""
        generator = self.generator()
        generator.save(self.folder)
        card = model_card(self.folder.name, config.dump(self.tree()))
        checkpoint.replace_file(self.folder / "README.md", lambda draft: _write_text(draft, card))


def order_of(images: Images, *, balanced: bool, seed: int) -> Order:
    """Return the order of a run: class by class in turn, or shuffled epochs."""
    return Balanced(images.labels, seed) if balanced else Shuffled(len(images), seed)


def sheet(generator: Generator) -> Any:
    """Draw a grid of up to 8 classes with the same 8 seeds."""
    classes = generator.classes[:_CELLS]
    images = generator.sample(classes or None, seeds=range(_CELLS))
    return grid(images, columns=_CELLS, names=classes, magnify=max(1, 64 // images.shape[-1]))


def environment() -> dict[str, Any]:
    """Return what a run was made with: versions, machine, command, time."""
    return {
        "mezzotint": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def move_aside(folder: Path) -> Path | None:
    """Rename a folder to the first free name of the form NAME.1, so that nothing is lost."""
    if not folder.exists():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def _fixed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's tree without the settings that may change between two starts."""
    fixed = {key: value for key, value in tree.items() if key != "sampling"}
    fixed["train"] = {k: v for k, v in tree.get("train", {}).items() if k not in _FREE}
    return fixed


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            below = f"{where}.{key}" if where else str(key)
            yield from _differences(before.get(key), now.get(key), below)
    elif before != now:
        yield where
