"""A thousand workers that do no work: the schedule of the pool and the learner, under a made-up clock.

Events lie in a heap: a worker is there, a call has ended, a machine was taken away. What is real is what the learner
computes: handing out calls, taking results, averaging gradients, Adam's step. What is not: rollouts, for which measured
times are drawn, and the machines. The time Ray takes for a result is measured elsewhere and charged per result.
"""

import heapq
import time
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch

from policylearn.cluster.calls import Call, Failure
from policylearn.cluster.schedule import Schedule
from policylearn.learning.rollout import PolicyGradient
from policylearn.learning.steps import mean_gradient

LOST = Failure("lost", "preempted")


@dataclass(frozen=True)
class Cluster:
    """Attributes:
    workers: how many there are at the start.
    rollouts: of a round.
    lag: rounds begun ahead.
    spread: of machines: speeds are log-normal with this standard deviation.
    straggle: share of calls that take ten times as long.
    preempted: mean hours until a worker is taken away.
    back: seconds until there is another one in its place.
    """

    workers: int = 1000
    rollouts: int = 1000
    lag: int = 0
    spread: float = 0.2
    straggle: float = 0.01
    preempted: float = 6.0
    back: float = 180.0


@dataclass
class Outcome:
    """Attributes:
    seconds: simulated.
    busy: of these, seconds in which the learner computed (measured) or took in results (charged).
    used: share of the workers' time that went into rollouts that counted.
    lost: workers that were taken away.
    """

    seconds: float
    busy: float
    used: float
    lost: int


def simulate(cluster: Cluster, durations: list[float], rounds: int, per_result: float, parameters: int) -> Outcome:
    """Rounds of rollouts on such a cluster.

    Args:
        cluster: what it is like.
        durations: seconds of real rollouts, drawn from.
        rounds: how many.
        per_result: seconds that Ray and the pool take for one result.
        parameters: size of φ.
    """
    return _Simulation(cluster, durations, per_result, parameters).run(rounds)


class _Simulation:
    def __init__(self, cluster: Cluster, durations: list[float], per_result: float, parameters: int) -> None:
        self.cluster, self.durations, self.per_result = cluster, durations, per_result
        self.random = np.random.default_rng(0)
        self.schedule, self.now, self.busy = Schedule(retries=3), 0.0, 0.0
        self.events: list[tuple[float, int, str, int, int]] = []
        self.order, self.tickets, self.names = count(), count(), count()
        self.speed: dict[int, float] = {}
        self.run_of: dict[int, int] = {}
        self.worked, self.lost = 0.0, 0
        self.began: dict[int, float] = {}
        self.result = PolicyGradient({"network": torch.randn(parameters)}, {})
        for _ in range(cluster.workers):
            self.at(self.random.uniform(0, 60), "join", next(self.names))

    def at(self, seconds: float, what: str, worker: int, number: int = 0) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), what, worker, number))

    def run(self, rounds: int) -> Outcome:
        left: dict[int, int] = {}
        round_of: dict[int, int] = {}
        number, begun = 0, 0
        while number < rounds:
            while begun < min(rounds, number + self.cluster.lag + 1):
                left[begun] = self.cluster.rollouts
                for _ in range(self.cluster.rollouts):
                    ticket = next(self.tickets)
                    round_of[ticket] = begun
                    self.timed(self.schedule.add, Call(ticket, print, ()))
                begun += 1
            ended = self.step()
            if ended is not None:
                left[round_of.pop(ended)] -= 1
            while number < rounds and left.get(number) == 0:
                self.timed(mean_gradient, [self.result] * self.cluster.rollouts)
                del left[number]
                number += 1
        return Outcome(self.now, self.busy, self.worked / (self.now * self.cluster.workers), self.lost)

    def timed(self, work, *arguments):
        """The learner is one process: while it computes, the clock of the cluster goes on."""
        started = time.perf_counter()
        value = work(*arguments)
        spent = time.perf_counter() - started
        self.busy += spent
        self.now += spent
        return value

    def step(self) -> int | None:
        """The next event; the ticket of a call that has ended well."""
        for worker, call in self.timed(lambda: list(self.schedule.assign(self.now))):
            self.start(worker, call.ticket)
        when, _, what, worker, number = heapq.heappop(self.events)
        self.now = max(self.now, when)
        if what == "join":
            self.timed(self.schedule.join, worker)
            self.speed[worker] = self.random.lognormal(0, self.cluster.spread)
            self.run_of[worker] = 0
            self.at(self.random.exponential(self.cluster.preempted * 3600), "preempt", worker)
        elif what == "preempt":
            self.preempt(worker)
        elif self.run_of.get(worker) == number:
            return self.end(worker)
        return None

    def start(self, worker: int, ticket: int) -> None:
        seconds = self.random.choice(self.durations) * self.speed[worker]
        if self.random.random() < self.cluster.straggle:
            seconds *= 10
        self.began[worker] = self.now
        self.at(seconds, "end", worker, self.run_of[worker])

    def end(self, worker: int) -> int:
        self.run_of[worker] += 1
        self.busy += self.per_result
        self.now += self.per_result
        self.worked += self.now - self.began[worker]
        return self.timed(self.schedule.finish, worker, self.now).ticket

    def preempt(self, worker: int) -> None:
        del self.run_of[worker]
        self.lost += 1
        call = self.timed(self.schedule.leave, worker)
        if call is not None:
            self.timed(self.schedule.again, call, LOST, worker, True)
        self.at(self.cluster.back, "join", next(self.names))
