"""Stage "strength": dev chooses how strongly the policy's scores are followed, if at all, or turned round.

Scores, and outcomes of changes, say which words to mask more often; nothing in them says by how much, or that it helps.
So fresh models are trained under the policy with its strengths, and the logits of words that it has learned from
outcomes, times each of some factors, 0 among them, which is random masks; all on the same seeds. A factor below 0 masks
less often what scores say to mask more often: what credits foretell may be the opposite of what comes (see
experiments/validity). The factor of the best mean dev score is taken, unless that is above the score of random masks by
less than one standard error of the paired difference: then the simplest stands (the rule of one standard error, Breiman
et al., *Classification and Regression Trees*, 1984, ch. 3), nothing is learned, and learning stops.
"""

from collections.abc import Sequence
from copy import deepcopy
from time import monotonic
from typing import Any

import numpy as np
import torch

from policylearn.arms.arms import RANDOM
from policylearn.cluster.pool import Pool
from policylearn.config import Config
from policylearn.inner.seeds import STRENGTH_SEED, first_seed_of
from policylearn.learning.changes import LOGITS
from policylearn.learning.learner import States, collect
from policylearn.learning.rounds import baseline_rollout
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.report.formats import plural, score
from policylearn.runs.state import State


def strength(problem: Problem, policy: MaskingPolicy, pool: Pool, state: State, config: Config) -> States:
    """Train fresh models under every factor, a seed after the other, and multiply the policy's strengths with the one
    that dev chooses. Yields after every seed. See `Learner`."""
    factors = config.strength.factors
    shared = [pool.share(scale_strengths(policy, factor)) for factor in factors]
    while state.round < config.strength.models:
        started, seed = monotonic(), first_seed_of(STRENGTH_SEED, config) + state.round
        tickets = pool.submit(baseline_rollout, [(one, seed) for one in shared])
        found = [result.metrics["dev"] for result in collect(pool.results(tickets), tickets, what="models")]
        by_factor = dict(zip(map(name_of_factor, factors), found, strict=True))
        state.history.append({"round": state.round, "factors": by_factor})
        means, chosen = mean_scores(state.history), name_of_factor(choose_factor(state.history))
        record = {"dev": means[chosen], "baselines": means, "workers": pool.alive()}
        state.history[-1] |= record | {"seconds": monotonic() - started}
        state.round += 1
        yield state
    policy.become(scale_strengths(policy, choose_factor(state.history)))


def scale_strengths(policy: MaskingPolicy, factor: float) -> MaskingPolicy:
    """The policy with the strengths of its scores, and its logit of every type if it has any, times a factor."""
    found = deepcopy(policy)
    if LOGITS in (phi := found.learned()):
        found.load_learned(phi | {LOGITS: factor * phi[LOGITS]})
    prior = {name: factor * value for name, value in policy.config.prior.items()}
    found.config = policy.config.model_copy(update={"prior": prior})
    with torch.no_grad():
        found.strengths.mul_(factor)
    return found


def name_of_factor(factor: float) -> str:
    """A factor as dev scores are shown beside it.

    >>> name_of_factor(0.0), name_of_factor(2.0)
    ('random', '× 2')
    """
    return f"× {factor:.15g}" if factor else RANDOM  # read back by `choose_factor`: no digit that counts is lost


def mean_scores(history: Sequence[dict[str, Any]]) -> dict[str, float]:
    """By factor, the mean over seeds."""
    return {name: float(np.mean([record["factors"][name] for record in history])) for name in history[0]["factors"]}


def gains(history: Sequence[dict[str, Any]], name: str) -> tuple[float, float]:
    """Mean difference to random masks over seeds, and its standard error; of one seed infinite.

    >>> gains([{"factors": {"random": 0.5, "× 1": 0.6}}, {"factors": {"random": 0.5, "× 1": 0.8}}], "× 1")
    (0.2, 0.1)
    """
    x = np.array([record["factors"][name] - record["factors"][RANDOM] for record in history])
    error = float(x.std(ddof=1) / len(x) ** 0.5) if len(x) > 1 else np.inf
    return round(float(x.mean()), 12), round(error, 12)


def choose_factor(history: Sequence[dict[str, Any]]) -> float:
    """The factor, see above; of equals the weakest.

    >>> choose_factor([{"factors": {"random": 0.5, "× 1": 0.6}}, {"factors": {"random": 0.5, "× 1": 0.8}}])
    1.0
    >>> choose_factor([{"factors": {"random": 0.5, "× 1": 0.4}}, {"factors": {"random": 0.5, "× 1": 0.8}}])
    0.0
    >>> choose_factor([{"factors": {"random": 0.5, "× -1": 0.6}}, {"factors": {"random": 0.5, "× -1": 0.8}}])
    -1.0
    """
    means = mean_scores(history)
    best = max(means, key=lambda name: means[name])
    gain, error = gains(history, best)
    return 0.0 if best == RANDOM or gain <= error else float(best.removeprefix("× "))


def describe_choice(history: Sequence[dict[str, Any]]) -> str:
    """What dev chose, and of what, in words.

    >>> describe_choice([{"factors": {"random": 0.5, "× 1": 0.6}}, {"factors": {"random": 0.5, "× 1": 0.8}}])
    'times 1: on dev .700, random masks .500 (difference .200 ± .100, one standard error, of 2 fresh models each)'
    """
    means, factor = mean_scores(history), choose_factor(history)
    followed = [name for name in means if name != RANDOM]
    best = name_of_factor(factor) if factor else max(followed, key=lambda name: means[name])
    gain, error = gains(history, best)
    models = plural(len(history), "fresh model")
    seen = f"(difference {score(gain)} ± {score(error)}, one standard error, of {models} each)"
    if factor:
        return f"times {factor:g}: on dev {score(means[best])}, random masks {score(means[RANDOM])} {seen}"
    return (
        f"times 0, which is random masks: on dev {score(means[RANDOM])}, and the best of the others, {best}, "
        f"{score(means[best])} {seen}"
    )
