"""What the pool costs, then result.json and the tables of README.md.

.venv/bin/python experiments/bench_pool/run.py            # a quarter of an hour, on an idle machine
.venv/bin/python experiments/bench_pool/run.py --quick    # within a minute; writes nothing

The last line printed is one JSON object of ratios.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from simulate import Cluster, Outcome, simulate

from policylearn.arms.arms import initial_policy
from policylearn.cluster.pool import LocalPool, Pool, open_pool
from policylearn.config import Config, load_config
from policylearn.inner.seeds import rollout_seeds
from policylearn.learning.rollout import PolicyGradient
from policylearn.learning.rounds import rollout_with
from policylearn.learning.steps import apply_gradient, mean_gradient, policy_optimizer
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.write_up import write_up

FOLDER = Path(__file__).parent
ROUND = 100
CLUSTERS = {
    "1,000 workers, synchronous": Cluster(),
    "1,000 workers, lag 1": Cluster(lag=1),
    "1,000 workers, 4,000 rollouts a round": Cluster(rollouts=4000),
    "100 workers, synchronous": Cluster(workers=100, rollouts=100),
    "1,000 workers, all taken away every hour": Cluster(preempted=1.0),
}


def rollouts(pool: Pool, problem: Problem, seeds: Sequence[int]) -> tuple[float, list[float]]:
    """Wall seconds of these rollouts together, and those of each."""
    policy = initial_policy(problem)
    shared, phi = pool.share(policy), pool.share(policy.learned())
    started = time.monotonic()
    results = [r.required() for r in pool.results(pool.submit(timed_rollout, [(shared, phi, s) for s in seeds]))]
    return time.monotonic() - started, results


def timed_rollout(problem: Problem, policy: Any, phi: dict, seed: int) -> float:
    started = time.monotonic()
    rollout_with(problem, policy, phi, seed)
    return time.monotonic() - started


def ready(pool: Pool, workers: int) -> Pool:
    """All workers are there and warm."""
    while pool.alive() < workers:
        list(pool.results(pool.submit(nothing, [()])))
    list(pool.results(pool.submit(nothing, [()] * workers)))
    return pool


def nothing(problem: Problem) -> None:
    """No work."""


def measured_rollouts(config: Config, count: int, repeats: int) -> dict[str, Any]:
    """Median wall seconds of `count` rollouts in this process, with one and with two Ray workers, taken in turn."""
    problem = problem_of(config)
    data, found = problem.data(), {name: [] for name in ("local", "1 worker", "2 workers")}
    each: list[float] = []
    seeds = rollout_seeds(config, 0)
    seeds = [*range(seeds[0], seeds[0] + count)]
    one, two = (with_workers(config, n) for n in (1, 2))
    for _ in range(repeats):
        here = LocalPool(config, data)
        rollouts(here, problem, seeds[:1])
        seconds, _ = rollouts(here, problem, seeds)
        found["local"].append(seconds)
        for name, settings in (("1 worker", one), ("2 workers", two)):
            with open_pool(settings, data) as pool:
                rollouts(ready(pool, settings.cluster.workers), problem, seeds[: settings.cluster.workers])
                seconds, times = rollouts(pool, problem, seeds)
            found[name].append(seconds)
            each += times if name == "1 worker" else []
    return {name: statistics.median(values) for name, values in found.items()} | {"each": each, "all": found}


def with_workers(config: Config, workers: int) -> Config:
    cluster = config.cluster.model_copy(update={"backend": "ray", "workers": workers})
    return config.model_copy(update={"cluster": cluster})


def no_op(problem: Problem, phi: dict, seed: int) -> PolicyGradient:
    """A rollout's answer without the rollout: the gradient is φ."""
    return PolicyGradient(phi, {"dev": 0.5})


def learner_with_no_ops(config: Config, results: int) -> dict[str, float]:
    """Results per second through pool, mean gradient and Adam; resident MiB after a tenth of them and at the end."""
    problem = problem_of(config)
    policy = initial_policy(problem)
    optimizer, memory = policy_optimizer(policy, config.learn), {}
    with open_pool(with_workers(config, 2), problem.data()) as pool:
        ready(pool, 2)
        started = time.monotonic()
        for done in range(0, results, ROUND):
            phi = pool.share(policy.learned())
            tickets = pool.submit(no_op, [(phi, seed) for seed in range(ROUND)])
            found = {result.call.ticket: result.required() for result in pool.results(tickets)}
            apply_gradient(policy, optimizer, mean_gradient([found[ticket] for ticket in tickets]))
            if done in (results // 10 // ROUND * ROUND, results - ROUND):
                memory[done] = psutil.Process().memory_info().rss / 2**20
        seconds = time.monotonic() - started
    first, last = memory.values()
    return {"per_second": results / seconds, "mib_early": first, "mib_end": last, "results": results}


def tables(result: dict[str, Any]) -> list[str]:
    real, noop = result["rollouts"], result["no_op"]
    lines = ["| | target | measured |", "|---|---|---|"]
    lines += [
        f"| one Ray worker, against this process | ≤ 1.05× | {real['1 worker'] / real['local']:.3f}× |",
        f"| two single-thread workers, against one | ≥ 1.8× | {real['1 worker'] / real['2 workers']:.2f}× |",
        f"| learner, no-op rollouts | ≥ 1,000 results/s | {noop['per_second']:,.0f} results/s |",
        f"| its memory after {noop['results'] // 10:,} results, and after {noop['results']:,} | flat | "
        f"{noop['mib_early']:.0f} MiB, {noop['mib_end']:.0f} MiB |",
        "",
        "| simulated | seconds a round | learner busy (target < 10 %) | workers' time used | workers lost |",
        "|---|---|---|---|---|",
    ]
    for name, found in result["simulated"].items():
        share = found["busy"] / found["seconds"]
        seconds = found["seconds"] / result["rounds"]
        lines.append(f"| {name} | {seconds:.0f} | {share:.1%} | {found['used']:.0%} | {found['lost']:,} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller; writes nothing")
    quick = parser.parse_args().quick
    overrides = ["inner.steps=40", "learn.rollouts=2"] if quick else []
    config = load_config(None, ["cluster.backend=local", *overrides])
    real = measured_rollouts(config, 2 if quick else 8, 1 if quick else 3)
    print(json.dumps(real), flush=True)
    noop = learner_with_no_ops(config, 2_000 if quick else 100_000)
    print(json.dumps(noop), flush=True)
    rounds, problem = 3 if quick else 20, problem_of(config)
    parameters = sum(value.numel() for value in initial_policy(problem).learned().values())
    simulated: dict[str, Outcome] = {}
    for name, cluster in CLUSTERS.items():
        simulated[name] = simulate(cluster, real["each"], rounds, 1 / noop["per_second"], parameters)
        print(name, simulated[name], flush=True)
    result = {
        "rollouts": real,
        "no_op": noop,
        "simulated": {name: vars(outcome) for name, outcome in simulated.items()},
        "rounds": rounds,
    }
    if not quick:
        write_up(FOLDER, result, tables(result))
    print(
        json.dumps(
            {
                "overhead": real["1 worker"] / real["local"],
                "speedup": real["1 worker"] / real["2 workers"],
                "results_per_second": noop["per_second"],
                "busy": max(o.busy / o.seconds for o in simulated.values()),
            }
        )
    )


if __name__ == "__main__":
    main()
