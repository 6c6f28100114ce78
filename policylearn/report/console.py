"""What a run prints while it works (a live bar, or plain lines without a terminal) and at its end."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from policylearn.report.formats import as_number, count, duration, score
from policylearn.report.tables import comparison_table

__all__ = ["RoundProgress", "TaskProgress", "comparison_table", "round_line", "teller"]

# Rollouts take seconds to minutes: rich's own half minute of memory would leave the ETA blank.
_ETA_MEMORY_S = 1800.0
_BASELINE_PREFIX = "dev_"
_SHOWN = {
    "outer_loss": "outer loss",
    "dev": "dev",
    "reliability": "agreement",
    "rate": "mask rate",
    "entropy": "entropy",
}
_NOT_BASELINES = ("dev_scores",)


def baselines(record: dict[str, Any]) -> dict[str, float]:
    """Dev score of each baseline in a round's record, given as ``baselines: {...}`` or as ``dev_<name>``.

    >>> baselines({"dev": 0.8, "dev_random": 0.5, "dev_scores": [0.8], "baselines": {"difference": 0.7}})
    {'difference': 0.7, 'random': 0.5}
    """
    found = dict(record.get("baselines") or {})
    for key, value in record.items():
        if key.startswith(_BASELINE_PREFIX) and key not in _NOT_BASELINES:
            found[key.removeprefix(_BASELINE_PREFIX)] = value
    return {name: as_number(value) for name, value in found.items() if math.isfinite(as_number(value))}


def round_line(record: dict[str, Any], separator: str = "  ") -> str:
    """The numbers of one round in a line; what the record lacks is left out.

    >>> round_line({"outer_loss": 0.69, "dev": 0.78, "dev_random": 0.55, "rate": 0.15, "workers": 2})
    'outer loss .690  dev .780 (random .550)  mask rate .150  workers 2'
    """
    parts = []
    for key, name in _SHOWN.items():
        if math.isfinite(as_number(record.get(key))):
            parts.append(f"{name} {score(record[key])}{_beside(record) if key == 'dev' else ''}")
    if record.get("workers") is not None:
        parts.append(f"workers {record['workers']}")
    return separator.join(parts)


def teller(console: Console) -> Callable[[str], None]:
    """A function that shows a line of plain text as it is."""
    return partial(console.print, highlight=False, soft_wrap=True, markup=False)


class RoundProgress:
    """Progress of the learning loop, a context manager.

    On a terminal a live bar with the numbers of the last round below it; elsewhere a plain line per round.

    total_rounds, start_round: rounds of the whole run, and how many of them an earlier run already made.
    units_per_round: rollouts in a round, the steps of the bar.
    """

    def __init__(self, total_rounds: int, start_round: int, console: Console, units_per_round: int = 1) -> None:
        self.console = console
        self._total = total_rounds
        self._round = start_round
        self._units = max(1, units_per_round)
        self._done = start_round * self._units
        self._seconds: deque[float] = deque(maxlen=10)
        self._bar = _RoundBar(console) if is_live(console) else None
        self._task = self._add_task()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def completed(self) -> int:
        """Rollouts done since the run began, those of an earlier session included."""
        return self._done

    def advance(self, n: int = 1) -> None:
        """`n` more rollouts of this round are finished (repeated ones never push the bar past the round)."""
        self._done = min(self._done + n, (self._round + 1) * self._units)
        if self._bar:
            self._bar.update(self._task, completed=self._done)

    def update(self, record: dict[str, Any]) -> None:
        """A round is over: show its record (keys as in ``metrics.jsonl``; any may be missing)."""
        self._round = int(record.get("round", self._round)) + 1
        self._done = self._round * self._units
        if self._bar:
            self._bar.numbers = round_line(record, " · ")
            self._bar.update(self._task, completed=self._done, description=self._description(self._round + 1))
            self._bar.refresh()
        else:
            print_line(self.console, self._plain(record))

    def _add_task(self) -> TaskID:
        if not self._bar:
            return TaskID(0)
        total, done = self._total * self._units, self._done
        return self._bar.add_task(self._description(self._round + 1), total=total, completed=done)

    def _description(self, number: int) -> str:
        return f"round {min(number, self._total)}/{self._total}"

    def _plain(self, record: dict[str, Any]) -> str:
        parts = [self._description(self._round), round_line(record)]
        seconds = as_number(record.get("seconds"))
        if math.isfinite(seconds):
            self._seconds.append(seconds)
            left = max(0, self._total - self._round) * sum(self._seconds) / len(self._seconds)
            parts += [duration(seconds), f"ETA {duration(left)}" if left else "done"]
        return "  ".join(part for part in parts if part)


class TaskProgress:
    """Progress of any counted work, a context manager: a live bar, or plain lines where there is no terminal.

    total: how many steps there will be, None if nobody knows. every_s: without a terminal, steps that have no
    label of their own are reported at most this often.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        console: Console,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self._description, self._total = description, total
        self._done = 0
        self._clock, self._every_s = clock, every_s
        self._began = self._reported = clock()
        self._unreported = False
        self._bar = _task_bar(console, total) if is_live(console) else None
        self._task = self._bar.add_task(description, total=total, label="") if self._bar else TaskID(0)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self._unreported:
            self._report("")

    def advance(self, n: int = 1, label: str = "") -> None:
        """`n` more steps are done; `label` says which, e.g. "learned, seed 2: .842"."""
        self._done += n
        self._unreported = True
        if self._bar:
            self._bar.update(self._task, advance=n, label=label)
        elif label or self._clock() - self._reported >= self._every_s:
            self._report(label)

    def _report(self, label: str) -> None:
        now = self._clock()
        of = f"/{count(self._total)}" if self._total is not None else ""
        line = f"{self._description} {count(self._done)}{of}"
        if self._total is not None and 0 < self._done < self._total:
            line += f"  ETA {duration((now - self._began) / self._done * (self._total - self._done))}"
        else:
            line += f"  {duration(now - self._began)}"
        print_line(self.console, f"{line}  {label}".rstrip())
        self._reported, self._unreported = now, False


class _RoundBar(Progress):
    """The bar with the last round's numbers on a line of their own: 80 columns do not hold both."""

    numbers = ""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            _Eta(elapsed_when_finished=True),
        )
        super().__init__(*columns, console=console, expand=True, speed_estimate_period=_ETA_MEMORY_S)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.numbers:
            yield Padding(Text(self.numbers), (0, 0, 0, 2))


def is_live(console: Console) -> bool:
    """Whether a line there can be redrawn."""
    return console.is_terminal and not console.is_dumb_terminal


def print_line(console: Console, text: str) -> None:
    """One plain line, however long, at once: rich flushes, so that a log that is watched does not lag."""
    console.print(Text(text), soft_wrap=True)


def _task_bar(console: Console, total: int | None) -> Progress:
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
    )
    times = _Eta(elapsed_when_finished=True) if total is not None else TimeElapsedColumn()
    label = TextColumn("{task.fields[label]}", style="dim", markup=False)
    return Progress(*columns, times, label, console=console, speed_estimate_period=_ETA_MEMORY_S)


class _Eta(TimeRemainingColumn):
    """Time left while it runs, time taken when it is over, and which of the two."""

    def render(self, task: Task) -> Text:
        return Text.assemble(("took " if task.finished else "ETA ", "dim"), super().render(task))


def _beside(record: dict[str, Any]) -> str:
    named = ", ".join(f"{name} {score(value)}" for name, value in baselines(record).items())
    return f" ({named})" if named else ""
