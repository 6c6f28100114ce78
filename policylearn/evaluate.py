"""Compare policies on fresh models: same θ₀, data order, steps and number of masked tokens; paired seeds.

dev selects the classifier's regularisation; test is read once per trial, at its end.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from policylearn.adaptation import extract
from policylearn.batches import follow_mistakes, masked_batches
from policylearn.inner.mlm import learning_rate, make_optimizer, plain_step
from policylearn.inner.model import InnerModel
from policylearn.policy import MaskingPolicy
from policylearn.problem import Problem

REGULARISATION = (0.001, 0.01, 0.1, 1.0, 10.0)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Trial:
    """One arm on one seed.

    Attributes:
        arm, seed: which.
        score: the task's metric on test.
        extra: the same on further test splits.
        dev: the same on dev, for the regularisation that was selected there.
        mlm_loss: mean training loss of the last tenth of the steps (under the arm's own masks).
        masked_tokens: how many tokens were predicted in all.
        seconds: wall time.
    """

    arm: str
    seed: int
    score: float
    extra: dict[str, float]
    dev: float
    mlm_loss: float | None
    masked_tokens: int
    seconds: float


def run_trial(problem: Problem, policy: MaskingPolicy | None, arm: str, seed: int) -> Trial:
    """Train a fresh model under a frozen policy, then fit and score a classifier on its frozen features.

    Args:
        problem: data and models.
        policy: whose masks to train under; None: no further training, θ₀ as it is.
        arm: its name.
        seed: of the model, the data order, the masks and the labelled subset; the same for every arm.
    """
    started = time.monotonic()
    model = problem.fresh_model(seed)
    losses, masked = _pretrain(problem, model, policy, seed) if policy else ([], 0)
    dev, score, extra = _score(problem, model, seed)
    tail = losses[-max(1, len(losses) // 10) :]
    mlm_loss = float(np.mean(tail)) if tail else None
    return Trial(arm, seed, score, extra, dev, mlm_loss, masked, time.monotonic() - started)


def _pretrain(problem: Problem, model: InnerModel, policy: MaskingPolicy, seed: int) -> tuple[list[float], int]:
    config = problem.config.inner
    steps = problem.config.evaluate.steps or config.steps
    optimizer, masked = make_optimizer(model, config), 0
    losses: list[float] = []
    adaptive = follow_mistakes(problem, policy)
    batches = masked_batches(problem, policy, seed, adaptive, lambda: len(losses) / steps)
    for step in range(steps):
        batch = next(batches)
        masked += int(batch.mask.sum())
        rate, watch = learning_rate(config, step, steps), adaptive.observe if adaptive else None
        losses.append(plain_step(model, optimizer, batch, rate, watch, config.clip, config.micro_batch))
    return losses, masked


def _score(problem: Problem, model: InnerModel, seed: int) -> tuple[float, float, dict[str, float]]:
    """(dev score, test score, scores of further test splits) of logistic regression on frozen features."""
    metric = METRICS[problem.config.task.metric]
    features = _frozen_features(problem, model, seed)
    x, y = features["train"]
    fits = [_classifier(c).fit(x, y) for c in REGULARISATION]
    dev = [metric(features["dev"][1], fit.predict(features["dev"][0])) for fit in fits]
    best = fits[int(np.argmax(dev))]
    tests = {name: metric(y, best.predict(x)) for name, (x, y) in features.items() if name not in ("train", "dev")}
    return max(dev), tests.pop("test"), tests


def _frozen_features(problem: Problem, model: InnerModel, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for name in ("train", "dev", "test", *problem.config.task.extra_tests):
        split = problem.examples(name)
        picked = np.arange(len(split))
        if name == "train" and problem.config.evaluate.labelled:
            picked = np.random.default_rng(seed).permutation(picked)[: problem.config.evaluate.labelled]
        with torch.no_grad():
            x = extract(model, split, picked.tolist(), problem.tokenizer.pad_token_id)
        found[name] = (x.cpu().numpy(), split.y[picked].numpy())
    return found


def _classifier(c: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))


def _macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(y, predicted, average="macro"))


def _accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(accuracy_score(y, predicted))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"accuracy": _accuracy, "macro_f1": _macro_f1}


def summarise(trials: list[Trial], metric: str) -> dict[str, Any]:
    """The comparison as plain JSON: scores per arm and seed, and paired differences with their intervals.

    Raises:
        ValueError: arms of one seed masked different numbers of tokens; the comparison would not be fair.
    """
    arms: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: t.seed):
        arms.setdefault(trial.arm, []).append(trial)
    _check_budget(arms)
    extras = sorted({name for trial in trials for name in trial.extra})
    return {
        "metric": metric,
        "seeds": sorted({trial.seed for trial in trials}),
        "arms": {
            arm: {
                "scores": [t.score for t in rows],
                "dev": [t.dev for t in rows],
                "masked_tokens": [t.masked_tokens for t in rows],
                "seconds": [t.seconds for t in rows],
            }
            for arm, rows in arms.items()
        },
        "comparisons": {
            f"{b} - {a}": paired_difference([t.score for t in arms[b]], [t.score for t in arms[a]])
            for a, b in combinations(arms, 2)
            if len(arms[a]) == len(arms[b])
        },
        "extra": {name: {arm: [t.extra[name] for t in rows] for arm, rows in arms.items()} for name in extras},
    }


def _check_budget(arms: dict[str, list[Trial]]) -> None:
    budgets: dict[int, set[int]] = {}
    for rows in arms.values():
        for trial in rows:
            if trial.masked_tokens:
                budgets.setdefault(trial.seed, set()).add(trial.masked_tokens)
    for seed, counts in budgets.items():
        if max(counts) > 1.001 * min(counts):
            raise ValueError(f"seed {seed}: arms masked {sorted(counts)} tokens; the comparison would not be fair")


def paired_difference(after: list[float], before: list[float]) -> dict[str, float]:
    """Mean of per-seed differences with a 95 % interval of Student's t; no interval for a single seed.

    >>> {k: round(v, 3) for k, v in paired_difference([0.8, 0.9], [0.7, 0.6]).items()}
    {'mean': 0.2, 'low': -1.071, 'high': 1.471}
    """
    differences = np.subtract(after, before)
    mean = float(differences.mean())
    if len(differences) < 2:
        return {"mean": mean}
    error = float(stats.sem(differences))
    if error == 0.0:
        return {"mean": mean, "low": mean, "high": mean}
    low, high = stats.t.interval(CONFIDENCE, len(differences) - 1, loc=mean, scale=error)
    return {"mean": mean, "low": float(low), "high": float(high)}
