"""Stopping with grace: the first Ctrl-C or SIGTERM is a request, the next one is an order."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_ECHO_SECONDS: Final = 1.0
"""torchrun passes a Ctrl-C on to processes that the terminal has told already."""


class _Request:
    """Whether somebody has asked; the first signal sets it, a later one acts as it always would."""

    def __init__(self) -> None:
        self._asked: float | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self._asked is not None

    def listen(self) -> None:
        self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}

    def leave(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        elif now - self._asked > _ECHO_SECONDS:
            self.leave()
            signal.raise_signal(number)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Inside, SIGINT and SIGTERM only ask; yield a function that tells whether they did.

    A second signal, more than a second later, quits at once. Outside the main thread, where Python
    hears no signals, the answer is always no.
    """
    request = _Request()
    if threading.current_thread() is threading.main_thread():
        request.listen()
    try:
        yield request
    finally:
        request.leave()
