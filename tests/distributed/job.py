"""What two processes do under torchrun, all in one start: see test_two_processes.py."""

import json
import math
import sys
from pathlib import Path

import torch

from mezzotint.checkpoint import write_tensors
from mezzotint.run import Run
from mezzotint.training.distributed import Ranks, ranks
from tests.evaluating import drawn_and_measured
from tests.tiny import CLASSIFIER, MASKED, tiny


def main(folder: Path) -> None:
    """Train a few runs, and leave losses and weights of each rank in `folder`."""
    torch.set_num_threads(1)
    with ranks("cpu") as group:
        fresh(folder, group)
        pieces(folder, group)
        resumed(folder, group)
        stopped(folder, group)
        spoilt(folder, group)
        classifier(folder, group)
        masked(folder, group)
        evaluated(folder, group)


def fresh(folder: Path, group: Ranks) -> None:
    """Train from the first step; whatever the second rank writes lands where nothing should be."""
    place = folder / "fresh" if group.first else folder / "written by rank 1"
    report(folder, group, "fresh", tiny(place, ranks=group))


def pieces(folder: Path, group: Ranks) -> None:
    """Each share is cut into pieces of which not all are there: 4 images in 3 pieces are 2."""
    run = tiny(folder / "pieces", "train.accumulate=3", ranks=group)
    report(folder, group, "pieces", run)


def resumed(folder: Path, group: Ranks) -> None:
    """Go on with a run that one process began."""
    report(folder, group, "begun by one", tiny(folder / "begun by one", ranks=group))


def stopped(folder: Path, group: Ranks) -> None:
    """Only the second rank is asked to stop, after its fourth step; one process goes on."""
    run = tiny(folder / "begun by two", ranks=group)
    run.open()
    for _ in run.fit(lambda: run.state.step == 4 and not group.first):
        pass
    assert run.state.step == 4
    group.wait()


def spoilt(folder: Path, group: Ranks) -> None:
    """The second rank's network puts out something that is no number, once."""
    run = tiny(folder / "spoilt", ranks=group)

    def hook(_module, _inputs, output):
        bad = run.state.step == 3 and not group.first and output.requires_grad
        return output * math.nan if bad else output

    run.network.register_forward_hook(hook)
    report(folder, group, "spoilt", run)


def classifier(folder: Path, group: Ranks) -> None:
    """Train a classifier, whose augmentations follow from the images' seeds."""
    run = tiny(folder / "classifier", tree=CLASSIFIER, ranks=group)
    report(folder, group, "classifier", run)


STEADY = (
    # What is drawn once for all that is scored together is not the same for two halves.
    "train.masking.low=0.76",
    "train.masking.high=0.77",
    "model.network.dropout=0",
    "model.network.attention_dropout=0",
)


def masked(folder: Path, group: Ranks) -> None:
    """Train a masked generator, whose head is asked beside the network that ranks share."""
    report(folder, group, "masked", tiny(folder / "masked", *STEADY, tree=MASKED, ranks=group))


def evaluated(folder: Path, group: Ranks) -> None:
    """Draw and measure samples, the shards and the reading dealt out to both."""
    found = drawn_and_measured(folder / "evaluated", group)
    assert (found is None) is not group.first
    if found is not None:
        (folder / "evaluated.json").write_text(json.dumps(found))


def report(folder: Path, group: Ranks, name: str, run: Run) -> None:
    """Train to the end; write losses and weights of this rank."""
    run.open()
    keys = ("step", "loss", "norm", "skipped")
    seen = [{key: getattr(state, key) for key in keys} for state in run.fit()]
    group.wait()
    tensors = run.network.state_dict() | run.ema.state()
    write_tensors(folder / f"{name}.{group.rank}.safetensors", tensors, {})
    (folder / f"{name}.{group.rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
