"""The pool on Ray: plain actors, `ray.wait`, and work tried again when its worker is lost."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from policylearn.cluster.pool import Work, Worker, WorkFailed, describe
from policylearn.config import Config
from policylearn.problem import Problem

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
            connect(config)
        actor = ray.remote(Worker).options(
            num_cpus=config.cluster.threads,
            max_restarts=-1,
            max_task_retries=0,
        )
        self._workers: list[Any] = [actor.remote(config) for _ in range(config.cluster.workers)]
        self._returning: dict[Any, int] = {}
        """Lost workers, by a call that Ray holds back until it has restarted them."""

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
                (ready,), _ = ray.wait([*self._returning, *flights], num_returns=1)
                if ready in self._returning:
                    self._welcome(ready)
                    continue
                flight = flights.pop(ready)
                try:
                    value = ray.get(ready)
                except RayTaskError as error:
                    raise WorkFailed(describe(work, calls[flight.index], error.cause)) from error
                except RayError as error:
                    if flight.tries >= self._config.retries:
                        raise WorkFailed(describe(work, calls[flight.index], error)) from error
                    self._await_return(flight.worker)
                    waiting.appendleft((flight.index, flight.tries + 1))
                else:
                    yield flight.index, value
        finally:
            for reference in flights:
                ray.cancel(reference, recursive=False)

    def _launch(self, work: Work, calls: Sequence[Sequence[Any]], waiting: deque, flights: dict) -> None:
        lost = set(self._returning.values())
        load = {worker: 0 for worker in range(len(self._workers)) if worker not in lost}
        for flight in flights.values():
            if flight.worker in load:
                load[flight.worker] += 1
        while waiting and load and min(load.values()) < IN_FLIGHT:
            worker = min(load, key=load.__getitem__)
            index, tries = waiting.popleft()
            flights[self._workers[worker].run.remote(work, *calls[index])] = _Flight(index, worker, tries)
            load[worker] += 1

    def _await_return(self, worker: int) -> None:
        """Give a lost worker no work until it answers again: while it restarts, Ray refuses all work at once."""
        if worker not in self._returning.values():
            self._returning[self._workers[worker].run.options(max_task_retries=-1).remote(_nothing)] = worker

    def _welcome(self, reference: Any) -> None:
        worker = self._returning.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            raise WorkFailed(f"worker {worker} was lost and cannot be restarted: {error}") from error

    def alive(self) -> int:
        """Workers not known to be lost; one that Ray has restarted counts again once it has answered."""
        return len(self._workers) - len(self._returning)

    def __enter__(self) -> "RayPool":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            ray.kill(worker)
        if self._started_here:
            ray.shutdown()


def _nothing(problem: Problem) -> None:
    """Work that only shows that its worker is there."""


def connect(config: Config) -> None:
    """Join the cluster named by the config or, as in a Ray job, by RAY_ADDRESS; else start a quiet one here."""
    cluster = config.cluster
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        ray.init("local", num_cpus=cluster.workers * cluster.threads, include_dashboard=False, **quiet)
        return
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise ValueError(f"cluster.address {address!r}: no Ray cluster answers there: {error}") from error
