"""What a call costs: multiply-adds, and process time."""

import statistics
import time
from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted(work: Callable[[], object]) -> int:
    """Return the multiply-adds of a call; spelt out, so that attention's products are counted."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return int(counter.get_total_flops()) // 2


def timed(work: Callable[[], object], rounds: int) -> float:
    """Return the median of a call's process time, in seconds, after one that is not counted."""
    work()
    found = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return statistics.median(found)
