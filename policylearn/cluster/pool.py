"""A pool of workers behind one interface: in this process, or Ray actors. Both give the same bits on the same kind of
device, with the same number of torch threads.

Work is a pure function of (problem, *arguments).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, Protocol

from policylearn.cluster.calls import Call, Failure, Result, Work
from policylearn.cluster.worker import Worker
from policylearn.config import Config
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.problems.problem import Data
from policylearn.registry.known import BACKENDS
from policylearn.registry.registry import check_has


class Pool(Protocol):
    """Runs ``work(problem, *arguments)`` for many argument lists."""

    @property
    def lost(self) -> int:
        """How many workers were lost so far."""
        ...

    def share(self, value: Any) -> Any:
        """Something to put into argument lists instead of a large value that many of them hold."""
        ...

    def submit(self, work: Work, calls: Sequence[Sequence[Any]]) -> list[int]:
        """Queue a call for each argument list, behind all that was submitted before.

        Returns:
            their tickets: numbers that grow in the order of submission.
        """
        ...

    def results(self, tickets: Sequence[int]) -> Iterator[Result]:
        """What becomes of these calls, as they finish, in any order. Those not waited for to the end are dropped.

        Raises:
            WorkFailed: no worker can be started.
        """
        ...

    def drop(self, tickets: Collection[int]) -> None:
        """Nobody wants these results any more."""
        ...

    def alive(self) -> int:
        """How many workers are ready right now."""
        ...

    def count_round(self) -> None:
        """A round is finished: for whoever watches the cluster."""
        ...


POOL = ("lost", "share", "submit", "results", "drop", "alive", "count_round", "__enter__", "__exit__")
"""What is asked of a pool."""


class LocalPool(AbstractContextManager["LocalPool"]):
    """One worker, in this process; nothing is tried twice."""

    def __init__(self, config: Config, data: Data | None = None) -> None:
        self.lost = 0
        self._worker = Worker(config, data)
        self._tickets = count()
        self._waiting: deque[Call] = deque()
        self._finished: dict[int, Result] = {}

    def share(self, value: Any) -> Any:
        return value

    def submit(self, work: Work, calls: Sequence[Sequence[Any]]) -> list[int]:
        added = [Call(next(self._tickets), work, arguments) for arguments in calls]
        self._waiting.extend(added)
        return [call.ticket for call in added]

    def results(self, tickets: Sequence[int]) -> Iterator[Result]:
        wanted = set(tickets)
        try:
            while wanted:
                result = self._finished.pop(min(wanted), None) or self._next()
                if result.call.ticket in wanted:
                    wanted.remove(result.call.ticket)
                    yield result
                else:
                    self._finished[result.call.ticket] = result
        finally:
            self.drop(wanted)

    def drop(self, tickets: Collection[int]) -> None:
        self._waiting = deque(call for call in self._waiting if call.ticket not in tickets)
        self._finished = {ticket: r for ticket, r in self._finished.items() if ticket not in tickets}

    def alive(self) -> int:
        return 1

    def count_round(self) -> None:
        pass

    def _next(self) -> Result:
        call = self._waiting.popleft()
        value = self._worker.run(call.work, *call.arguments)
        return Result(call, failure=value) if isinstance(value, Failure) else Result(call, value)

    def __exit__(self, *exception: object) -> None:
        pass


def open_pool(
    config: Config,
    data: Data | None = None,
    tell: Callable[[str], None] = lambda line: None,
    watch: Watch = UNSEEN,
) -> AbstractContextManager[Pool]:
    """The pool `config.cluster` asks for; a context manager that frees its workers.

    Args:
        config: what workers build their problem from.
        data: what it reads from files, where that has been read already: it is sent once to every node.
        tell: is told that other processes are being started.
        watch: until they work, this is what is seen of them.

    Raises:
        ValueError: what the backend gave is no pool.
    """
    backend, starting = config.cluster.backend, UNSEEN.begin("")
    if backend != "local":
        address, _ = config.cluster.named_address
        where = f" at {address}" if address else ""
        tell(f"workers  {config.cluster.workers} are being started by {backend}{where}")
        starting = watch.begin(f"starting {backend}")
    with starting:
        pool = BACKENDS.get(backend)(config, data)
    check_has(f"pool of the backend {backend!r}", pool, POOL)
    return pool
