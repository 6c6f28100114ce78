"""Stage "outcomes": what whole trainings come to under masks that are changed at random, and which words it hangs on.

Short horizons may mislead (Wu, Ren, Liao & Grosse, ICLR 2018), and gradients through a whole training differ from one
training to the next. So nothing is differentiated here. As an antithetic evolution strategy does (Rechenberg, 1973;
Salimans et al., 2017), the logits of all types are changed at random by ±δ, two fresh models are trained to the end
with common random numbers, one under φ + δ and one under φ - δ, and half the difference of their outer losses is the
outcome y of the change. Then, as a datamodel does (Ilyas et al., ICML 2022), outcomes are regressed on changes:

    y = Σ_k n_k δ_k c_k + e,      c_k ~ N(0, τ²),      e ~ N(0, σ²)

where n_k is how often type k may be masked in a text and c_k what it is worth, for the loss, to mask one of them more
readily; τ / σ is the most likely one. Every round's pairs are trained around the policy as it is then, and the outcomes
of all rounds are regressed together, so that a round adds to what is known. After r rounds the logits of the policy are
those that it began with less r · `outcomes.strength` · E[c_k] / τ. What trainings do not tell is left as it is.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.cluster.calls import WorkFailed
from policylearn.cluster.pool import Pool
from policylearn.config import Config, OutcomesConfig
from policylearn.inner.seeds import OUTCOME_SEED, first_seed_of
from policylearn.learning.changes import (
    LOGITS,
    SIGNS,
    Change,
    Outcome,
    apply_change,
    halved_differences,
    random_change,
    train_to_the_end,
)
from policylearn.learning.learner import States, collect
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.report.formats import count, plural, score
from policylearn.runs.state import State, select_prefix

TEXTS = 10_000
"""Texts, evenly spaced in the domain, in which types are counted; it needs no more to tell frequent ones from rare."""
NOISE = "taken together they are noise, and nothing is learned from them"
"""How `describe_outcomes` ends where they say nothing."""
RATIOS = np.geomspace(1e-4, 1e4, 161)
"""Of the variance of outcomes that types explain to that which they do not: among these is the most likely one."""


@dataclass(frozen=True)
class Trained:
    """What became of one model of a pair."""

    seed: int
    sign: float
    outcome: Outcome


def outcomes(problem: Problem, policy: MaskingPolicy, pool: Pool, state: State, config: Config) -> States:
    """Train pairs of models under changes of the policy, and move it by what they came to; round by round.

    `dev` and `outer_loss` of a round are means over its models, which were trained under changes either way;
    `reliability` is `Fit.agreement` over all outcomes so far, `outcomes` are those of the round, a seed and y each. A
    pair of which a training diverges is left out, as far as `learn.max_dropped` allows. Pairs are summed in order: no
    number of workers, and no order in which they finish, changes a bit. See `Learner`.
    """
    own, skeleton, began = config.outcomes, pool.share(deepcopy(policy)), policy.learned()[LOGITS].clone()
    if state.tensors:
        policy.load_learned(select_prefix("phi.", state.tensors))
    shares = occurrences(problem, policy)
    while state.round < own.rounds:
        started, lost, phi = monotonic(), pool.lost, pool.share(policy.learned())
        first = first_seed_of(OUTCOME_SEED, config) + state.round * own.pairs
        calls = [(skeleton, phi, seed, sign) for seed in range(first, first + own.pairs) for sign in SIGNS]
        tickets = pool.submit(train_under_change, calls)
        found: list[Trained] = collect(pool.results(tickets), tickets, config.learn.max_dropped, "trainings")
        seeds, losses = whole_pairs(found)
        if not seeds:
            raise WorkFailed(
                "of every pair of trainings one diverged: lower inner.learning_rate or outcomes.change, or set "
                "inner.clip"
            )
        record: dict[str, Any] = {
            "round": state.round,
            "outer_loss": float(np.mean([one.outcome.loss for one in found])),
            "dev": float(np.mean([one.outcome.score for one in found])),
            "pairs": len(seeds),
            "dropped": len(calls) - len(found),
            "outcomes": [[seed, float(loss)] for seed, loss in zip(seeds, losses, strict=True)],
        }
        known = [pair for earlier in (*state.history, record) for pair in earlier.get("outcomes", [])]
        fit = _worth_of(problem, policy, shares, known)
        moved = (state.round + 1) * own.strength * torch.from_numpy(fit.worth)
        policy.load_learned(policy.learned() | {LOGITS: began - moved.to(began)})
        record["reliability"] = fit.agreement
        measured = {"workers": pool.alive(), "lost": pool.lost - lost, "seconds": monotonic() - started}
        state.history.append(record | measured)
        state.tensors = {f"phi.{name}": value.clone() for name, value in policy.learned().items()}
        state.round += 1
        yield state


def _worth_of(problem: Problem, policy: MaskingPolicy, shares: np.ndarray, known: Sequence[tuple[int, float]]) -> "Fit":
    """What outcomes, a seed and y each, say of types that occur so often."""
    changes = np.stack([change_of(problem, policy, seed)[LOGITS].numpy() for seed, _ in known])
    return expected_worth(changes * shares, np.array([loss for _, loss in known]))


def train_under_change(
    problem: Problem, skeleton: MaskingPolicy, phi: dict[str, Tensor], seed: int, sign: float
) -> Trained:
    """What a worker runs: one model of a pair, whose seed says the change as well."""
    moved = apply_change(phi, change_of(problem, skeleton, seed), sign)
    draws = problem.config.outcomes.draws
    return Trained(seed, sign, train_to_the_end(problem, skeleton, moved, seed, labelled_seed=seed, draws=draws))


def change_of(problem: Problem, policy: MaskingPolicy, seed: int) -> Change:
    """The change of a pair: of every type of the domain, by a coin."""
    draw = torch.Generator().manual_seed(seed)
    return random_change(policy, torch.from_numpy(problem.types_met()), problem.config.outcomes.change, draw)


def trainings_of_round(config: OutcomesConfig) -> int:
    """How many models a round trains."""
    return len(SIGNS) * config.pairs


def occurrences(problem: Problem, policy: MaskingPolicy) -> np.ndarray:
    """How often each type may be masked in a text of the domain, on average; [V] float64."""
    texts = len(problem.domain)
    picked = np.unique(np.linspace(0, texts - 1, min(texts, TEXTS)).astype(np.int64))
    total = np.zeros(policy.field.size)
    for some in np.array_split(picked, -(-len(picked) // 100)):
        x, real = problem.domain.batch(some, problem.pad_id)
        types = policy.field.types(x)[policy.eligible(x, real)]
        total += np.bincount(types.numpy(), minlength=len(total))
    return total / len(picked)


def whole_pairs(found: Sequence[Trained]) -> tuple[list[int], np.ndarray]:
    """Seeds of the pairs of which both models are there, in order, and the outcomes y of their changes.

    >>> found = [(7, 1.0, 0.5), (8, 1.0, 0.4), (7, -1.0, 0.9)]
    >>> whole_pairs([Trained(seed, sign, Outcome(loss, 0.0)) for seed, sign, loss in found])
    ([7], array([-0.2]))
    """
    losses = {(one.seed, one.sign): one.outcome.loss for one in found}
    seeds = sorted({seed for seed, _ in losses if all((seed, sign) in losses for sign in SIGNS)})
    (above,), (below,) = ([[losses[seed, sign] for seed in seeds]] for sign in SIGNS)  # of one model each
    return seeds, halved_differences([above], [below])[0]


@dataclass(frozen=True)
class Fit:
    """What outcomes say of types.

    Attributes:
        worth: [V], expected c_k / τ.
        spread: τ, in the unit of outcomes; 0 where they are taken for noise alone.
        agreement: correlation of each outcome with what all others predict of it; 0 where they predict nothing.
    """

    worth: np.ndarray
    spread: float
    agreement: float


def expected_worth(changes: np.ndarray, outcomes: np.ndarray) -> Fit:
    """Regress outcomes on changes, see above.

    Args:
        changes: [M, V], n_k δ_k.
        outcomes: [M], y.

    The ratio of variances is that of the largest marginal likelihood among `RATIOS` (Rasmussen & Williams, *Gaussian
    Processes for Machine Learning*, 2006, ch. 5.4.1); where outcomes are as likely to be noise alone, all are 0.

    >>> changes = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    >>> fit = expected_worth(changes, changes @ [0.5, 0.0] + [0.01, -0.01, 0.0, 0.01, 0.0, -0.01])
    >>> fit.worth.round(1), round(fit.agreement, 2)
    (array([1.4, 0. ]), 1.0)
    >>> expected_worth(changes, np.zeros(6)).agreement
    0.0
    """
    nothing = Fit(np.zeros(changes.shape[1]), 0.0, 0.0)
    if len(outcomes) < 2 or np.ptp(outcomes) == 0:
        return nothing
    kernel = changes @ changes.T
    kernel /= (scale := np.trace(kernel) / len(kernel) or 1.0)
    values, vectors = np.linalg.eigh(kernel)
    along = vectors.T @ outcomes
    variances = 1 + RATIOS[:, None] * values.clip(0)
    noise = (along**2 / variances).mean(1)  # σ², the most likely one at each ratio
    likely = -0.5 * np.log(variances).sum(1) - 0.5 * len(outcomes) * np.log(noise)
    best = int(likely.argmax())
    if likely[best] <= -0.5 * len(outcomes) * np.log((along**2).mean()):
        return nothing
    inverse = (vectors / variances[best]) @ vectors.T
    weights = inverse @ outcomes
    others = outcomes - weights / inverse.diagonal()  # what is predicted without the outcome itself
    agreement = float(np.corrcoef(others, outcomes)[0, 1]) if np.ptp(others) > 0 else 0.0
    spread = float(np.sqrt(RATIOS[best] * noise[best] / scale))
    return Fit(spread / noise[best] * (changes.T @ weights), spread, agreement)


def describe_outcomes(history: Sequence[dict[str, Any]]) -> str:
    """What was learned from, in words.

    >>> describe_outcomes([{"pairs": 48, "reliability": 0.61}, {"pairs": 47, "reliability": 0.35}])
    'outcomes of 190 whole trainings in 2 rounds; what the others predict of one correlates with it by .610, then .350'
    >>> describe_outcomes([{"pairs": 48, "reliability": 0.0}]).partition("; ")[2]
    'taken together they are noise, and nothing is learned from them'
    """
    trainings = len(SIGNS) * sum(record["pairs"] for record in history)
    agreements = ", then ".join(score(record["reliability"]) for record in history)
    said = f"what the others predict of one correlates with it by {agreements}"
    if history[-1]["reliability"] == 0:
        said = NOISE
    return f"outcomes of {count(trainings)} whole trainings in {plural(len(history), 'round')}; {said}"
