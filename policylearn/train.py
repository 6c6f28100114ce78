"""The outer loop: learn over rounds of rollouts, export the policy, compare it on fresh models, report."""

import os
from time import monotonic
from typing import Any

from rich.console import Console

from policylearn.arms import LEARNED, RANDOM, arm_policy, check_arms, initial_policy
from policylearn.cluster.checkpoint import OuterState
from policylearn.cluster.pool import Pool, open_pool
from policylearn.compare import compare
from policylearn.config import Config
from policylearn.outer import (
    apply_gradient,
    keep_best,
    make_outer_optimizer,
    mean_gradient,
    out_of_patience,
    restore,
    round_record,
    snapshot,
)
from policylearn.policy import MaskingPolicy
from policylearn.preemption import preemptible
from policylearn.present import export_policy, report_run
from policylearn.problem import Problem
from policylearn.report.console import RoundProgress, TaskProgress
from policylearn.report.verdict import signal
from policylearn.rollout import PolicyGradient, rollout
from policylearn.run import Run

FIRST_ROLLOUT_SEED = 1_000_000
"""Seeds below are left to the evaluation: no fresh model was ever seen by a rollout."""


def train(
    config: Config, out: str | os.PathLike[str], console: Console, fresh: bool = False, command: str = ""
) -> dict[str, Any]:
    """The whole job, from texts to report; continues where an earlier call on the same folder stopped.

    Args:
        config: the experiment.
        out: the run directory: a path, or a URI such as s3://bucket/run.
        console: where progress is shown.
        fresh: forget what `out` holds.
        command: how the user called it, for the report.

    Returns:
        what stands in result.json.

    Raises:
        ValueError: bad input, with what to do.
        WorkFailed: a rollout failed; the rounds before it are kept.
        StorageFailed: `out` cannot be read, or could not be written to the end.
        Preempted: on SIGTERM; the rounds before the one under way are kept.
    """
    check_arms(config)
    run = Run.open(out, config, console, fresh)
    if run.finished:
        return run.result()
    problem = Problem(config, run.watch)
    problem.check()
    with run, preemptible():
        return _train(config, run, problem, command)


def _train(config: Config, run: Run, problem: Problem, command: str) -> dict[str, Any]:
    policy = run.prior(lambda: initial_policy(problem), problem.tokenizer)
    with open_pool(config) as pool, preemptible():
        state = learn(config, problem, policy, pool, run)
        if state.history:
            run.console.print(signal(state.history).sentence, highlight=False, soft_wrap=True)
        export_policy(run, problem, policy, state)
        result = compare(config, problem, {LEARNED: policy}, pool, run)
    result |= {"best_round": kept_round(config, state), "provenance": run.provenance(command)}
    report_run(run, problem, policy, state, result)
    run.finish(result)
    return result


def learn(config: Config, problem: Problem, policy: MaskingPolicy, pool: Pool, run: Run) -> OuterState:
    """Learn φ. A finished round is on disk before the next one starts.

    On return `policy` holds the φ that `learn.select` asks for; round 0 of the history is the prior itself. A
    policy with nothing to learn is left as it is.
    """
    if not policy.learned():
        return OuterState()
    optimizer, state = make_outer_optimizer(policy, config.learn), run.latest_state()
    if state.tensors:
        restore(policy, optimizer, state.tensors)
    skeleton = pool.share(policy)
    if RANDOM not in state.numbers:
        state.numbers[RANDOM] = baseline_score(config, problem, pool, run)
    with RoundProgress(config.learn.rounds, state.round, run.console, config.learn.rollouts) as progress:
        while state.round < config.learn.rounds and not out_of_patience(config.learn, state):
            started = monotonic()
            results = run_round(config, skeleton, policy, pool, state.round, progress)
            record = round_record(state.round, results, baselines(config, state, results), config.masking.rates[0])
            state.history.append(record | {"workers": pool.alive(), "seconds": monotonic() - started})
            keep_best(policy, state)
            apply_gradient(policy, optimizer, mean_gradient(results))
            state.round += 1
            state.tensors = snapshot(policy, optimizer)
            run.save_round(state)
            progress.update(state.history[-1])
    if state.best and config.learn.select == "dev":
        policy.load_learned(state.best)
    return state


def kept_round(config: Config, state: OuterState) -> int | None:
    """The round whose φ was exported: -1 if that is the prior, None if φ is that after the last round."""
    if config.learn.select == "last":
        return None
    return state.numbers.get("best_round") or -1


def run_round(
    config: Config, skeleton: Any, policy: MaskingPolicy, pool: Pool, number: int, progress: RoundProgress
) -> list[PolicyGradient]:
    """The rollouts of one round, in rollout order whatever the order they finished in."""
    phi = pool.share(policy.learned())
    calls = [(skeleton, phi, seed) for seed in rollout_seeds(config, number)]
    results: dict[int, PolicyGradient] = {}
    for index, result in pool.run(rollout_with, calls):
        results[index] = result
        progress.advance()
    return [results[index] for index in range(len(calls))]


def rollout_with(
    problem: Problem, skeleton: MaskingPolicy, phi: dict, seed: int, differentiate: bool = True
) -> PolicyGradient:
    """What a worker runs: the shared policy, with this round's φ."""
    skeleton.load_learned(phi)
    return rollout(problem, skeleton, seed, differentiate)


def rollout_seeds(config: Config, number: int) -> list[int]:
    """Seeds of one round's rollouts: a function of config and round alone, so that resuming repeats nothing.

    >>> rollout_seeds(Config(), 2)
    [1000008, 1000009, 1000010, 1000011]
    """
    first = FIRST_ROLLOUT_SEED * (config.learn.seed + 1) + number * config.learn.rollouts
    return list(range(first, first + config.learn.rollouts))


def baseline_score(config: Config, problem: Problem, pool: Pool, run: Run) -> float:
    """Dev score under uniform masks, on the seeds of the first round; that of the prior is round 0 itself."""
    policy = pool.share(arm_policy(problem, RANDOM))
    calls: list[Any] = [(policy, {}, seed, False) for seed in rollout_seeds(config, 0)]
    scores = {}
    with TaskProgress("random baseline", len(calls), run.console) as progress:
        for index, result in pool.run(rollout_with, calls):
            scores[index] = result.metrics["dev"]
            progress.advance()
    return sum(scores.values()) / len(scores)


def baselines(config: Config, state: OuterState, results: list[PolicyGradient]) -> dict[str, float]:
    """Dev scores of random masks and of the prior, which the first round ran with."""
    scorers = list(config.policy.prior)
    name = scorers[0] if len(scorers) == 1 else "prior"
    first = state.history[0]["dev"] if state.history else sum(r.metrics["dev"] for r in results) / len(results)
    return {RANDOM: state.numbers[RANDOM], name: first}
