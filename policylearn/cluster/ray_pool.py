"""The pool on Ray: plain actors, `ray.wait`, and a new worker for every one that is lost.

Ray could restart actors itself, but goes on refusing calls to one that restarts for as long as it likes. A new actor
simply takes part once it answers: after a fault, or when the cluster has room for it.
"""

import logging
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from policylearn.cluster.calls import Call, Failure, Result, Work, WorkFailed
from policylearn.cluster.connection import check_can_have, check_joined, connect
from policylearn.cluster.metrics import PoolMetrics
from policylearn.cluster.ray_worker import Place, RayWorker, Shared
from policylearn.cluster.schedule import Schedule
from policylearn.config import Config
from policylearn.config.parts import check_travels
from policylearn.problems.problem import Data

log = logging.getLogger(__name__)

LONELY = 60.0
"""Seconds without any worker after which the log says so."""


STILLBORN = 20
"""How many workers in a row may be lost before they answer, or twice as many as there are to be. Nodes that go may take
many along; one that raises on being built would go on doing so, and is tried as often as other work."""


class RayPool(AbstractContextManager["RayPool"]):
    """Workers as Ray actors, on the cluster at `cluster.address` or on one started here.

    Workers that find no room in the cluster wait for it and take part from then on. The call that runs on a worker
    when it is lost, or that raises, is tried again elsewhere, up to `cluster.retries` times; it is not to blame if the
    whole node is gone.

    Args:
        config: `config.cluster` says how many workers and what each may use.
        data: see `open_pool`.

    Raises:
        ValueError: the cluster cannot be reached, or this process has joined another; one started here lacks what a
            worker asks for; or a part that the config names cannot be had on workers.
    """

    def __init__(self, config: Config, data: Data | None = None) -> None:
        check_travels(config)
        self.lost = 0
        self._config = config
        self._started_here = not ray.is_initialized()
        if self._started_here:
            _start(config)
        else:
            check_joined(config.cluster)
        self._data = None if data is None else ray.put(data)  # in the memory all processes of a node share
        self._metrics = PoolMetrics(config.name)
        self._schedule = Schedule(config.cluster.retries)
        self._tickets, self._numbers = count(), count()
        self._actors: dict[int, Any] = {}
        self._arriving: dict[Any, int] = {}
        self._running: dict[int, deque[Any]] = {}
        self._places: dict[int, Place] = {}
        self._finished: dict[int, Result] = {}
        self._dropped: set[int] = set()
        self._failed_starts = 0
        for _ in range(config.cluster.workers):
            self._hire()

    def share(self, value: Any) -> Any:
        """Put into the object store once; workers see the value."""
        return Shared(ray.put(value))

    def submit(self, work: Work, calls: Sequence[Sequence[Any]]) -> list[int]:
        """See `Pool.submit`."""
        added = [Call(next(self._tickets), work, arguments) for arguments in calls]
        for call in added:
            self._schedule.add(call)
        return [call.ticket for call in added]

    def results(self, tickets: Sequence[int]) -> Iterator[Result]:
        """See `Pool.results`."""
        wanted = set(tickets)
        try:
            while wanted:
                for ticket in wanted & self._finished.keys():
                    wanted.remove(ticket)
                    yield self._finished.pop(ticket)
                if wanted:
                    self._step()
        finally:
            self.drop(wanted)

    def drop(self, tickets: Collection[int]) -> None:
        """See `Pool.drop`. What is running ends, and its result is thrown away."""
        self._dropped |= self._schedule.forget(tickets)
        for ticket in tickets:
            self._finished.pop(ticket, None)

    def alive(self) -> int:
        return len(self._schedule.workers)

    def count_round(self) -> None:
        """See `Pool.count_round`."""
        self._metrics.round()

    def _step(self) -> None:
        """Hand out calls, wait until something happens, and deal with all that has."""
        for worker, call in self._schedule.assign(time.monotonic()):
            self._running[worker].append(self._actors[worker].run.remote(call.work, *call.arguments))
        heads = {references[0]: worker for worker, references in self._running.items() if references}
        for reference in self._ready([*heads, *self._arriving]):
            if reference in self._arriving:
                self._welcome(self._arriving.pop(reference), reference)
            else:
                self._collect(heads[reference], reference)
        for worker in self._schedule.overdue(time.monotonic(), self._config.cluster.deadline):
            self._lose(
                worker, Failure("late", f"no result after cluster.deadline, {self._config.cluster.deadline:g} s")
            )

    def _ready(self, references: list[Any]) -> list[Any]:
        """All that are; none if time has come to look at deadlines. Workers often die together: all of them must be
        known to be gone before the next call is handed out."""
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        if not ready:
            ready, _ = ray.wait(references, num_returns=1, timeout=self._patience())
        if not ready and not self._schedule.workers:
            log.warning("still waiting for a worker: the cluster has no room for one, or is starting it")
        return ready

    def _patience(self) -> float:
        """Seconds until the next deadline, or until something must be said."""
        now, deadline = time.monotonic(), self._config.cluster.deadline
        left = (self._schedule.remaining(worker, now, deadline) for worker in self._schedule.workers)
        return max(0.0, min(left, default=LONELY))

    def _collect(self, worker: int, reference: Any) -> None:
        """The call that ran on a worker has ended, or the worker has."""
        try:
            value = ray.get(reference)
        except RayTaskError as error:  # what is no part of the work: its arguments or value cannot be sent
            value = Failure("raised", str(error.cause), str(error))
        except RayError as error:  # fault boundary: the worker is gone, or its node
            place = self._places[worker]
            reason = f"its worker, process {place.process} on {place.host}, was lost: {_brief(error)}"
            return self._lose(worker, Failure("lost", reason))
        self._running[worker].popleft()
        call = self._schedule.finish(worker, time.monotonic())
        if not isinstance(value, Failure):
            self._settle(Result(call, value))
        elif value.kind == "not finite" or call.ticket in self._dropped:
            self._settle(Result(call, failure=value))
        else:
            self._settle(self._schedule.again(call, value, worker))

    def _lose(self, worker: int, failure: Failure) -> None:
        """Replace a worker; what it was running is tried again."""
        self.lost += 1
        self._metrics.lost()
        innocent = failure.kind == "lost" and not _is_there(self._places[worker].node)
        call = self._schedule.leave(worker)
        self._metrics.workers(self.alive())
        self._dismiss(worker)
        self._hire()
        if call is not None and call.ticket in self._dropped:
            self._settle(Result(call, failure=failure))
        elif call is not None:
            self._settle(self._schedule.again(call, failure, worker, innocent))
        self._dropped = self._schedule.forget(self._dropped)  # of what it was given beside, nobody wants these

    def _settle(self, result: Result | None) -> None:
        if result is None:
            return
        self._metrics.result(result)
        if result.call.ticket in self._dropped:
            self._dropped.remove(result.call.ticket)
        else:
            self._finished[result.call.ticket] = result

    def _hire(self) -> None:
        """Ask Ray for one more worker; it takes part once it answers."""
        worker, cluster = next(self._numbers), self._config.cluster
        actor = ray.remote(RayWorker).options(
            num_cpus=cluster.threads,
            num_gpus=cluster.gpus,
            resources=cluster.resources,
            label_selector=cluster.labels,
        )
        self._actors[worker] = actor.remote(self._config, self._data)
        self._arriving[self._actors[worker].place.remote()] = worker

    def _welcome(self, worker: int, reference: Any) -> None:
        place, cluster = _place(reference), self._config.cluster
        if isinstance(place, Failure):
            self._dismiss(worker)
            self._failed_starts += 1
            most = cluster.retries if place.kind == "raised" else max(STILLBORN, 2 * cluster.workers)
            if self._failed_starts > most:
                raise WorkFailed(f"workers cannot be started: {place.reason}\n{place.trace}".strip())
            return self._hire()
        self._failed_starts = 0
        self._places[worker] = place
        self._running[worker] = deque()
        self._schedule.join(worker)
        self._metrics.workers(self.alive())

    def _dismiss(self, worker: int) -> None:
        ray.kill(self._actors.pop(worker))
        self._running.pop(worker, None)
        self._places.pop(worker, None)

    def __exit__(self, *exception: object) -> None:
        for worker in list(self._actors):
            self._dismiss(worker)
        if self._started_here:
            ray.shutdown()


def _start(config: Config) -> None:
    connect(config)
    try:
        check_can_have(config.cluster)
    except ValueError:
        ray.shutdown()
        raise


def _place(reference: Any) -> Place | Failure:
    """Where a worker is that was asked for its place, or why it is nowhere."""
    try:
        return ray.get(reference)
    except RayError as error:  # fault boundary: it was lost on its way
        broken = isinstance(error, RayActorError) and error.actor_init_failed
        return Failure("raised" if broken else "lost", _brief(error), "" if broken else str(error))


def _is_there(node: str) -> bool:
    return any(known["NodeID"] == node and known["Alive"] for known in ray.nodes())


def _brief(error: RayError) -> str:
    """Ray's explanations run over many lines; the cause stands in the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if isinstance(error, RayActorError) else lines[0]
