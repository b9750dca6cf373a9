"""The table of docs/performance.md that tells how backbones scale with the number of tokens.

    python benchmarks/scaling.py --max-tokens 1024     # prints what was measured, writes nothing
    python benchmarks/scaling.py --write               # all of it, into docs/

One forward of one image on one thread: DiT-S/2, LiT-S/2 and DiCo-S, and one layer of attention of
the first two. All take turns in each round, and medians are reported. Memory is what the forward
adds to the peak of a process that holds the network; slopes are of lines through the logarithms.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from pages import markdown, put
from torch import nn

from mezzotint import bench
from mezzotint.evaluation.plots import Logarithmic, Series, lines
from mezzotint.files import write_text
from mezzotint.networks.dico import DiCoConfig
from mezzotint.networks.dit import DiTConfig
from mezzotint.networks.lit import LiTConfig
from mezzotint.nn.attention import LinearAttention, SelfAttention

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
LATENTS = (32, 64, 96, 128, 192, 256)
FITTED = (1_024, 9_216)
"""Tokens between which slopes are fitted, ends included."""
SMALL = {"channels": 4, "num_classes": 1000, "outputs": 2}
WIDTH = DiTConfig.PRESETS["S/2"]["width"]


def tokens(latent: int) -> int:
    return (latent // 2) ** 2


def dit(latent: int) -> nn.Module:
    return DiTConfig(**SMALL, size=(latent, latent), **DiTConfig.PRESETS["S/2"]).build()


def lit(latent: int) -> nn.Module:
    return LiTConfig(**SMALL, size=(latent, latent), **LiTConfig.PRESETS["S/2"]).build()


def dico(latent: int) -> nn.Module:
    return DiCoConfig(**SMALL, size=(latent, latent), **DiCoConfig.PRESETS["S"]).build()


def softmax(_latent: int) -> nn.Module:
    return SelfAttention(WIDTH, DiTConfig.PRESETS["S/2"]["heads"])


def linear(latent: int) -> nn.Module:
    shape = (latent // 2, latent // 2)
    return LinearAttention(WIDTH, LiTConfig.PRESETS["S/2"]["heads"], shape=shape)


Make = Callable[[int], nn.Module]
NETWORKS: Mapping[str, Make] = {"DiT-S/2": dit, "LiT-S/2": lit, "DiCo-S": dico}
LAYERS: Mapping[str, Make] = {"softmax attention": softmax, "linear attention": linear}
EVERY: Mapping[str, Make] = {**NETWORKS, **LAYERS}


def given(name: str, latent: int) -> tuple[torch.Tensor, ...]:
    if name in LAYERS:
        return (torch.randn(1, tokens(latent), WIDTH),)
    time_, label = torch.full((1,), 500.0), torch.zeros(1, dtype=torch.long)
    return torch.randn(1, 4, latent, latent), time_, label


def job(name: str, latent: int) -> Callable[[], float]:
    module, inputs = EVERY[name](latent).eval(), given(name, latent)

    def once() -> float:
        with torch.inference_mode():
            started = time.perf_counter()
            module(*inputs)
            return time.perf_counter() - started

    return once


def held(name: str, latent: int, forwards: int) -> None:
    """Hold a module in a process of its own, and evaluate it so many times."""
    torch.set_num_threads(1)
    once = job(name, latent)
    for _ in range(forwards):
        once()


def memory(name: str, latent: int) -> int:
    """Return how many MB a forward adds to the peak."""
    before, after = (bench.peak(held, name, latent, forwards) for forwards in (0, 1))
    return max(after - before, 0)


def measured(latent: int, rounds: int) -> dict[str, tuple[float, int]]:
    """Return the seconds and the MB of every contestant."""
    seconds = bench.interleaved({name: job(name, latent) for name in EVERY}, rounds)
    return {name: (seconds[name], memory(name, latent)) for name in EVERY}


Found = Mapping[int, Mapping[str, tuple[float, int]]]


def slope(found: Found, name: str) -> float | None:
    """Return the exponent of time in the number of tokens; None from fewer than two sizes."""
    low, high = FITTED
    inside = [latent for latent in found if low <= tokens(latent) <= high]
    if len(inside) < 2:
        return None
    times = [math.log(found[latent][name][0]) for latent in inside]
    return statistics.linear_regression([math.log(tokens(at)) for at in inside], times).slope


def rows(found: Found, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield a table: a row a size, and the slopes."""
    first, second, *_ = names
    yield ["latent", "tokens", *(f"{n}: ms" for n in names), f"{first} / {second}",
           *(f"{n}: MB" for n in names)]  # fmt: skip
    for latent, each in found.items():
        times = [f"{1000 * each[name][0]:.1f}" for name in names]
        ratio = f"{each[first][0] / each[second][0]:.2f}"
        sizes = [str(each[name][1]) for name in names]
        yield [str(latent), f"{tokens(latent):,}", *times, ratio, *sizes]
    slopes = [slope(found, name) for name in names]
    shown = ["" if value is None else f"{value:.2f}" for value in slopes]
    yield ["slope", f"{FITTED[0]:,} to {FITTED[1]:,}", *shown, "", *("" for _ in names)]


