"""Speed and memory, measured side by side: rounds are interleaved, and medians are reported."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from mezzotint import config, generator, recipe
from mezzotint.averaged import DTYPES
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.run import Run
from mezzotint.training.distributed import Ranks

_PRECISIONS: Final = {"fp32": "float32", "bf16": "bf16"}

try:
    import resource
except ImportError:  # Windows has no such counter, and the rest of this file works there
    resource = None  # type: ignore[assignment]

K = TypeVar("K", bound=Hashable)
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
        if each not in DTYPES:
            raise ConfigError(f"--dtypes {text}: {config.nearest(each, DTYPES)}")
    return asked


def _autocast(label: str) -> torch.dtype | None:
    """Return the dtype to compute in; float32 is that of the weights, and needs no casting."""
    return None if label == "fp32" else DTYPES[label]


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
            jobs[name, label] = _sampling_job(made, batch, device, label)
    medians = interleaved(jobs, rounds)
    return [
        {
            "model": name,
            "dtype": label,
            "M parameters": round(loaded[name].cost()["parameters"] / 1e6, 2),
            "images/s": round(batch / seconds, 2),
            "ms/step": round(1000 * seconds / loaded[name].sampling.steps, 1),
            "steps": loaded[name].sampling.steps,
            "peak MB": peak(_sample_once, name, batch, device, label),
        }
        for (name, label), seconds in medians.items()
    ]


def _sampling_job(made: Generator, batch: int, device: str, label: str) -> Callable[[], float]:
    labels = [k % max(1, len(made.classes)) for k in range(batch)]

    def once() -> float:
        started = time.perf_counter()
        moved = made.to(device, autocast=_autocast(label))
        for _ in moved.stream(labels, range(batch), batch=batch):
            pass
        return time.perf_counter() - started

    return once


def _sample_once(name: str, batch: int, device: str, label: str) -> None:
    made = generator.load(name).with_sampling(steps=2)
    _sampling_job(made, batch, device, label)()


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
    pairs = [(name, label) for name in recipes for label in dtypes]
    total = steps * (rounds + 1)
    runs = {pair: _run(*pair, total, device) for pair in pairs}
    medians = interleaved({pair: _training_job(run, steps) for pair, run in runs.items()}, rounds)
    return [
        {
            "recipe": pair[0],
            "dtype": pair[1],
            "batch": runs[pair].recipe.train.batch,
            "images/s": round(steps * runs[pair].recipe.train.batch / seconds, 1),
            "ms/step": round(1000 * seconds / steps, 1),
            "peak MB": peak(_train_once, *pair, device),
        }
        for pair, seconds in medians.items()
    ]


def _run(name: str, label: str, steps: int, device: str) -> Run:
    """Return a run that is never opened, so it writes nothing."""
    settings = [f"train.precision={_PRECISIONS[label]}", f"train.steps={steps}"]
    resolved = recipe.resolve(config.override(recipe.find(name), settings))
    return Run(resolved, Path("unused"), Ranks(0, 1, torch.device(device)))


def _training_job(run: Run, steps: int) -> Callable[[], float]:
    stream = run.steps()

    def once() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            next(stream)
        return time.perf_counter() - started

    return once


def _train_once(name: str, label: str, device: str) -> None:
    _training_job(_run(name, label, 2, device), 2)()


def interleaved(jobs: Mapping[K, Callable[[], float]], rounds: int) -> dict[K, float]:
    """Run every job once to warm up, then all of them in turn; return median seconds.

    Args:
        jobs: by name; each returns the seconds that it took.
        rounds: of all jobs, one after the other.
    """
    for job in jobs.values():
        job()
    times: dict[K, list[float]] = {key: [] for key in jobs}
    for _ in range(rounds):
        for key, job in jobs.items():
            times[key].append(job())
    return {key: statistics.median(each) for key, each in times.items()}


def paired(job: Callable[[], object], yardstick: Callable[[], object], rounds: int) -> float:
    """Return how long a job takes as a multiple of another: the median over rounds of the two.

    The two of a round stand next to each other, in changing order, so that whatever else the
    machine does slows both.

    Args:
        job, yardstick: what is timed; each runs once before, to warm up.
        rounds: pairs of measurements.
    """
    job(), yardstick()
    ratios = []
    for turn in range(rounds):
        order = (job, yardstick) if turn % 2 == 0 else (yardstick, job)
        first, second = (seconds(each) for each in order)
        ratios.append(first / second if turn % 2 == 0 else second / first)
    return statistics.median(ratios)


def seconds(job: Callable[[], object]) -> float:
    """Return how long a job takes once."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def peak(job: Callable[..., None], *arguments: object) -> int:
    """Return the peak memory, in MB, of a process of its own that does a job once.

    On CUDA it is the device's memory; on Windows, 0: not known. The process starts afresh, for a
    peak cannot be taken back.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, job, arguments).result()


def _measured(job: Callable[..., None], arguments: Sequence[Any]) -> int:
    job(*arguments)
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated() / 1e6)
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, maxrss of a new process starts at its parent's
        line = next(each for each in status.read_text().splitlines() if "VmHWM" in each)
        return int(line.split()[1]) * 1024 // 10**6
    if resource is None:
        return 0
    scale = 1 if platform.system() == "Darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6)
