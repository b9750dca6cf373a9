"""The gate of PPGN on digits: what the prior is worth, judged by a network that nobody climbed.

    python benchmarks/ppgn.py --train            # trains what is missing; goes on
    python benchmarks/ppgn.py --write            # walks, measures, writes the table

A seed has four networks of its own: the encoder E, whose codes the generator is trained from; the
condition network C, which pulls; the evaluator V, which judges; the players of the generator. The
Fréchet distance is in V's features, so it compares within a seed only.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from kept import kept
from pages import markdown, put
from PIL import Image
from torch import Tensor
from trials import trained

from mezzotint import classifier, config, recipe
from mezzotint.classifier import Classifier
from mezzotint.data.draw import grid
from mezzotint.data.embedded import Digits
from mezzotint.data.write import save_png
from mezzotint.evaluation.frechet import frechet
from mezzotint.evaluation.moments import Moments
from mezzotint.plugged import model as plugged
from mezzotint.plugged.opening import HiddenUnit, asking
from mezzotint.plugged.opening import recipe as walk_of
from mezzotint.plugged.walker import Walker
from mezzotint.tokenizers.base import floats, pixels

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "ppgn.md"
SEEDS = (0, 1, 2)
CLASSES, EACH = 10, 30
UNITS = (3, 17, 31)
"""Hidden units that are shown; they were not chosen."""
SAMPLERS: Mapping[str, Sequence[str]] = {
    "DGN-AM (0, 1, 0)": ("preset=gate", "prior=none", "weights.prior=0"),
    "noise only (0, 1, 0.05)": ("preset=gate", "prior=none", "weights={prior: 0, noise: 0.05}"),
    "E(G(h)) (0.1, 1, 0)": ("preset=gate",),
    "E(G(h)) and noise (0.1, 1, 0.05)": ("preset=gate", "weights.noise=0.05"),
    "autoencoder of codes (0.1, 1, 0)": ("preset=gate", "prior=autoencoder"),
    "released form (1e-5, 1, 1e-17)": ("preset=noiseless-joint", "steps=100"),
}
BARE, HELD = "DGN-AM (0, 1, 0)", "E(G(h)) (0.1, 1, 0)"
HOLE = ("around=0.03",)
"""What stands around pulls: e4 of the release is for its own scale and normalised steps."""
NEARER, WIDER, RIGHT = 2.0, 1.2, 0.5
"""The gate: a distance at least halved, and at least this spread within a class and accuracy."""


@dataclass(frozen=True)
class Plan:
    """How long the runs are, and where."""

    root: Path
    shorter: float

    def train(self, name: str, seed: int, *settings: str) -> Path:
        """Train what is missing of a network of a seed; return its folder."""
        tree = recipe.find(name)
        steps = max(2, round(tree["train"]["steps"] * self.shorter))
        every = [f"train.{what}={steps}" for what in ("steps", "validate_every", "log_every")]
        tree = config.override(tree, [*every, f"train.seed={seed}", *settings])
        return trained(tree, self.root / f"{name}-seed-{seed}-{steps}")

    def networks(self, seed: int) -> tuple[Path, Path, Path]:
        """Return generator, condition network and evaluator of a seed, trained."""
        encoder = self.train("digits-encoder", 100 + seed)
        # Two architectures and other seeds: nothing that judges was ever climbed.
        asks, judge = self.train("digits-guide", 200 + seed), self.train("digits-judge", 300 + seed)
        made = self.train("digits-ppgn", seed, f"model.encoder.source={encoder}")
        return made, asks, judge


def spread_of(images: Tensor, labels: Tensor) -> float:
    """Return the mean distance of two pictures of a class, over grey values in [-1, 1]."""
    rows = floats(images)[:, 0].flatten(1)
    found = [torch.pdist(rows[labels == label]).mean() for label in labels.unique()]
    return float(torch.stack(found).mean())


def figures(images: Tensor, labels: Tensor, judge: Classifier, asks: Classifier) -> dict[str, Any]:
    """Return what evaluator and condition network say of pictures."""
    real = Digits().train()
    reference = Moments.of(judge.features(real.pixels))
    return {
        "accuracy": float((judge(images).argmax(1) == labels).float().mean()),
        "own": float((asks(images).argmax(1) == labels).float().mean()),
        "fd": frechet(Moments.of(judge.features(images)), reference),
        "spread": spread_of(images, labels),
    }


def measured(plan: Plan, seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures of every sampler, of real pictures, and of these as they come back."""
    folders = plan.networks(seed)
    made, asks, judge = plugged.load(folders[0]), *(classifier.load(f) for f in folders[1:])
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    seeds = list(range(len(labels)))
    of = {"model": made.digest, "asks": asks.digest, "judge": judge.digest, "each": EACH}
    held = Digits().held_out()
    back = pixels(made.network.generator(made.walker.pieces.encoder(floats(held.pixels))))  # type: ignore[misc]
    found = {
        "real pictures, held out": figures(held.pixels, held.labels, judge, asks),
        "the same through E and G": figures(back, held.labels, judge, asks),
    }
    for name, settings in SAMPLERS.items():
        walker = asking(made.walker, str(folders[1]))
        walker = walker.walking(walk_of(made.sampling, list(settings), {}))

        def drawn(walker: Any = walker) -> dict[str, Any]:
            images = torch.cat(list(walker.stream(labels.tolist(), seeds, batch=len(seeds))))
            return figures(images, labels, judge, asks)

        slug = "".join(c if c.isalnum() else "-" for c in name)
        whole = {**of, "walk": config.dump(walker.sampling)}
        found[name] = kept(f"ppgn/{slug}-seed-{seed}", whole, drawn)
        print(seed, name, found[name], flush=True)
    return found


