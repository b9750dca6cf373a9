"""The arms of the study of PPAP: who steers a generator that knows no class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kept import kept
from steering import Panel, by_noise
from trials import PRECISION, trained

import mezzotint
from mezzotint import classifier, config, noisy
from mezzotint.adapting import Adapting
from mezzotint.data.images import Data
from mezzotint.data.unlabelled import Unlabelled
from mezzotint.diffusion.critics import Critic, Experts
from mezzotint.diffusion.routing import Partition
from mezzotint.diffusion.steering import AtEstimate, AtNoisy, Look
from mezzotint.experts import load as load_experts
from mezzotint.generator import Generator
from mezzotint.judges import CleanJudge, NoisyJudge
from mezzotint.steering import steered
from mezzotint.training.experts import ExpertPlan

EXPERTS = 5
MODELS = {"emoji": "emoji-dit", "prints": "prints-dit-unconditional"}
"""What is steered; the null class of prints-dit draws blobs."""


@dataclass(frozen=True)
class Labelled:
    """Experts that were trained with labels, as one critic."""

    pieces: tuple[noisy.NoisyClassifier, ...]
    look: Look = AtNoisy()
    latents: bool = True

    def __getattr__(self, name: str) -> Any:
        return getattr(NoisyJudge(self.pieces[0]), name)

    def critic(self) -> Critic:
        cuts = tuple(k / len(self.pieces) for k in range(1, len(self.pieces)))
        return Experts([each.critic() for each in self.pieces], Partition(cuts))


@dataclass(frozen=True)
class Study:
    """One set of pictures.

    Args:
        name: a key of MODELS.
        root: where runs are.
        steps: training steps in all, of each arm.
        count: samples a cell.
        images: pictures that the generator draws for PPAP.
        bf16: the generator computes in bfloat16; who steers never does.
        draws: steps of the sampler; None is what the generator's recipe says.
    """

    name: str
    root: Path
    steps: int
    count: int
    images: int
    bf16: bool
    draws: int | None = None

    @cached_property
    def model(self) -> Generator:
        made = mezzotint.load(MODELS[self.name]).to("cpu", autocast=PRECISION[self.bf16])
        return made if self.draws is None else made.with_sampling(steps=self.draws)

    @cached_property
    def data(self) -> Data:
        tree = config.dump(self.model.tree)["provenance"]["recipe"]["data"]
        found: Data = config.load("data", tree)
        return found.inner if isinstance(found, Unlabelled) else found

    @cached_property
    def panel(self) -> Panel:
        judge = classifier.load(f"{self.name}-judge")
        return Panel(judge, self.data.train())

    @property
    def guide(self) -> str:
        return f"{self.name}-guide"

    def tree(self, low: float, high: float, steps: int) -> dict[str, Any]:
        """Return the recipe of a labelled network for one range of noise."""
        base = classifier.load(self.guide)
        network = config.dump(base.model.network)
        known = {"channels", "size", "num_classes"}
        return {
            "model": {
                "kind": "noisy-classifier",
                "network": {k: v for k, v in network.items() if k not in known},
                "path": config.dump(self.model.denoiser.path),
            },
            "data": config.dump(self.data),
            "train": {
                "steps": steps,
                "batch": 64,
                "lr": 1e-3,
                "decay": "cosine",
                "weight_decay": 0.05,
                "ema": [0.9],
                "precision": "float32",
                "validate_every": steps,
                "validate_images": 64,
                "log_every": max(1, steps // 10),
                "times": {"kind": "between", "low": low, "high": high},
            },
        }

    def alone(self) -> NoisyJudge:
        """One network, all noise, with labels."""
        folder = self.root / self.name / f"alone-{self.steps}"
        return NoisyJudge(noisy.load(trained(self.tree(0, 1, self.steps), folder, self.guide)))

    def labelled(self) -> Labelled:
        """Five networks, each from its less noisy neighbour, with labels."""
        each, before, made = self.steps // EXPERTS, self.guide, []
        for k in range(EXPERTS):
            folder = self.root / self.name / f"expert-{k}-{self.steps}"
            tree = self.tree(k / EXPERTS, (k + 1) / EXPERTS, each)
            before = str(trained(tree, folder, before))
            made.append(noisy.load(before))
        return Labelled(tuple(made))

    @property
    def folder(self) -> Path:
        """Of PPAP's experts."""
        return self.root / self.name / f"ppap-{self.steps}-{self.images}"

    def unlabelled(self) -> Any:
        """PPAP."""
        plan = ExpertPlan(experts=EXPERTS, steps=self.steps // EXPERTS, images=self.images, lr=1e-3)
        adapting = Adapting.of(self.guide, MODELS[self.name], plan, self.folder)
        for _ in replace(adapting, maker=self.model).run():
            pass
        return load_experts(self.folder)

    def naive(self, look: Look) -> CleanJudge:
        return CleanJudge(classifier.load(self.guide), look=look)

    @property
    def arms(self) -> Mapping[str, Callable[[], Any]]:
        return {
            "the guide as it is, at x_t": lambda: self.naive(AtNoisy()),
            "the guide as it is, at x0": lambda: self.naive(AtEstimate()),
            "one noise-aware network, labels": self.alone,
            "5 experts, labels": self.labelled,
            "PPAP-5, no label": self.unlabelled,
        }

    def of(self, **more: Any) -> dict[str, Any]:
        """Return all that a figure depends on."""
        return {
            "model": self.model.digest,
            "guide": classifier.load(self.guide).digest,
            "steps": self.steps,
            "count": self.count,
            "images": self.images,
            "real": "all",
            "bf16": self.bf16,
            **({} if self.draws is None else {"draws": self.draws}),
            **more,
        }

    def cell(self, arm: str, judge: Any, scale: float, seed: int) -> dict[str, Any]:
        """Return the figures of an arm at a scale."""
        made = steered(self.model, judge, scale, unlabelled=True)
        place = f"ppap/{self.name}/{slug(arm)}-{scale:g}-{seed}"
        what = self.of(arm=arm, scale=scale, seed=seed)
        return kept(place, what, lambda: self.panel.figures(made, self.count, seed))

    def noise(self, arm: str, judge: Any) -> dict[str, Any]:
        """Return the accuracy on noisy held-out images, by fifths of the noise."""
        images, path = self.data.held_out(), self.model.denoiser.path

        def look() -> dict[str, Any]:
            shares = by_noise(judge.critic(), path, images, self.count, len(judge.classes))
            return {"accuracy": shares}

        return kept(f"ppap/{self.name}/{slug(arm)}-noise", self.of(arm=arm), look)


def slug(arm: str) -> str:
    return arm.replace(",", "").replace(" ", "-")
