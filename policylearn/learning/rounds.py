"""The outer loop: φ → rollouts → their mean gradient → φ, a checkpoint after every round."""

from collections.abc import Sequence
from copy import deepcopy
from time import monotonic
from typing import Any

from torch import Tensor

from policylearn.arms.arms import RANDOM, arm_policy
from policylearn.cluster.calls import Result, WorkFailed
from policylearn.cluster.pool import Pool
from policylearn.config import Config
from policylearn.learning.outer import (
    add_version,
    apply_gradient,
    keep_best,
    make_outer_optimizer,
    mean_gradient,
    older_versions,
    out_of_patience,
    recalled_versions,
    restore,
    round_record,
    snapshot,
    version_of,
)
from policylearn.learning.rollout import PolicyGradient, rollout
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.report.console import RoundProgress
from policylearn.report.progress import TaskProgress
from policylearn.runs.run import Run
from policylearn.runs.state import OuterState
from policylearn.runs.trackers import open_trackers

FIRST_ROLLOUT_SEED = 1_000_000
"""Seeds below are left to the evaluation: no fresh model was ever seen by a rollout."""


def learn(config: Config, problem: Problem, policy: MaskingPolicy, pool: Pool, run: Run) -> OuterState:
    """Learn φ. A finished round is on disk before the next one ends.

    Round n is run with φ as it was after n - `learn.lag` rounds, whatever the cluster looks like: a stated staleness,
    0 unless asked for; and so no number of workers, and no order in which they finish, changes a bit.

    On return `policy` holds the φ that `learn.select` asks for; round 0 of the history is the prior itself. A
    policy with nothing to learn is left as it is.

    Raises:
        WorkFailed: a rollout fails wherever it is tried, or too many diverge; the rounds before are kept.
    """
    if not policy.learned():
        return OuterState()
    optimizer, state, lag = make_outer_optimizer(policy, config.learn), run.latest_state(), config.learn.lag
    skeleton = pool.share(deepcopy(policy))
    if state.tensors:
        restore(policy, optimizer, state.tensors)
    if RANDOM not in state.numbers:
        state.numbers[RANDOM] = baseline_score(config, problem, pool, run)
    versions = add_version(recalled_versions(state.tensors), state.round, policy.learned(), lag)
    under_way: dict[int, list[int]] = {}
    with (
        RoundProgress(config.learn.rounds, state.round, run.console, config.learn.rollouts) as progress,
        open_trackers(config, str(run.storage), state, run.console) as trackers,
    ):
        while state.round < config.learn.rounds and not out_of_patience(config.learn, state):
            started, lost = monotonic(), pool.lost
            for number in range(state.round, min(state.round + lag + 1, config.learn.rounds)):
                if number not in under_way:
                    under_way[number] = begin_round(config, skeleton, version_of(versions, number, lag), pool, number)
            results = gathered(pool, under_way.pop(state.round), config, run, progress)
            record = round_record(state.round, results, baselines(config, state, results), config.masking.rates[0])
            record["dropped"] = config.learn.rollouts - len(results)
            measured = {"workers": pool.alive(), "lost": pool.lost - lost, "seconds": monotonic() - started}
            state.history.append(record | measured)
            keep_best(version_of(versions, state.round, lag), state)
            apply_gradient(policy, optimizer, mean_gradient(results))
            state.round += 1
            versions = add_version(versions, state.round, policy.learned(), lag)
            state.tensors = snapshot(policy, optimizer) | older_versions(versions)
            run.save_round(state)
            progress.update(state.history[-1])
            trackers.update(state.history)
            pool.count_round()
    for tickets in under_way.values():
        pool.drop(tickets)
    if state.best and config.learn.select == "dev":
        policy.load_learned(state.best)
    return state


def begin_round(config: Config, skeleton: Any, phi: dict[str, Tensor], pool: Pool, number: int) -> list[int]:
    """Submit the rollouts of one round; their tickets are in rollout order."""
    shared = pool.share(phi)
    return pool.submit(rollout_with, [(skeleton, shared, seed) for seed in rollout_seeds(config, number)])


def gathered(
    pool: Pool, tickets: Sequence[int], config: Config, run: Run, progress: RoundProgress | TaskProgress
) -> list[PolicyGradient]:
    """The values of rollouts in the order of their tickets, whatever order they finish in, without those that diverged.

    Raises:
        WorkFailed: one failed in another way, or more than `learn.max_dropped` of them diverged.
    """
    values, dropped = {}, []
    for result in pool.results(tickets):
        if result.failure and result.failure.kind == "not finite":
            dropped.append(result)
        else:
            values[result.call.ticket] = result.required(how_to_see(result, run))
        progress.advance()
    if dropped and (not values or len(dropped) > config.learn.max_dropped * len(tickets)):
        reason = f"{len(dropped)} of {len(tickets)} rollouts diverged: lower inner.learning_rate, or set inner.clip"
        raise WorkFailed(f"{reason}\n{dropped[0].explained(how_to_see(dropped[0], run))}")
    return [values[ticket] for ticket in tickets if ticket in values]


def how_to_see(result: Result, run: Run) -> str:
    """The command that runs a failed rollout again, in one process."""
    option = "--baseline" if result.call.work is baseline_rollout else "--rollout"
    return f"See it again, in one process: policylearn reproduce {run.address} {option} {result.call.arguments[-1]}"


def rollout_with(problem: Problem, skeleton: MaskingPolicy, phi: dict, seed: int) -> PolicyGradient:
    """What a worker runs: the shared policy, with this round's φ."""
    skeleton.load_learned(phi)
    return rollout(problem, skeleton, seed)


def baseline_rollout(problem: Problem, policy: MaskingPolicy, seed: int) -> PolicyGradient:
    """What a worker runs for the dev score of a policy that learns nothing."""
    return rollout(problem, policy, seed, differentiate=False)


def rollout_seeds(config: Config, number: int) -> list[int]:
    """Seeds of one round's rollouts: a function of config and round alone, so that resuming repeats nothing.

    >>> rollout_seeds(Config(), 2)
    [1000004, 1000005]
    """
    first = FIRST_ROLLOUT_SEED * (config.learn.seed + 1) + number * config.learn.rollouts
    return list(range(first, first + config.learn.rollouts))


def baseline_score(config: Config, problem: Problem, pool: Pool, run: Run) -> float:
    """Dev score under uniform masks, on the seeds of the first round; that of the prior is round 0 itself."""
    policy = pool.share(arm_policy(problem, RANDOM))
    tickets = pool.submit(baseline_rollout, [(policy, seed) for seed in rollout_seeds(config, 0)])
    with TaskProgress("random baseline", len(tickets), run.console) as progress:
        results = gathered(pool, tickets, config, run, progress)
    return sum(result.metrics["dev"] for result in results) / len(results)


def baselines(config: Config, state: OuterState, results: list[PolicyGradient]) -> dict[str, float]:
    """Dev scores of random masks and of the prior, which the first round ran with."""
    scorers = list(config.policy.prior)
    name = scorers[0] if len(scorers) == 1 and config.learn.start is None else "prior"
    first = state.history[0]["dev"] if state.history else sum(r.metrics["dev"] for r in results) / len(results)
    return {RANDOM: state.numbers[RANDOM], name: first}
