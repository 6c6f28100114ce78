"""One arm on one seed: a fresh model, trained under the arm's masks, then scored on the label task."""

import time
from dataclasses import dataclass

from policylearn.adapt.downstream import FrozenFeatures, score
from policylearn.arms.course import course_of
from policylearn.evaluation.pretraining import Pretraining, held_out_loss, pretrain
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem

CHECKPOINT = "checkpoint that is not trained further"
"""Where in `Problem.memo` what it came to is kept."""


@dataclass(frozen=True)
class Trial:
    """One arm on one seed.

    Attributes:
        arm, seed: which.
        score: the task's metric on test, by the first method of `evaluate.downstream`.
        extra: the same on further test splits, and by further methods: "finetune", "finetune, test_noverlap",
            "probe@200".
        dev: the same on dev, for what was selected there.
        mlm_loss: mean training loss of the last tenth of the steps (under the arm's own masks).
        masked_tokens: how many tokens were predicted in all.
        seconds: wall time.
        held_out_loss: MLM loss on texts that were not trained on, under the same uniform masks for all arms.
        key: what it depends on, see `identity`.
    """

    arm: str
    seed: int
    score: float
    extra: dict[str, float]
    dev: float
    mlm_loss: float | None
    masked_tokens: int
    seconds: float
    held_out_loss: float | None = None
    key: str = ""


def run_trial(problem: Problem, policy: MaskingPolicy | None, arm: str, seed: int, key: str = "") -> Trial:
    """Train a fresh model under a frozen policy, then adapt it to the label task and score that on test.

    Args:
        problem: data and models.
        policy: whose masks to train under; None: no further training, θ₀ as it is.
        arm: its name, by which it may have a course of its own.
        seed: of the model, the data order, the masks, the labelled subset and fine-tuning; the same for every arm.
        key: kept with what is found.

    Raises:
        FloatingPointError: the loss of either training became NaN or infinite.
    """
    started, config = time.monotonic(), problem.config
    if policy is None and config.model.name is not None:
        training, (features, loss) = Pretraining([], 0), _checkpoint(problem)
    else:
        model = problem.fresh_model(seed)
        steps = config.evaluate.steps or config.inner.steps
        training = (
            pretrain(problem, model, policy, seed, steps, course_of(config, arm)) if policy else Pretraining([], 0)
        )
        features, loss = FrozenFeatures(problem, model, policy), held_out_loss(problem, model)
    (_, found), *further = score(features, config.evaluate.downstream, seed).items()
    extra = dict(found.extra)
    for method, other in further:
        extra |= {method: other.test} | {f"{method}, {name}": value for name, value in other.extra.items()}
    seconds = time.monotonic() - started
    tail, masked = training.tail, training.masked_tokens
    return Trial(arm, seed, found.test, extra, found.dev, tail, masked, seconds, loss, key)


def _checkpoint(problem: Problem) -> tuple[FrozenFeatures, float]:
    """θ₀ of a checkpoint, the same for all seeds: its features, and its loss on held-out text."""
    if CHECKPOINT not in problem.memo:
        model = problem.fresh_model(0)
        problem.memo[CHECKPOINT] = FrozenFeatures(problem, model), held_out_loss(problem, model)
    return problem.memo[CHECKPOINT]
