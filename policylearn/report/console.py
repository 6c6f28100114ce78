"""What a run prints while it learns (a live bar, or plain lines without a terminal) and at its end."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from policylearn.report.formats import as_number, count, duration, loss_name, rate, score
from policylearn.report.printing import print_line
from policylearn.report.progress import ETA_MEMORY_S, EVERY_S, FIRST_S, Eta, is_live
from policylearn.report.tables import comparison_table

__all__ = ["RoundProgress", "comparison_table", "round_line"]

_SHOWN = {
    "outer_loss": "outer loss",
    "dev": "dev",
    "reliability": "agreement",
    "rate": "mask rate",
    "entropy": "entropy",
}


def baselines(record: dict[str, Any]) -> dict[str, float]:
    """Dev score of each baseline in a round's record.

    >>> baselines({"dev": 0.8, "baselines": {"random": 0.5, "difference": None}})
    {'random': 0.5}
    """
    found = {name: as_number(value) for name, value in record.get("baselines", {}).items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def round_line(record: dict[str, Any], separator: str = "  ") -> str:
    """The numbers of one round in a line; what the record lacks is left out.

    >>> round_line({"outer_loss": 0.69, "dev": 0.78, "baselines": {"random": 0.55}, "rate": 0.15, "workers": 2})
    'outer loss .690  dev .780 (random .550)  mask rate .150  workers 2'
    >>> round_line({"rate": 0.15, "rate_range": [0.05, 0.25]})
    'mask rate .150 on average (.050 to .250)'
    """
    parts = []
    for key, name in {**_SHOWN, "outer_loss": loss_name(record)}.items():
        if math.isfinite(as_number(record.get(key))):
            parts.append(f"{name} {score(record[key])}{_beside(key, record)}")
    if record.get("masked_tokens") is not None:
        parts.append(f"masked tokens {count(record['masked_tokens'])}")
    if record.get("workers") is not None:
        parts.append(f"workers {record['workers']}")
    return separator.join(parts)


class RoundProgress:
    """Progress of the learning loop, a context manager.

    On a terminal a live bar with the numbers of the last round below it; elsewhere a plain line per round, and now and
    then one within a round that takes long.

    total_rounds, start_round: rounds of the whole run, and how many of them an earlier run already made.
    units_per_round: rollouts in a round, the steps of the bar.
    names: what a round and its units are called.
    """

    def __init__(
        self,
        total_rounds: int,
        start_round: int,
        console: Console,
        units_per_round: int = 1,
        clock: Callable[[], float] = time.monotonic,
        names: tuple[str, str] = ("round", "rollouts"),
    ) -> None:
        self.console = console
        self._name, self._unit = names
        self._total = total_rounds
        self._round = start_round
        self._units = max(1, units_per_round)
        self._done = self._before = start_round * self._units
        self._clock = clock
        self.begin()
        self._seconds: deque[float] = deque(maxlen=10)
        self._bar = _RoundBar(console) if is_live(console) else None
        self._task = self._add_task()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def completed(self) -> int:
        """Rollouts done since the run began, those of an earlier session included."""
        return self._done

    def begin(self) -> None:
        """What was done until now is no unit of a round, and its time says nothing of how fast those go."""
        self._began = self._clock()
        self._due = self._began + FIRST_S

    def advance(self, n: int = 1) -> None:
        """`n` more rollouts of this round are finished (repeated ones never push the bar past the round)."""
        self._done = min(self._done + n, (self._round + 1) * self._units)
        if self._bar:
            self._bar.update(self._task, completed=self._done)
        elif (now := self._clock()) >= self._due and self._done < (self._round + 1) * self._units:
            print_line(self.console, self._within(now))
            self._due = now + EVERY_S

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
            self._due = self._clock() + EVERY_S

    def _add_task(self) -> TaskID:
        if not self._bar:
            return TaskID(0)
        total, done = self._total * self._units, self._done
        return self._bar.add_task(self._description(self._round + 1), total=total, completed=done)

    def _description(self, number: int) -> str:
        return f"{self._name} {min(number, self._total)}/{self._total}"

    def _within(self, now: float) -> str:
        """How far a round is that takes long."""
        pace = (self._done - self._before) / (now - self._began)
        left = (self._total * self._units - self._done) / pace if pace else None
        parts = [
            f"{self._done - self._round * self._units}/{self._units} {self._unit}",
            rate(pace),
            f"ETA {duration(left)}",
        ]
        return "  ".join([self._description(self._round + 1), *filter(None, parts)])

    def _plain(self, record: dict[str, Any]) -> str:
        parts = [self._description(self._round), round_line(record)]
        seconds = as_number(record.get("seconds"))
        if math.isfinite(seconds):
            self._seconds.append(seconds)
            left = max(0, self._total - self._round) * sum(self._seconds) / len(self._seconds)
            parts += [duration(seconds), f"ETA {duration(left)}" if left else "done"]
        return "  ".join(part for part in parts if part)


class _RoundBar(Progress):
    """The bar with the last round's numbers on a line of their own: 80 columns do not hold both."""

    numbers = ""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            Eta(elapsed_when_finished=True),
        )
        super().__init__(*columns, console=console, expand=True, speed_estimate_period=ETA_MEMORY_S)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.numbers:
            yield Padding(Text(self.numbers), (0, 0, 0, 2))


def _beside(key: str, record: dict[str, Any]) -> str:
    """In brackets: what dev scores are compared with, and where rates lie that are drawn."""
    if key == "rate" and "rate_range" in record:
        return f" on average ({' to '.join(map(score, record['rate_range']))})"
    if key != "dev":
        return ""
    named = ", ".join(f"{name} {score(value)}" for name, value in baselines(record).items())
    return f" ({named})" if named else ""
