"""SIGTERM, which a cluster sends before it takes a machine away: stop at once, in good order, to be continued."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Preempted(SystemExit):
    """Told to stop by SIGTERM. Nobody need catch it: the exit status says "run the same command again"."""

    def __init__(self) -> None:
        super().__init__(os.EX_TEMPFAIL)


@contextmanager
def preemptible() -> Iterator[None]:
    """Within, SIGTERM raises `Preempted` in the main thread, once; a second one does not disturb the first.

    Enter it after `ray.init`, which installs a handler of its own, as well as before.

    >>> with preemptible():
    ...     signal.raise_signal(signal.SIGTERM)
    Traceback (most recent call last):
    ...
    policylearn.runs.preemption.Preempted: 75
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _stop:
            signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Preempted
