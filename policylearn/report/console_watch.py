"""Long work seen on a console: where the package, which does it, and the report, which shows it, meet."""

import time
from collections.abc import Callable

from rich.console import Console

from policylearn.messages.watch import Watch
from policylearn.report.progress import TaskProgress


class ConsoleWatch(Watch):
    """Shows on a console what is going on in this process."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock

    def begin(self, work: str, total: int | None = None) -> TaskProgress:
        return TaskProgress(work, total, self.console, own=True, clock=self.clock)
