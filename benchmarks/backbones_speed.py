"""The table of speeds in docs/backbones.md: one forward of DiT and of DiCo at equal published size.

    python benchmarks/backbones_speed.py --sizes S --latents 16,32     # prints the table
    python benchmarks/backbones_speed.py --threads 1 --write           # all of it, into docs/

One image with its own time and class, nothing shared; all contestants and dtypes take turns in each
round, and medians are reported. bf16 is autocast from float32 weights, as in sampling.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import torch
from pages import markdown, put
from torch import nn

from mezzotint import bench, recipe
from mezzotint.averaged import DTYPES
from mezzotint.card import cost
from mezzotint.networks.base import NetworkConfig
from mezzotint.networks.dico import DiCoConfig
from mezzotint.networks.dit import DiTConfig

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
SIZES = ("S", "B")
LATENTS = (16, 32, 64, 128)


def contestants(size: str, side: int) -> dict[str, NetworkConfig]:
    """Return both networks at a published size, for latents of 4 x side x side."""
    data = {"channels": 4, "size": (side, side), "num_classes": 1000, "outputs": 2}
    return {
        "DiT": DiTConfig(**data, **DiTConfig.PRESETS[f"{size}/2"]),
        "DiCo": DiCoConfig(**data, **DiCoConfig.PRESETS[size]),
    }


def inputs(side: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(1, 4, side, side), torch.full((1,), 500.0), torch.zeros(1, dtype=torch.long)


def job(network: nn.Module, side: int, label: str) -> Callable[[], float]:
    given = inputs(side)

    def once() -> float:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", DTYPES[label], enabled=label != "fp32"),
        ):
            started = time.perf_counter()
            network(*given)
            return time.perf_counter() - started

    return once


def multiply_adds(config: NetworkConfig, side: int) -> int:
    with torch.device("meta"):
        return cost(config.build(), *inputs(side))["multiply_adds"]


def row(size: str, side: int, dtypes: Sequence[str], rounds: int) -> list[str]:
    """Measure one size at one latent, in all dtypes."""
    configs = contestants(size, side)
    networks = {name: config.build().eval() for name, config in configs.items()}
    jobs = {
        (name, label): job(network, side, label)
        for label in dtypes
        for name, network in networks.items()
    }
    seconds = bench.interleaved(jobs, rounds)
    cells = [f"DiT-{size}/2, DiCo-{size}", str(side)]
    for label in dtypes:
        dit, dico = seconds["DiT", label], seconds["DiCo", label]
        cells += [f"{1000 * dit:.0f}", f"{1000 * dico:.0f}", f"{dit / dico:.2f}"]
    counts = [multiply_adds(config, side) for config in configs.values()]
    return [*cells, f"{counts[0] / counts[1]:.2f}"]


def heading(dtypes: Sequence[str]) -> Iterator[str]:
    yield from ("", "latent")
    native = recipe.fast_bf16(torch.device("cpu"))
    for label in dtypes:
        shown = label if label == "fp32" or native else f"{label}, emulated"
        yield from (f"DiT ms ({shown})", f"DiCo ms ({shown})", f"DiT / DiCo ({shown})")
    yield "multiply-adds, DiT / DiCo"


def main() -> None:
    """Measure, print the table, and write it into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--latents", default=",".join(map(str, LATENTS)))
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", default="speed", help="its mark in the page")
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    dtypes = bench.dtypes_of(asked.dtypes, "cpu")
    lines = [list(heading(dtypes))]
    for size, side in product(asked.sizes.split(","), map(int, asked.latents.split(","))):
        lines.append(row(size, side, dtypes, asked.rounds))
        print(*lines[-1], flush=True)
    text = f"{bench.machine()}, median of {asked.rounds} rounds\n\n{markdown(lines)}"
    print(f"\n{text}")
    if asked.write:
        put(PAGE, asked.table, text)


if __name__ == "__main__":
    main()
