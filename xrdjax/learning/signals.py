"""Requests to stop: SIGTERM, which schedulers send some seconds before they kill, and SIGINT, which Ctrl-C sends.

The first is noted, for the training loop to save and leave after the step at hand. A second one acts as it always does.
"""

import signal as signals
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

CAUGHT = (signals.SIGTERM, signals.SIGINT)


@dataclass
class StopRequest:
    """The signal that asked the process to stop, if one did."""

    signal: signals.Signals | None = None


@contextmanager
def noted_signals() -> Generator[StopRequest]:
    """Note the first request to stop within the block. Outside of the main thread, where none arrives, do nothing."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signals.getsignal(number) for number in CAUGHT}

    def restore() -> None:
        for number, handler in before.items():
            signals.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = signals.Signals(number)
        restore()

    for number in CAUGHT:
        signals.signal(number, note)
    try:
        yield request
    finally:
        restore()
