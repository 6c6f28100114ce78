"""The pool on Ray: plain actors, `ray.wait`, and work tried again when its worker is lost."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from policylearn.cluster.pool import Work, Worker, WorkFailed, describe
from policylearn.config import Config

IN_FLIGHT = 2
"""Calls queued per worker: one that runs and one that waits, so that no worker idles between results."""


@dataclass(frozen=True)
class _Flight:
    index: int
    worker: int
    tries: int


class RayPool:
    """Workers as Ray actors, on the cluster at `cluster.address` or on one started here.

    Args:
        config: `config.cluster` says how many workers and what each may use.

    Raises:
        ValueError: the cluster cannot be reached.
    """

    def __init__(self, config: Config) -> None:
        self._config = config.cluster
        self._started_here = not ray.is_initialized()
        if self._started_here:
            _connect(config)
        actor = ray.remote(Worker).options(
            num_cpus=config.cluster.threads,
            num_gpus=config.cluster.gpus,
            max_restarts=-1,
            max_task_retries=0,
        )
        self._workers: list[Any] = [actor.remote(config) for _ in range(config.cluster.workers)]
        self._lost: set[int] = set()

    def share(self, value: Any) -> Any:
        """A reference into the object store; workers see the value."""
        return ray.put(value)

    def run(self, work: Work, calls: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
        """See `Pool.run`. At most two calls per worker are in flight."""
        waiting = deque((index, 0) for index in range(len(calls)))
        flights: dict[Any, _Flight] = {}
        try:
            while waiting or flights:
                self._launch(work, calls, waiting, flights)
                (ready,), _ = ray.wait(list(flights), num_returns=1)
                flight = flights.pop(ready)
                try:
                    value = ray.get(ready)
                except RayTaskError as error:
                    raise WorkFailed(describe(work, calls[flight.index], error.cause)) from error
                except RayActorError as error:
                    self._lost.add(flight.worker)
                    if flight.tries >= self._config.retries:
                        raise WorkFailed(describe(work, calls[flight.index], error)) from error
                    waiting.appendleft((flight.index, flight.tries + 1))
                else:
                    self._lost.discard(flight.worker)
                    yield flight.index, value
        finally:
            for reference in flights:
                ray.cancel(reference, recursive=False)

    def _launch(self, work: Work, calls: Sequence[Sequence[Any]], waiting: deque, flights: dict) -> None:
        load = [0] * len(self._workers)
        for flight in flights.values():
            load[flight.worker] += 1
        while waiting and min(load) < IN_FLIGHT:
            worker = load.index(min(load))
            index, tries = waiting.popleft()
            flights[self._workers[worker].run.remote(work, *calls[index])] = _Flight(index, worker, tries)
            load[worker] += 1

    def alive(self) -> int:
        """Workers not known to be lost; a lost one is restarted by Ray and counts again once it answers."""
        return len(self._workers) - len(self._lost)

    def __enter__(self) -> "RayPool":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            ray.kill(worker)
        if self._started_here:
            ray.shutdown()


def _connect(config: Config) -> None:
    """Join the cluster, or start a quiet one on this machine that listens on loopback only."""
    cluster = config.cluster
    if cluster.address is None:
        cpus = cluster.workers * cluster.threads
        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        return
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise ValueError(f"cluster.address {cluster.address!r}: no Ray cluster answers there: {error}") from error
