"""ReCAP: what full and light passes cost at published sizes.

    OMP_NUM_THREADS=1 python benchmarks/recap.py cost [--write]            counts and times passes

Weights are drawn at random: batch 8 by default, process time, medians. Rows are kept when they are
there; a second call goes on where it was. Quality against time: `benchmarks/recap_quality.py`.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from costs import counted, timed

from mezzotint import config
from mezzotint.masked.plan import Masked, Plan, Reveal, single
from mezzotint.networks.tokens import TokenTransformer
from mezzotint.official import nat

PAGE: Final = Path(__file__).parents[1] / "docs" / "masked.md"
SIZES: Final = {
    "MaskGIT 256": ("maskgit", "256", Masked(), (16, 0)),
    "NAT L (MaskGIT-r)": ("nat", "L", nat.parts()[0], (16, 8)),
    "Halton B-256": ("halton", "B-256", Masked(), (16, 0)),
    "MAGE B": ("mage", "B", Masked(), (20, 0)),
}
"""Name -> kind, preset, how tokens are dealt out, (stages, after) of the run that is counted."""


def passes(network: TokenTransformer, batch: int, count: int) -> tuple[Callable[[], object], ...]:
    """Return a full pass over half-known tokens, and a light one over a group of `count`."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(network.codes, (batch, network.length), generator=generator)
    masked = torch.rand(batch, network.length, generator=generator) < 0.5
    where = torch.rand(batch, network.length, generator=generator).argsort(1)[:, :count]
    y = torch.zeros(batch, dtype=torch.int64)
    _, context = network.prefill(tokens, masked, y)
    return (
        lambda: network.prefill(tokens, masked, y),
        lambda: network.extend(tokens, masked, where, context, y),
    )


@torch.inference_mode()
def row(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """Measure one size: a full pass, a light one, and the share of a whole run that is left."""
    kind, preset, reveal, (steps, after) = SIZES[name]
    network = config.load("network", {"kind": kind, "preset": preset}).build().eval()
    network.requires_grad_(requires_grad=False)  # what counts hangs hooks on what is trained
    plan = planned(reveal, network.length, steps, after)
    groups = [sum(group) for group in plan.groups if len(group) > 1]
    count = round(statistics.mean(groups))
    full, light = passes(network, batch, count)
    ones = passes(network, 1, count)
    macs = [counted(work) for work in ones]
    seconds = [timed(work, rounds) for work in (full, light)]
    whole, few = plan.passes
    return {
        "name": name,
        "batch": batch,
        "group": count,
        "macs": macs,
        "seconds": seconds,
        "plan": [steps, after, whole, few],
        "run_macs": (whole + few * macs[1] / macs[0]) / (whole + few),
        "run_seconds": (whole + few * seconds[1] / seconds[0]) / (whole + few),
    }


def planned(reveal: Reveal, length: int, steps: int, after: int) -> Plan:
    """Return the plan of a run with one light pass after each full one."""
    return single(reveal(length, steps)).regrouped(1, after)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table of the page."""
    lines = [
        "| size | group | GMAC full | light | share | s full | light | share | run "
        "| MACs left | time left |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --- | --: | --: |",
    ]
    for r in rows:
        (full, light), (slow, fast) = r["macs"], r["seconds"]
        steps, after, whole, few = r["plan"]
        lines.append(
            f"| {r['name']} | {r['group']} | {full / 1e9:.1f} | {light / 1e9:.2f} "
            f"| {light / full:.3f} | {slow:.2f} | {fast:.2f} | {fast / slow:.3f} "
            f"| {steps} stages, after {after}: {whole} + {few} "
            f"| {r['run_macs']:.2f} | {r['run_seconds']:.2f} |"
        )
    return "\n".join(lines)


def cost(options: argparse.Namespace) -> None:
    """Measure every size, one by one, and show or write the table; rows that are there stay."""
    kept = options.root / f"cost-{options.batch}.json"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    for name in options.sizes or SIZES:
        if all(each["name"] != name for each in rows):
            rows.append(row(name, options.batch, options.rounds))
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(rows, indent=1))
    found = table(rows)
    print(found)
    if options.write:
        head, _, rest = PAGE.read_text().partition("<!-- recap-cost -->")
        _, _, tail = rest.partition("<!-- /recap-cost -->")
        note = (
            f"Batch {options.batch}, float32, one thread. A light pass is over a group of mean "
            "size; multiply-adds are of one image; *left* is what a run's passes cost beside as "
            "many full ones. Process time, on a machine that others shared."
        )
        marks = f"<!-- recap-cost -->\n{note}\n\n{found}\n<!-- /recap-cost -->"
        PAGE.write_text(head + marks + tail)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("runs/recap"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    verbs = parser.add_subparsers(required=True)
    first = verbs.add_parser("cost")
    first.add_argument("--sizes", nargs="*", choices=SIZES)
    first.add_argument("--write", action="store_true")
    first.set_defaults(work=cost)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work(options)


if __name__ == "__main__":
    main()
