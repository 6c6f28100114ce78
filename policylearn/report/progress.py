"""Progress of counted work: how much of it there is, how fast it goes, when it will be done, and what memory it took.

On a terminal a live bar. Elsewhere a line after `FIRST_S` seconds and every `EVERY_S` from then on, and one at the end;
work that is over before `LEAST_S` is not worth a line.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from policylearn.report.formats import count, duration, memory, rate
from policylearn.report.printing import print_line

FIRST_S, EVERY_S, LEAST_S = 10.0, 30.0, 5.0
# Rollouts take seconds to minutes: rich's own half minute of memory would leave the ETA blank.
ETA_MEMORY_S = 1800.0
WIDE = 80
"""Columns of a terminal, of fewer of which a line has room for the work, the count and the ETA alone."""
ETA_WIDTH = 15
"""Columns of an ETA, such as ETA 12 min 34 s."""


class TaskProgress:
    """Progress of any counted work, a context manager.

    Args:
        description: of the work.
        total: how much there will be, None if nobody knows.
        console: where it is shown.
        done: how much of it was done before: it says nothing of how fast it goes.
        workers: how many work on it at once.
        own: whether it is this process that works, so that its memory tells something.
        clock: in seconds.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        console: Console,
        done: int = 0,
        workers: int = 1,
        own: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self._description, self._total, self._own = description, total, own
        self._before = self._done = done
        self._workers, self._spent, self._timed = workers, 0.0, 0
        self._clock, self._began = clock, clock()
        self._due, self._unreported = self._began + FIRST_S, False
        self._bar = _bar(console, description, total, own) if is_live(console) else None
        self._task = self._add_task()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        brief = self._clock() - self._began < LEAST_S
        if self._bar:
            self._bar.live.transient = brief
            self._bar.stop()
        elif self._unreported and not brief:
            self._report("")

    def advance(self, n: int = 1, label: str = "", seconds: float | None = None) -> None:
        """`n` more steps are done.

        Args:
            n: how many.
            label: which, if that is worth a line of its own, e.g. "learned, seed 2: .842".
            seconds: what they took whoever did them; where several work at once, the clock here does not tell.
        """
        self._done += n
        self._unreported = True
        if seconds is not None:
            self._spent, self._timed = self._spent + seconds, self._timed + n
        if self._bar:
            self._bar.update(self._task, advance=n, label=label, left=self._left(), pace=self._pace())
        elif label or self._clock() >= self._due:
            self._report(label)

    def _add_task(self) -> TaskID:
        if not self._bar:
            return TaskID(0)
        total, done = self._total, self._done
        return self._bar.add_task(self._description, total=total, completed=done, label="", left=None, pace=None)

    def _pace(self) -> float | None:
        """Steps a second."""
        if self._timed and self._spent > 0:
            return self._workers * self._timed / self._spent
        elapsed, done = self._clock() - self._began, self._done - self._before
        return done / elapsed if done > 0 and elapsed > 0 else None

    def _left(self) -> float | None:
        """Seconds to the end; the last steps, of fewer than there are workers, take as long as one."""
        pace = self._pace()
        if self._total is None or pace is None:
            return None
        waves = -(-max(0, self._total - self._done) // self._workers)
        return waves * self._workers / pace

    def _report(self, label: str) -> None:
        now, left = self._clock(), self._left()
        whole = f"/{count(self._total)}" if self._total is not None else " so far"
        # A stream ends with no word that it has: the last line is the one that is not due.
        over = self._total is None and not label and now < self._due
        parts = [f"{self._description} {count(self._done)}{'' if over else whole}", rate(self._pace())]
        parts.append(f"ETA {duration(left)}" if left else duration(now - self._began))
        parts += [memory(peak_memory())] if self._own else []
        print_line(self.console, "  ".join(part for part in (*parts, label) if part))
        self._due, self._unreported = now + EVERY_S, False


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def is_live(console: Console) -> bool:
    """Whether a line there can be redrawn. FORCE_COLOR and TTY_COMPATIBLE ask for colours, and make no terminal of a
    log; TTY_INTERACTIVE=0 asks for none."""
    isatty = getattr(console.file, "isatty", lambda: False)  # what somebody put in place of a stream may have none
    forced = any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE")) and not isatty()
    return console.is_terminal and console.is_interactive and not forced


class Eta(TimeRemainingColumn):
    """Time left while it runs, time taken when it is over, and which of the two."""

    def render(self, task: Task) -> Text:
        if task.fields.get("left") is not None and not task.finished:
            return Text.assemble(("ETA ", "dim"), (duration(task.fields["left"]), "progress.remaining"))
        return Text.assemble(("took " if task.finished else "ETA ", "dim"), super().render(task))


class _Pace(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate(task.fields["pace"]), style="dim")


class _Memory(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(memory(peak_memory()), style="dim")


def _bar(console: Console, description: str, total: int | None, own: bool) -> Progress:
    """A line: the work, the count and the ETA, and of the rest what there is room for. The bar alone gives way."""
    count_and_eta = 2 * len(str(total or 100_000)) + 1 + ETA_WIDTH + 2
    room = console.width - count_and_eta
    work = TextColumn("{task.description}", style="bold", markup=False, table_column=_whole(max(1, room)))
    room = room - cell_len(description) if console.width >= WIDE else 0
    rest = {"bar": 9, "pace": 12, **({"memory": 8} if own else {}), "label": 12}
    shown = {name for name, so_far in zip(rest, accumulate(rest.values()), strict=True) if so_far <= room}
    label = _whole(room - sum(rest[name] for name in shown - {"label"}) - 1)
    columns = (
        work,
        *([BarColumn(bar_width=20)] if "bar" in shown else []),
        MofNCompleteColumn(table_column=_whole()),
        *([_Pace(_whole())] if "pace" in shown else []),
        Eta(elapsed_when_finished=True, table_column=_whole()) if total is not None else TimeElapsedColumn(_whole()),
        *([_Memory(_whole())] if "memory" in shown else []),
        *(
            [TextColumn("{task.fields[label]}", style="dim", markup=False, table_column=label)]
            if "label" in shown
            else []
        ),
    )
    return Progress(*columns, console=console, speed_estimate_period=ETA_MEMORY_S)


def _whole(most: int | None = None) -> Column:
    """A column that is not broken into lines, of at most so many places."""
    return Column(no_wrap=True, max_width=most)
