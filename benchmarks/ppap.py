"""The table of docs/guidance.md on PPAP: who steers an unlabelled generator, at equal budgets.

    python benchmarks/ppap.py emoji --bf16            # trains, draws and measures what is missing
    python benchmarks/ppap.py emoji --bf16 --write    # and puts the tables into docs/
    python benchmarks/ppap.py emoji --bf16 --back     # from the last arm: two processes share it

The generator has no classes, or is asked about its null class alone, and the class comes from the
critic: the guide as it is, the guide trained on noisy images with labels (one network, or five
experts), and PPAP's five experts, which see no label. All have the same number of training steps in
all and begin with the guide's weights. The judge is another network with another seed. The gate is
that of ppap.md, 9.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kept import kept
from pages import cell, markdown, put
from steering import LEVELS, Panel, by_noise, mean_of
from trials import PRECISION, trained

import mezzotint
from mezzotint import classifier, config, noisy
from mezzotint.adapting import Adapting
from mezzotint.data.images import Data
from mezzotint.data.unlabelled import Unlabelled
from mezzotint.diffusion.critics import Critic, Experts
from mezzotint.diffusion.routing import Partition
from mezzotint.diffusion.steering import AtEstimate, AtNoisy, Look
from mezzotint.experts import about
from mezzotint.experts import load as load_experts
from mezzotint.generator import Generator
from mezzotint.judges import CleanJudge, NoisyJudge
from mezzotint.steering import steered
from mezzotint.training.experts import ExpertPlan

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guidance.md"
SEEDS = (0, 1_000_000)
SCALES = (1.0, 2.0, 4.0, 10.0)
EXPERTS = 5
MODELS = {"emoji": "emoji-dit", "prints": "prints-dit-unconditional"}
"""What is steered; the null class of prints-dit draws blobs whoever steers."""


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
        return Panel(judge, self.data.train(), max(64, self.count))

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


@dataclass
class Found:
    """What is known of the arms: lines of both tables, and what the gate compares."""

    steering: list[list[str]]
    noise: list[list[str]]
    best: dict[str, tuple[float, float]]  # lowest FD and highest accuracy over the scales
    second: dict[str, float]  # accuracy on the second fifth of the noise

    @classmethod
    def begun(cls, study: Study) -> "Found":
        none = [study.cell("none", study.naive(AtNoisy()), 0.0, seed) for seed in SEEDS]
        head = ["who steers", "scale", "accuracy", f"FD-{study.name}", "precision", "recall"]
        fifths = [f"t up to {(k + 1) / LEVELS:g}" for k in range(LEVELS)]
        return cls([head, ["nobody", "0", *cells(none)]], [["who reads", *fifths]], {}, {})

    def take(self, study: Study, arm: str, make: Callable[[], Any]) -> None:
        """Train, draw and measure what is missing of an arm."""
        judge = make()
        shares = study.noise(arm, judge)["accuracy"]
        self.noise.append([arm, *(f"{share:.3f}" for share in shares)])
        self.second[arm] = shares[1]
        for scale in SCALES:
            found = [study.cell(arm, judge, scale, seed) for seed in SEEDS]
            self.steering.append([arm, f"{scale:g}", *cells(found)])
            fd, right = (sum(mean_of(found, n)) / len(found) for n in ("fd", "accuracy"))
            low, high = self.best.get(arm, (fd, right))
            self.best[arm] = min(low, fd), max(high, right)
            print(arm, scale, found, flush=True)

    def text(self) -> str:
        """Return both tables and what the gate of the specification says."""
        naive, ppap = "the guide as it is, at x_t", "PPAP-5, no label"
        ratio = self.best[ppap][0] / max(self.best[naive][0], 1e-9)
        more = self.best[ppap][1] - self.best[naive][1]
        gain = self.second[ppap] - self.second[naive]
        passed = ratio <= 0.75 and more >= 0 and gain >= 0.05
        said = (
            f"Gate {'met' if passed else 'not met'}: PPAP's best FD is {ratio:.2f} of the naive "
            f"guide's (at most 0.75 wanted), its best accuracy {more:+.3f} (at least 0), its "
            f"accuracy on the second fifth of the noise {gain:+.3f} (at least 0.05).\n"
        )
        return f"{markdown(self.steering)}\n{markdown(self.noise)}\n{said}"


def cells(found: list[dict[str, Any]]) -> list[str]:
    names = ("accuracy", "fd", "precision", "recall")
    return [cell(mean_of(found, name)) for name in names]


def told(study: Study) -> str:
    """Return what the tables are of."""
    mine, whole = about(study.folder).share
    how = {True: "the generator in bf16", False: "float32"}[study.bf16]
    return (
        f"\n{study.count:,} images a seed, {study.model.sampling.steps} steps, {how}; "
        f"{study.steps:,} training steps an arm; an expert of PPAP trains {mine:,} of {whole:,} "
        f"numbers ({mine / whole:.1%}).\n"
    )


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("name", choices=MODELS)
    ask.add_argument("--root", type=Path, default=ROOT / "runs" / "ppap")
    ask.add_argument("--steps", type=int, default=5_000, help="of training in all, an arm")
    ask.add_argument("--count", type=int, default=1_000, help="samples a cell")
    ask.add_argument("--images", type=int, default=5_000, help="that PPAP is trained on")
    ask.add_argument("--bf16", action="store_true", help="of the generator")
    ask.add_argument("--draws", type=int, help="steps of the sampler, if not the recipe's")
    ask.add_argument("--back", action="store_true", help="begin with the last arm; no table")
    ask.add_argument("--write", action="store_true")
    given = ask.parse_args()
    budget = (given.steps, given.count, given.images)
    study = Study(given.name, given.root, *budget, given.bf16, given.draws)
    found, arms = Found.begun(study), list(study.arms.items())
    for arm, make in arms[::-1] if given.back else arms:
        found.take(study, arm, make)
    if given.back:
        return
    text = found.text() + told(study)
    print(text)
    if given.write:
        put(PAGE, f"ppap-{given.name}", text)


if __name__ == "__main__":
    main()