def rows(found: Sequence[dict[str, dict[str, Any]]]) -> Iterator[list[str]]:
    """Yield the table: a row a sampler, the seeds side by side."""
    yield ["", "accuracy by V", "by C itself", "FD in V's features", "distance within a class"]
    for name in found[0]:
        each = [one[name] for one in found]
        yield [
            name,
            " / ".join(f"{one['accuracy']:.2f}" for one in each),
            " / ".join(f"{one['own']:.2f}" for one in each),
            " / ".join(f"{one['fd']:.3g}" for one in each),
            " / ".join(f"{one['spread']:.2f}" for one in each),
        ]


def gate(found: Sequence[dict[str, dict[str, Any]]]) -> str:
    """Say whether the prior passes the gate, seed by seed."""
    lines = []
    for seed, one in enumerate(found):
        bare, held = one[BARE], one[HELD]
        nearer, wider = bare["fd"] / held["fd"], held["spread"] / bare["spread"]
        passed = nearer >= NEARER and wider >= WIDER and held["accuracy"] >= RIGHT
        lines.append(
            f"- seed {seed}: FD {nearer:.2f} times nearer, spread {wider:.2f} times as wide, "
            f"{held['accuracy']:.0%} right: {'passed' if passed else 'not passed'}"
        )
    worst = statistics.fmean(one[BARE]["own"] - one[BARE]["accuracy"] for one in found)
    lines.append(f"- C thinks better of DGN-AM than V does, by {worst:.0%} of the pictures")
    return "\n".join(lines) + "\n"


def pictures(source: Path, folder: Path) -> None:
    """Draw what classes, hidden units and holes give; zoo's digits-guide asks for the classes."""
    made = plugged.load(source)
    guided = asking(made.walker, "digits-guide")
    own = made.walker.sample(range(CLASSES), seeds=0)
    rows = {"the encoder asks": own, "digits-guide asks": guided.sample(range(CLASSES), seeds=0)}
    for unit in UNITS:
        walker = asking(made.walker, None, (HiddenUnit("hidden.0", unit),), classes=False)
        rows[f"hidden unit {unit}"] = walker.sample(seeds=range(CLASSES))
    sheet = grid(torch.cat([*rows.values()]), columns=CLASSES, names=[*rows], magnify=6)
    save_png(folder / "ppgn.png", sheet)
    save_png(folder / "ppgn-holes.png", holes(guided.walking(walk_of(made.sampling, HOLE, {}))))


def holes(walker: Walker) -> Image.Image:
    """Draw held-out pictures, what is cut out of them, and what each class puts there."""
    held, mask = Digits().held_out(), torch.zeros(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    rows: list[Tensor] = []
    for label in range(0, CLASSES, 3):
        image = held.pixels[held.labels == label][0]
        filled = replace(walker, photo=floats(image[None])[0], mask=mask)
        cut = torch.where(mask.bool(), 128, image).to(torch.uint8)
        rows += [image, cut, *filled.sample(range(CLASSES), seeds=0)]
    return grid(torch.stack(rows), columns=CLASSES + 2, magnify=6)


def main() -> None:
    """Train what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="only train what is missing")
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    parser.add_argument("--pictures", type=Path, help="only draw docs/images/ppgn*.png of this run")
    parser.add_argument("--root", type=Path, default=ROOT / "runs" / "ppgn")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--shorter", type=float, default=1.0, help="share of the recipes' steps")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.pictures:
        pictures(asked.pictures, ROOT / "docs" / "images")
        return
    plan = Plan(asked.root.resolve(), asked.shorter)
    for seed in SEEDS[: asked.seeds]:
        plan.networks(seed)
    if asked.train:
        return
    found = [measured(plan, seed) for seed in SEEDS[: asked.seeds]]
    table = f"{markdown(list(rows(found)))}\n{gate(found)}"
    print(table)
    if asked.write:
        put(asked.page, "ppgn", table)


if __name__ == "__main__":
    main()
