"""A pool of workers behind one interface: in this process, or Ray actors. Both give the same bits.

Work is a pure function of (problem, *arguments), so it does not matter where, in which order or how often it
runs. Every worker builds the problem from the config once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from transformers.utils.logging import disable_progress_bar

from policylearn.config import Config
from policylearn.problem import Problem

Work = Callable[..., Any]


class WorkFailed(RuntimeError):
    """A piece of work raised, wherever it ran; the message says which and why."""


class Pool(Protocol):
    """Runs ``work(problem, *arguments)`` for many argument lists."""

    def share(self, value: Any) -> Any:
        """Something to put into argument lists instead of a large value that many of them hold."""
        ...

    def run(self, work: Work, calls: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
        """Yield (index of the call, its value) as they finish, in any order.

        Raises:
            WorkFailed: a call raised, or its worker was lost too often.
        """
        ...

    def alive(self) -> int:
        """How many workers there are right now."""
        ...


class Worker:
    """Holds one problem and runs work on it, with a fixed number of torch threads: sums over a different
    number of threads differ in the last bit."""

    def __init__(self, config: Config) -> None:
        torch.set_num_threads(config.cluster.threads)
        disable_progress_bar()
        self.problem = Problem(config)

    def run(self, work: Work, *arguments: Any) -> Any:
        """``work(problem, *arguments)``."""
        return work(self.problem, *arguments)


class LocalPool:
    """One worker, in this process."""

    def __init__(self, config: Config) -> None:
        self._worker = Worker(config)

    def share(self, value: Any) -> Any:
        return value

    def run(self, work: Work, calls: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
        for index, arguments in enumerate(calls):
            try:
                yield index, self._worker.run(work, *arguments)
            except FloatingPointError as error:
                raise WorkFailed(describe(work, arguments, error)) from error

    def alive(self) -> int:
        return 1

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def describe(work: Work, arguments: Sequence[Any], error: BaseException) -> str:
    """What failed, for people: the work, its plain arguments (seeds, arms) and the reason."""
    plain = ", ".join(str(a) for a in arguments if isinstance(a, int | str) and not isinstance(a, bool))
    return f"{work.__name__}({plain}) failed: {error}"


def open_pool(config: Config) -> AbstractContextManager[Pool]:
    """The pool `config.cluster` asks for; a context manager that frees its workers."""
    if config.cluster.backend == "local":
        return LocalPool(config)
    from policylearn.cluster.ray_pool import RayPool  # the science runs without ray

    return RayPool(config)
