"""A process that imports everything once, then forks a training run for each line that it reads.

A line is JSON: {"folder": ..., "after": seconds} kills the run at a time, {"folder": ..., "call": n}
at the n-th time that it is about to flush, rename or remove a file, which is what saving consists of.
The answer is a line: killed, done or failed.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

from tests import tiny

SETTINGS = ("train.steps=20", "train.save_minutes=0")


def serve() -> None:
    """Answer every line of the standard input."""
    torch.set_num_threads(1)
    tiny.tiny(Path(os.devnull), *SETTINGS)  # what is imported late is imported now
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(work(Path(job["folder"]), job.get("call")))
        if "after" in job:
            time.sleep(job["after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        word = "killed" if os.WIFSIGNALED(status) else "failed" if status else "done"
        print(word, flush=True)


def work(folder: Path, call: int | None) -> int:
    """Train in `folder` to the end, or until the n-th call."""
    try:
        if call is not None:
            die_at(call)
        tiny.finish(tiny.tiny(folder, *SETTINGS))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def die_at(call: int) -> None:
    """Kill this process just before its n-th flush, rename or removal."""
    left = call

    def before(function):
        def counted(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted

    os.fsync = before(os.fsync)
    Path.replace = before(Path.replace)  # type: ignore[method-assign]
    Path.unlink = before(Path.unlink)  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
