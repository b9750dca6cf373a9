"""What a call costs: multiply-adds, and process time."""

import statistics
import time
from collections.abc import Callable, Sequence

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted(work: Callable[[], object]) -> int:
    """Return the multiply-adds of a call; spelt out, so that attention's products are counted."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return int(counter.get_total_flops()) // 2


def in_turn(works: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return the process times of calls, in seconds: a list a call, one after the other each round.

    Each is called once before, which is not counted.
    """
    for work in works:
        work()
    found: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, found, strict=True):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
    return found


def share(times: Sequence[float], whole: Sequence[float]) -> float:
    """Return what part of another call a call takes: the median of the rounds' ratios."""
    return statistics.median(part / all_ for part, all_ in zip(times, whole, strict=True))
