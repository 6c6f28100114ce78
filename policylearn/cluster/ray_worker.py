"""A worker as a Ray actor, and the values that all its calls share."""

import os
import platform
import traceback
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray

from policylearn.cluster.calls import Failure, Work
from policylearn.cluster.worker import Worker
from policylearn.config import Config
from policylearn.problems.problem import Data


@dataclass(frozen=True)
class Place:
    """Where a worker runs: the node's id and name, and the process there."""

    node: str
    host: str
    process: int


@dataclass(frozen=True)
class Shared:
    """A value in the object store. Ray would look up and unpickle a plain reference again for every call."""

    reference: ray.ObjectRef


FETCHED = 8
"""How many shared values a worker keeps at hand: the policy, and φ of the rounds under way."""


@lru_cache(maxsize=FETCHED)
def fetched(shared: Shared) -> Any:
    """The value, as all calls on this worker see it; in one process (`LocalPool`) calls share it as well."""
    return ray.get(shared.reference)


class RayWorker(Worker):
    """A worker that takes shared values from the object store, and knows where it is.

    An actor that raises on being built dies, and what Ray says of a dead actor is now and then no more than that it is
    dead. So it stays alive until it has been asked, and its place is then the reason why there is none.
    """

    def __init__(self, config: Config, data: Data | None = None) -> None:
        self.broken: Failure | None = None
        try:
            super().__init__(config, data)
        except Exception as error:  # fault boundary: a bad setting, or a machine on which nothing can be built
            trace = "" if isinstance(error, ValueError) else traceback.format_exc()
            self.broken = Failure("raised", f"{type(error).__name__}: {error}", trace)

    def run(self, work: Work, *arguments: Any) -> Any:
        """See `Worker.run`."""
        return super().run(work, *[fetched(a) if isinstance(a, Shared) else a for a in arguments])

    def place(self) -> Place | Failure:
        """Its place, which shows that the worker is ready; or why it never will be."""
        return self.broken or Place(ray.get_runtime_context().get_node_id(), platform.node(), os.getpid())
