"""Which call runs on which worker: bookkeeping alone, without clock, threads or network.

The Ray pool drives it with actors, the simulation in `experiments/bench_pool` with a made-up clock.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import replace

from policylearn.cluster.calls import Call, Failure, Result

PREFETCH = 1.0
"""Seconds. Workers get a second call while one runs if calls are shorter than that, and the way to a worker counts;
longer ones would only wait there, while others are free."""


class Schedule:
    """Calls that wait, and workers with the calls they were given, of which the first is running.

    Args:
        retries: how often a call that failed is tried again.
    """

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._waiting: deque[Call] = deque()
        self._given: dict[int, deque[Call]] = {}
        self._since: dict[int, float] = {}
        self._room: tuple[dict[int, None], ...] = ({}, {})  # workers, in order, that have no call and one call
        self._short = False

    def add(self, call: Call) -> None:
        """One more call, behind all others."""
        self._waiting.append(call)

    def join(self, worker: int) -> None:
        """A worker is ready."""
        self._given[worker] = deque()
        self._room[0][worker] = None

    def assign(self, now: float) -> Iterator[tuple[int, Call]]:
        """Give waiting calls to workers that have room: one, or two where calls are short."""
        for room in self._room[: 2 if self._short else 1]:
            for worker in list(room):
                place = next((i for i, call in enumerate(self._waiting) if self._may_run(call, worker)), None)
                if place is None:
                    continue
                call = self._waiting[place]
                del self._waiting[place]
                if not self._given[worker]:
                    self._since[worker] = now
                self._given[worker].append(call)
                self._make_room(worker)
                yield worker, call

    def finish(self, worker: int, now: float) -> Call:
        """The call that was running on a worker has ended."""
        call = self._given[worker].popleft()
        self._short = now - self._since[worker] < PREFETCH
        self._since[worker] = now
        self._make_room(worker)
        return call

    def leave(self, worker: int) -> Call | None:
        """A worker is gone: the call that was running on it, while others it was given wait again, in front."""
        calls = self._given.pop(worker, deque())
        for room in self._room:
            room.pop(worker, None)
        running = calls.popleft() if calls else None
        self._waiting.extendleft(reversed(calls))
        return running

    def again(self, call: Call, failure: Failure, worker: int, innocent: bool = False) -> Result | None:
        """Let a call that failed on `worker` wait for another try, or give it up.

        Args:
            innocent: the call had no part in the failure, and the try does not count.
        """
        tried = call if innocent else replace(call, tries=call.tries + 1, shunned=call.shunned | {worker})
        if tried.tries > self._retries:
            return Result(tried, failure=failure)
        self._waiting.appendleft(tried)
        return None

    def overdue(self, now: float, deadline: float) -> list[int]:
        """Workers whose call has been running longer than `deadline` seconds."""
        return [worker for worker in self._given if self.remaining(worker, now, deadline) < 0]

    def remaining(self, worker: int, now: float, deadline: float) -> float:
        """Seconds left to the call that runs on a worker; infinity if it has none."""
        return self._since[worker] + deadline - now if self._given[worker] else float("inf")

    def forget(self, tickets: Collection[int]) -> set[int]:
        """Drop those that wait; which of the others are under way."""
        self._waiting = deque(call for call in self._waiting if call.ticket not in tickets)
        return {call.ticket for calls in self._given.values() for call in calls if call.ticket in tickets}

    @property
    def workers(self) -> list[int]:
        """Those that are ready."""
        return list(self._given)

    def _may_run(self, call: Call, worker: int) -> bool:
        """A call that failed on a worker waits for another one if there is any."""
        return worker not in call.shunned or self._given.keys() <= call.shunned

    def _make_room(self, worker: int) -> None:
        for count, room in enumerate(self._room):
            room.pop(worker, None)
            if len(self._given[worker]) == count:
                room[worker] = None
