"""The table of docs/guidance.md on PPAP: who steers an unlabelled generator, at equal budgets.

    python benchmarks/ppap.py emoji --bf16            # trains, draws and measures what is missing
    python benchmarks/ppap.py emoji --bf16 --write    # and puts the tables into docs/
    python benchmarks/ppap.py emoji --bf16 --back     # from the last arm: two processes share it
    python benchmarks/ppap.py emoji --pictures        # same seeds under each arm that is trained

The generator has no classes, or is asked about its null class alone, and the class comes from the
critic: the guide as it is, the guide trained on noisy images with labels (one network, or five
experts), and PPAP's five experts, which see no label. All have the same number of training steps in
all and begin with the guide's weights. The judge is another network with another seed. The gate is
that of ppap.md, 9.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pages import cell, markdown, put
from ppap_arms import MODELS, Study
from steering import LEVELS, mean_of

from mezzotint.data.draw import grid
from mezzotint.data.write import save_png
from mezzotint.diffusion.steering import AtNoisy
from mezzotint.experts import about
from mezzotint.steering import steered

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guidance.md"
SEEDS = (0, 1_000_000)
SCALES = (1.0, 4.0, 10.0, 20.0)
SHOWN = 10.0
"""Scale of the pictures."""


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


def pictures(study: Study) -> Path:
    """Draw a seed a class, a row an arm, nobody first; no arm is chosen by its looks."""
    judges = {arm: make() for arm, make in study.arms.items()}
    rows = []
    for judge, scale in ((study.naive(AtNoisy()), 0.0), *((j, SHOWN) for j in judges.values())):
        made = steered(study.model, judge, scale, unlabelled=True)
        labels = list(range(len(made.classes)))
        rows.append(torch.cat(list(made.stream(labels, labels))))
    path = ROOT / "docs" / "images" / f"ppap-{study.name}.png"
    names = ["nobody", *judges]
    save_png(path, grid(torch.cat(rows), columns=len(rows[0]), names=names, magnify=2))
    return path


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
    ask.add_argument("--pictures", action="store_true", help="only draw")
    ask.add_argument("--write", action="store_true")
    given = ask.parse_args()
    budget = (given.steps, given.count, given.images)
    study = Study(given.name, given.root, *budget, given.bf16, given.draws)
    if given.pictures:
        print(pictures(study))
        return
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
