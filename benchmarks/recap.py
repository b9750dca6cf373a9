"""ReCAP: what full and light passes cost at published sizes.

    OMP_NUM_THREADS=1 python benchmarks/recap.py cost [--write]            counts and times passes

Weights are drawn at random: batch 8 by default, process times of passes in turn, medians. Rows are
kept when they are there; a second call goes on where it was. Quality against time:
`benchmarks/recap_quality.py`.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from costs import counted, in_turn, share

from mezzotint import config
from mezzotint.masked.plan import Masked, Plan, Reveal, single
from mezzotint.networks.mar import MAR
from mezzotint.networks.tokens import TokenTransformer
from mezzotint.official import nat

PAGE: Final = Path(__file__).parents[1] / "docs" / "masked.md"
_LATENT: Final = {"channels": 16, "size": [16, 16], "num_classes": 1000}
SIZES: Final[dict[str, tuple[dict[str, Any], Reveal, tuple[int, int]]]] = {
    "MaskGIT 256": ({"kind": "maskgit", "preset": "256"}, Masked(), (16, 0)),
    "NAT L (MaskGIT-r)": ({"kind": "nat", "preset": "L"}, nat.parts()[0], (16, 8)),
    "Halton B-256": ({"kind": "halton", "preset": "B-256"}, Masked(), (16, 0)),
    "MAGE B": ({"kind": "mage", "preset": "B"}, Masked(), (20, 0)),
    "MAR B": ({"kind": "mar", "preset": "B", **_LATENT}, Masked(), (64, 32)),
}
"""Name -> network, how tokens are dealt out, (stages, after) of the run that is counted."""


def passes(network: Any, batch: int, count: int) -> tuple[Callable[[], object], ...]:
    """Return a full pass over half-known tokens, and a light one over a group of `count`.

    Half of the group has become known in between.
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(batch, network.length, generator=generator).argsort(1)
    known, where = order[:, : network.length // 2], order[:, network.length // 2 :][:, :count]
    masked = torch.ones(batch, network.length, dtype=torch.bool).scatter(1, known, value=False)
    now = masked.scatter(1, where[:, : count // 2], value=False)
    y = torch.zeros(batch, dtype=torch.int64)
    tokens = drawn(network, batch, generator)
    _, context = network.prefill(tokens, masked, y)
    return (
        lambda: network.prefill(tokens, masked, y),
        lambda: network.extend(tokens, now, where, context, y),
    )


def drawn(network: TokenTransformer | MAR, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Return tokens of any value: codes, or numbers for MAR."""
    if isinstance(network, MAR):
        return torch.randn(batch, network.length, network.config.values, generator=generator)
    return torch.randint(network.codes, (batch, network.length), generator=generator)


@torch.inference_mode()
def row(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """Measure one size: a full pass, a light one, and the share of a whole run that is left."""
    tree, reveal, (steps, after) = SIZES[name]
    network = config.load("network", tree).build().eval()
    network.requires_grad_(requires_grad=False)  # what counts hangs hooks on what is trained
    plan = planned(reveal, network.length, steps, after)
    groups = [sum(group) for group in plan.groups if len(group) > 1]
    count = round(statistics.mean(groups))
    macs = [counted(work) for work in passes(network, 1, count)]
    times = in_turn(passes(network, batch, count), rounds)
    part = share(times[1], times[0])
    whole, few = plan.passes
    return {
        "name": name,
        "batch": batch,
        "group": count,
        "macs": macs,
        "seconds": [statistics.median(each) for each in times],
        "share": part,
        "plan": [steps, after, whole, few],
        "run_macs": (whole + few * macs[1] / macs[0]) / (whole + few),
        "run_seconds": (whole + few * part) / (whole + few),
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
            f"| {light / full:.3f} | {slow:.2f} | {fast:.2f} | {r['share']:.3f} "
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
            "many full ones. Process times of passes in turn, medians of the rounds' ratios; MAR's "
            "head is not in it."
        )
        marks = f"<!-- recap-cost -->\n{note}\n\n{found}\n<!-- /recap-cost -->"
        PAGE.write_text(head + marks + tail)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=PAGE.parents[1] / "runs" / "recap")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
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
