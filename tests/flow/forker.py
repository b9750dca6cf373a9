"""A process that imports everything once, then forks a training run for each line that it reads.

A line is JSON and names a folder. What is done to the run:

    after: s                 it is killed after s seconds
    call: n                  it is killed before its n-th flush, rename or removal of a file: saving
    ask: number, once: file  it is sent a signal, once a file is in its folder
    hang: true               it hangs after its first step; the signal comes until it leaves

The answer is a line: done, stopped, killed or failed.
"""

import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

from mezzotint.run import stopping
from tests import tiny

SETTINGS = ("train.steps=20", "train.save_minutes=0", "train.log_every=2")
STOPPED = 3


def serve() -> None:
    """Answer every line of the standard input."""
    # A shell lets its background jobs ignore Ctrl-C, and so would the runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    tiny.tiny(Path(os.devnull), *SETTINGS)  # what is imported late is imported now
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(work(job))
        disturb(child, job)
        _, status = os.waitpid(child, 0)
        print(word(status), flush=True)


HANGING = "hanging"
"""The file that says a run hangs now; asked before that, it would stop politely."""


def disturb(child: int, job: dict) -> None:
    """Send a run the signals that its job speaks of."""
    if "after" in job:
        time.sleep(job["after"])
        os.kill(child, signal.SIGKILL)
    if "once" in job:
        while not (Path(job["folder"]) / job["once"]).exists():
            time.sleep(0.01)
        os.kill(child, job["ask"])
        if job.get("hang"):
            # Signals within a second count as one, and a busy machine may bring them together.
            while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                time.sleep(1.2)
                os.kill(child, job["ask"])


def word(status: int) -> str:
    """Say how a run has ended."""
    if os.WIFSIGNALED(status):
        return "killed"
    return {0: "done", STOPPED: "stopped"}.get(os.WEXITSTATUS(status), "failed")


def work(job: dict) -> int:
    """Train to the end, or until asked to stop, or until the n-th call."""
    try:
        if "call" in job:
            die_at(job["call"])
        run = tiny.tiny(Path(job["folder"]), *SETTINGS)
        with stopping() as stop:
            run.open()
            for _ in run.fit(stop):
                if job.get("hang"):
                    (Path(job["folder"]) / HANGING).touch()
                    time.sleep(60)
    except BaseException:  # noqa: BLE001 (a fork must not go on as the server)
        if not job.get("hang"):
            traceback.print_exc()
        return 1
    return 0 if run.done else STOPPED


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
    shutil.rmtree = before(shutil.rmtree)
    Path.replace = before(Path.replace)  # type: ignore[method-assign]
    Path.unlink = before(Path.unlink)  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