def overtaking(found: Found) -> str:
    """Say from which size on the linear network is the faster one."""
    sizes = sorted(found, reverse=True)
    faster = [at for at in sizes if found[at]["LiT-S/2"][0] < found[at]["DiT-S/2"][0]]
    if not faster or faster[0] != sizes[0]:
        return "LiT-S/2 does not overtake DiT-S/2 at these sizes."
    slower = [at for at in sizes if at not in faster]
    start = min(at for at in faster if not slower or at > slower[0])
    return f"LiT-S/2 is faster than DiT-S/2 from {tokens(start):,} tokens on (sizes measured)."


def plot(found: Found) -> str:
    """Return time and memory of the networks against tokens, as one picture."""
    x = tuple(float(tokens(latent)) for latent in found)
    series = [
        Series(name, x, tuple(1000 * each[name][0] for each in found.values())) for name in EVERY
    ]
    scale = Logarithmic()
    title = "Time of one forward, one thread"
    return lines(series, "tokens", "ms", title, x_scale=scale, y_scale=scale)


def memory_plot(found: Found) -> str:
    """Return what a forward adds to the peak, against tokens."""
    x = tuple(float(tokens(latent)) for latent in found)
    series = [  # a forward that fits into what was there already adds less than 1 MB
        Series(name, x, tuple(float(max(each[name][1], 1)) for each in found.values()))
        for name in NETWORKS
    ]
    title, scale = "Memory that one forward adds", Logarithmic()
    return lines(series, "tokens", "MB", title, x_scale=scale, y_scale=scale)


def main() -> None:
    """Measure, print the tables, and write them and the plots if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-tokens", type=int, default=tokens(LATENTS[-1]))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", type=Path, default=PAGE, help="where --write puts the table")
    parser.add_argument("--write", action="store_true", help="put table and plots into docs/")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[int, dict[str, tuple[float, int]]] = {}
    for latent in LATENTS:
        if tokens(latent) <= asked.max_tokens:
            found[latent] = measured(latent, asked.rounds)
            print(latent, found[latent], flush=True)
    if not found:
        parser.error(f"--max-tokens {asked.max_tokens}: the smallest size has {tokens(LATENTS[0])}")
    tables = "\n".join(markdown(list(rows(found, list(names)))) for names in (NETWORKS, LAYERS))
    text = f"{bench.machine()}, median of {asked.rounds} rounds. {overtaking(found)}\n\n{tables}"
    print(f"\n{text}")
    if asked.write:
        images = asked.page.parent / "images"
        images.mkdir(exist_ok=True)
        write_text(images / "scaling-time.svg", plot(found))
        write_text(images / "scaling-memory.svg", memory_plot(found))
        shown = "![Time against tokens](images/scaling-time.svg)\n\n"
        shown += "![Memory against tokens](images/scaling-memory.svg)\n"
        put(asked.page, "scaling", f"{text}\n{shown}")


if __name__ == "__main__":
    main()
