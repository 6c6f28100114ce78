"""Stage "rounds": φ → rollouts → their mean gradient → φ."""

from copy import deepcopy
from time import monotonic
from typing import Any

from torch import Tensor

from policylearn.arms.arms import RANDOM, arm_policy
from policylearn.cluster.pool import Pool
from policylearn.config import Config, RandomRate
from policylearn.inner.seeds import rollout_seeds
from policylearn.learning.choice import smoothed_dev
from policylearn.learning.expected import ALONG
from policylearn.learning.learner import States, collect
from policylearn.learning.rollout import PolicyGradient, rollout
from policylearn.learning.steps import (
    apply_gradient,
    mean_gradient,
    policy_optimizer,
    restore,
    round_record,
    snapshot,
)
from policylearn.learning.versions import add_version, older_versions, recalled_versions, version_of
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.runs.state import State


def rounds(problem: Problem, policy: MaskingPolicy, pool: Pool, state: State, config: Config) -> States:
    """Move φ by a step of Adam along the mean gradient of every round's rollouts; round 0 of the history is what it
    starts from.

    Round n is run with φ as it was after n - `learn.lag` rounds, whatever the cluster looks like: a stated staleness,
    0 unless asked for; and so no number of workers, and no order in which they finish, changes a bit. See `Learner`.
    """
    optimizer, lag, total = policy_optimizer(policy, config.learn), config.learn.lag, config.learn.rounds
    skeleton = pool.share(deepcopy(policy))
    if state.tensors:
        restore(policy, optimizer, state.tensors)
    if state.round < total and RANDOM not in state.numbers:
        state.numbers[RANDOM] = run_random_baseline(config, problem, pool)
    versions = add_version(recalled_versions(state.tensors), state.round, policy.learned(), lag)
    under_way: dict[int, list[int]] = {}
    try:
        while state.round < total:
            started, lost = monotonic(), pool.lost
            for number in range(state.round, min(state.round + lag + 1, total)):
                if number not in under_way:
                    under_way[number] = begin_round(config, skeleton, version_of(versions, number, lag), pool, number)
            tickets = under_way.pop(state.round)
            results = collect(pool.results(tickets), tickets, config.learn.max_dropped)
            baselines = baselines_of(config, policy, state, results)
            record = round_record(state.round, results, baselines, config.masking.usual_rate)
            record["dropped"] = config.learn.rollouts - len(results)
            if config.inner.objective == "masked_diffusion":
                del record["rate"]  # which is drawn anew for every text, from all there are
            if isinstance(config.masking.rate, RandomRate):
                record["rate_range"] = config.masking.rates
            measured = {"workers": pool.alive(), "lost": pool.lost - lost, "seconds": monotonic() - started}
            state.history.append(record | measured)
            state.tried = version_of(versions, state.round, lag), smoothed_dev(state.history)
            apply_gradient(policy, optimizer, mean_gradient(results))
            state.round += 1
            versions = add_version(versions, state.round, policy.learned(), lag)
            state.tensors = snapshot(policy, optimizer) | older_versions(versions)
            yield state
    finally:
        for tickets in under_way.values():
            pool.drop(tickets)


def begin_round(config: Config, skeleton: Any, phi: dict[str, Tensor], pool: Pool, number: int) -> list[int]:
    """Submit the rollouts of one round; their tickets are in rollout order."""
    shared = pool.share(phi)
    return pool.submit(rollout_with, [(skeleton, shared, seed) for seed in rollout_seeds(config, number)])


def rollout_with(problem: Problem, skeleton: MaskingPolicy, phi: dict, seed: int) -> PolicyGradient:
    """What a worker runs: the shared policy, with this round's φ."""
    skeleton.load_learned(phi)
    problem.memo.pop(ALONG, None)  # a model that a stage before has credited along is not needed any more
    return rollout(problem, skeleton, seed)


def baseline_rollout(problem: Problem, policy: MaskingPolicy, seed: int) -> PolicyGradient:
    """What a worker runs for the dev score of a policy that learns nothing."""
    return rollout(problem, policy, seed, differentiate=False)


def run_random_baseline(config: Config, problem: Problem, pool: Pool) -> float:
    """Dev score under uniform masks, on the seeds of the first round; that of the prior is round 0 itself."""
    policy = pool.share(arm_policy(problem, RANDOM))
    tickets = pool.submit(baseline_rollout, [(policy, seed) for seed in rollout_seeds(config, 0)])
    watched = problem.watch("random baseline", pool.results(tickets), len(tickets))
    results: list[PolicyGradient] = collect(watched, tickets, config.learn.max_dropped)
    return sum(result.metrics["dev"] for result in results) / len(results)


def baselines_of(
    config: Config, policy: MaskingPolicy, state: State, results: list[PolicyGradient]
) -> dict[str, float]:
    """Dev scores of random masks and of what rounds start from, which the first round ran with."""
    scorers = list(policy.config.prior)
    name = scorers[0] if len(scorers) == 1 and config.learn.start is None else "prior"
    first = state.history[0]["dev"] if state.history else sum(r.metrics["dev"] for r in results) / len(results)
    return {RANDOM: state.numbers[RANDOM], name: first}
