"""Speed and memory, measured side by side: rounds are interleaved, and medians are reported."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mezzotint import config, generator, recipe
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.run import Run
from mezzotint.training.distributed import Ranks

_DTYPES: Final[dict[str, torch.dtype | None]] = {"fp32": None, "bf16": torch.bfloat16}
_PRECISIONS: Final = {"fp32": "float32", "bf16": "bf16"}

Row = dict[str, Any]


def dtypes_of(text: str | None, device: str) -> list[str]:
    """Read a list of dtypes; by default fp32, and bf16 where it is not emulated.

    Raises:
        ConfigError: a dtype that is not known.
    """
    if text is None:
        return ["fp32", "bf16"] if recipe.fast_bf16(torch.device(device)) else ["fp32"]
    asked = text.split(",")
    for each in asked:
        if each not in _DTYPES:
            raise ConfigError(f"--dtypes {text}: {config.nearest(each, _DTYPES)}")
    return asked


def machine() -> str:
    """Describe this machine in one line."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = found[0].partition(":")[2].strip() if found else name
    cpu = torch.device("cpu")
    half = "native bf16" if recipe.fast_bf16(cpu) else "no native bf16"
    return (
        f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, {half}, torch {torch.__version__}"
    )


def size_of(made: Generator) -> Row:
    """Return parameters, and multiply-adds of one network evaluation of one image.

    Multiply-adds are half of what PyTorch's FLOP counter says: linear layers, convolutions and
    attention products; not norms, activations or embeddings.
    """
    network = made.denoiser.network  # type: ignore[attr-defined]
    x = torch.zeros(1, *made.tokenizer.spec.shape, device=made.device)
    # The counter does not know the fused attention of CPUs; spelt out, its products are counted.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        network(x, torch.zeros(1, device=made.device), torch.zeros(1, dtype=torch.int64))
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
    }


def sampling(
    models: Sequence[str], *, dtypes: Sequence[str], batch: int, rounds: int, device: str
) -> list[Row]:
    """Measure how fast models sample under their own recipes.

    Args:
        models: what `load` takes.
        dtypes: "fp32", "bf16"; see `dtypes_of`.
        batch: images at a time.
        rounds: of all models and dtypes, one after the other.
        device: where.
    """
    jobs: dict[tuple[str, str], Callable[[], float]] = {}
    loaded = {name: generator.load(name) for name in models}
    for name, made in loaded.items():
        for label in dtypes:
            jobs[name, label] = _sampling_job(made, batch, device, _DTYPES[label])
    medians = _interleaved(jobs, rounds)
    rows = []
    for (name, label), seconds in medians.items():
        made = loaded[name]
        rows.append(
            {
                "model": name,
                "dtype": label,
                "M parameters": round(size_of(made.to(device))["parameters"] / 1e6, 2),
                "images/s": round(batch / seconds, 2),
                "ms/step": round(1000 * seconds / made.sampling.steps, 1),
                "steps": made.sampling.steps,
                "peak MB": _peak(device),
            }
        )
    return rows


def _sampling_job(
    made: Generator, batch: int, device: str, dtype: torch.dtype | None
) -> Callable[[], float]:
    labels = [k % max(1, len(made.classes)) for k in range(batch)]

    def once() -> float:
        started = time.perf_counter()
        for _ in made.to(device, autocast=dtype).stream(labels, range(batch), batch=batch):
            pass
        return time.perf_counter() - started

    return once


def training(
    recipes: Sequence[str], *, dtypes: Sequence[str], steps: int, rounds: int, device: str
) -> list[Row]:
    """Measure training images a second of recipes.

    Args:
        recipes: what `recipe.find` takes.
        dtypes: "fp32", "bf16"; see `dtypes_of`.
        steps: optimiser steps a round.
        rounds: of all recipes and dtypes, one after the other.
        device: where.
    """
    with TemporaryDirectory() as folder:
        jobs = {}
        batches = {}
        for name in recipes:
            for label in dtypes:
                precision = f"train.precision={_PRECISIONS[label]}"
                tree = config.override(recipe.find(name), [precision])
                resolved = recipe.resolve(tree)
                batches[name] = resolved.train.batch
                run = Run(resolved, Path(folder) / f"{name}-{label}", _alone(device))
                jobs[name, label] = _training_job(run, steps)
        medians = _interleaved(jobs, rounds)
    return [
        {
            "recipe": name,
            "dtype": label,
            "batch": batches[name],
            "images/s": round(steps * batches[name] / seconds, 1),
            "ms/step": round(1000 * seconds / steps, 1),
            "peak MB": _peak(device),
        }
        for (name, label), seconds in medians.items()
    ]


def _alone(device: str) -> Ranks:
    return Ranks(0, 1, torch.device(device))


def _training_job(run: Run, steps: int) -> Callable[[], float]:
    stream = run.steps()

    def once() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            next(stream)
        return time.perf_counter() - started

    return once


def _interleaved(
    jobs: dict[tuple[str, str], Callable[[], float]], rounds: int
) -> dict[tuple[str, str], float]:
    """Run every job once to warm up, then all of them in turn; return median seconds."""
    for job in jobs.values():
        job()
    times: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    for _ in range(rounds):
        for key, job in jobs.items():
            times[key].append(job())
    return {key: statistics.median(each) for key, each in times.items()}


def _peak(device: str) -> int:
    """Return the peak memory of this process so far, in MB; on CUDA that of the device."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated() / 1e6)
    scale = 1 if platform.system() == "Darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6)
