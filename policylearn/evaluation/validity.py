"""Validity: does what an estimator predicts come true?

`diagnose` says how well two measurements of the signal agree; both may be of something that does not last. Here φ is
changed at random, fresh models are trained to the end under φ + δ and φ - δ with common random numbers, and what became
of the outer loss, (L(φ + δ) - L(φ - δ)) / 2, is held against what was predicted, ∇L · δ, over many δ: Spearman's
correlation, the linear datamodelling score of data attribution (Park et al., 2023, TRAK; for gradients through whole
trainings Ilyas & Engstrom, 2025, MAGIC).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.config import ValidityConfig
from policylearn.credit.sums import spearman_brown
from policylearn.inner.seeds import VALIDITY_SEED
from policylearn.learning.changes import Change, Outcome, random_change, train_to_the_end
from policylearn.learning.rollout import PolicyGradient, rollout
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem

LEAST = 3
"""Changes that a correlation takes."""
RESAMPLES = 2_000
RELIABLE = 0.2
"""Less than that is not divided by: it would make 1 of anything."""


def random_changes(policy: MaskingPolicy, types: Tensor, config: ValidityConfig) -> list[Change]:
    """The changes that predictions are held against: as many, and as large, as the config says. See `random_change`."""
    draw = torch.Generator().manual_seed(VALIDITY_SEED)
    return [random_change(policy, types, config.strength, draw) for _ in range(config.changes)]


def predicted(gradient: Mapping[str, Tensor], change: Change) -> float:
    """∇L · δ, what a change of φ should do to the outer loss, in the estimator's unit.

    >>> predicted({"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, -1.0])})
    1.0
    """
    return float(sum((gradient[name].double() * delta.double()).sum() for name, delta in change.items()))


def predict(problem: Problem, policy: MaskingPolicy, phi: dict[str, Tensor], seed: int) -> PolicyGradient:
    """What a worker runs for the estimator's gradient."""
    policy.load_learned(phi)
    return rollout(problem, policy, seed)


def train_changed(problem: Problem, policy: MaskingPolicy, phi: dict[str, Tensor], seed: int) -> Outcome:
    """What a worker runs for what becomes of a change; labelled examples are drawn the same for every change and seed.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    return train_to_the_end(problem, policy, phi, seed, VALIDITY_SEED, problem.config.validity.draws)


def validity(predictions: np.ndarray, outcomes: np.ndarray) -> dict[str, Any]:
    """How far predictions come true.

    Args:
        predictions: [M, R] of every change by each of R rollouts.
        outcomes: [M, S], what became of it on each of S seeds.

    Returns:
        `spearman` of their means with its `interval` (bootstrap over changes, 95 %), `of_predictions` and
        `of_outcomes`, the reliabilities of the two means (one half of the rollouts or seeds against the other; None
        where there is only one), and `without_noise`, the correlation divided by the root of their product (Spearman,
        1904), at most 1; None where a reliability is not known or below `RELIABLE`. Where predictions or outcomes are
        all the same, there is no correlation: None, as are its ends. `alone` has the correlation of every rollout by
        itself: the interval speaks of other changes and the same rollouts, and what another training would predict
        may be something else.
    """
    assert len(predictions) == len(outcomes) >= LEAST
    x, y = predictions.mean(1), outcomes.mean(1)
    alone = [rank_correlation(column, y) for column in predictions.T]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        nothing = dict.fromkeys(("spearman", "of_predictions", "of_outcomes", "without_noise"))
        return nothing | {"interval": [None, None], "alone": alone}
    found, parts = rank_correlation(x, y), (_reliability(predictions), _reliability(outcomes))
    rng = np.random.default_rng(0)
    picked = rng.integers(len(x), size=(RESAMPLES, len(x)))
    low, high = np.quantile([rank_correlation(x[rows], y[rows]) for rows in picked], [0.025, 0.975])
    known = all(part is not None and part >= RELIABLE for part in parts)
    free = float(np.clip(found / np.sqrt(parts[0] * parts[1]), -1, 1)) if known else None  # type: ignore[operator]
    return {
        "spearman": found,
        "interval": [float(low), float(high)],
        "of_predictions": parts[0],
        "of_outcomes": parts[1],
        "without_noise": free,
        "alone": alone,
    }


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ; 0 where one of the two is constant.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.0, 5.0, 6.0]))
    1.0
    """
    from scipy.stats import spearmanr  # here only: see evaluation/statistics.py

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return round(float(spearmanr(x, y).statistic), 12)


def _reliability(values: np.ndarray) -> float | None:
    """Of the mean over columns [M, S]: one half of them against the other, corrected for length."""
    half = values.shape[1] // 2
    if not half:
        return None
    first, second = values[:, :half].mean(1), values[:, half : 2 * half].mean(1)
    return spearman_brown(rank_correlation(first, second), values.shape[1] / half)


def validity_verdict(found: dict[str, Any]) -> str:
    """One line for a person."""
    value, (low, high) = found["spearman"], found["interval"]
    if value is None:
        return "predictions or what came are the same for all changes, and nothing is shown: raise validity.strength"
    numbers = f"Spearman {value:.2f} [{low:.2f}, {high:.2f}]"
    if (low > 0 or high < 0) and any(one * value < 0 for one in found["alone"]):
        of_one = f"from {min(found['alone']):.2f} to {max(found['alone']):.2f}"
        numbers += f"; single rollouts have {of_one}, so others may say the opposite: raise validity.rollouts"
    noisy = found["of_outcomes"] is not None and found["of_outcomes"] < 0.5
    if low > 0:
        return f"predictions come true: {numbers}"
    if high < 0:
        return f"the opposite of what is predicted comes true: {numbers}"
    hint = "; outcomes are mostly noise: raise validity.seeds or validity.strength" if noisy else ""
    return f"predictions are not shown to come true: {numbers}{hint}"
