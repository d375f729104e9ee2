"""Requests to stop: SIGTERM, which schedulers send some seconds before they kill, and SIGINT, which Ctrl-C sends.

The first is noted, for the training loop to save and leave after the step at hand. A second one acts as it always does.
Several processes must all stop after the same step: JAX catches SIGTERM of any of them and tells all which step it is.
"""

import signal as signals
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import jax
from jax.experimental import multihost_utils

CAUGHT = (signals.SIGTERM, signals.SIGINT)


@dataclass
class StopRequest:
    """The signal that asked the process to stop, if one did; set when it is time to, if there are several processes."""

    signal: signals.Signals | None = None

    def is_due(self, step: int) -> bool:
        """Return whether to stop after this step. Several processes must all ask, after every dispatch."""
        if multihost_utils.reached_preemption_sync_point(step):
            self.signal = signals.SIGTERM
        return self.signal is not None


@contextmanager
def noted_signals() -> Generator[StopRequest]:
    """Note the first request to stop within the block. Outside of the main thread, where none arrives, do nothing.

    Ctrl-C at one of several processes stops them all as SIGTERM does.
    """
    request = StopRequest()
    several = jax.process_count() > 1
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    caught = (signals.SIGINT,) if several else CAUGHT
    before = {number: signals.getsignal(number) for number in caught}

    def restore() -> None:
        for number, handler in before.items():
            signals.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        restore()
        if several:
            signals.raise_signal(signals.SIGTERM)
        else:
            request.signal = signals.Signals(number)

    for number in caught:
        signals.signal(number, note)
    try:
        yield request
    finally:
        restore()
