"""What Ray's own metrics show of a run, at the metrics endpoint of its nodes, next to those of the cluster."""

from ray.util.metrics import Counter, Gauge

from policylearn.cluster.calls import Result


class PoolMetrics:
    """Counts what a pool does, for the run of this name."""

    def __init__(self, run: str) -> None:
        self._run = {"run": run}
        self._rounds = Counter("policylearn_rounds", "rounds finished", ("run",))
        self._results = Counter(
            "policylearn_results", "rollouts and trials, by outcome: ok, or why there is none", ("run", "outcome")
        )
        self._lost = Counter("policylearn_lost_workers", "workers lost, and replaced", ("run",))
        self._workers = Gauge("policylearn_workers", "workers that are ready", ("run",))

    def round(self) -> None:
        """One more round is finished."""
        self._rounds.inc(tags=self._run)

    def result(self, result: Result) -> None:
        """A call has come to its end."""
        self._results.inc(tags=self._run | {"outcome": result.failure.kind if result.failure else "ok"})

    def lost(self) -> None:
        """A worker was lost."""
        self._lost.inc(tags=self._run)

    def workers(self, ready: int) -> None:
        """So many workers are ready."""
        self._workers.set(ready, tags=self._run)
