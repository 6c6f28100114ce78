"""Credits of the domain's tokens under all labels at once: what `diagnose` measures by halves, for a score."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from policylearn.credit.credits import (
    credits_of,
    masked_texts,
    outer_gradients,
    preconditioned,
    take,
    through,
    train_to,
)
from policylearn.credit.labels import cross_fitted
from policylearn.credit.points import SEED, steps
from policylearn.inner.trajectory import Trajectory
from policylearn.masking import MaskedBatch
from policylearn.messages.watch import At
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.report.formats import plural

ALL = "all"


def domain_credits(problem: Problem, policy: MaskingPolicy) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Masked tokens of the domain with their credits, batch by batch, along a training under uniform masks.

    As many batches as `diagnose` looks at, after as many steps, under the outer gradient of all its labelled examples.
    Where the prior has `credit`, it goes along this very training (`commands.diagnose.trained_under`).

    Args:
        problem: `config.diagnose` names points, batches, examples and folds.
        policy: of uniform masks.

    Yields:
        ids [B, T], real [B, T] (not padding), credits [B, T]: of mean 0 and variance 1 over the tokens of a point, NaN
        where nothing was masked.
    """
    settings = problem.config.diagnose
    y, rng = problem.examples("train").y, np.random.default_rng(SEED)
    picked, rows = rng.permutation(len(y))[: settings.examples], rng.permutation(len(problem.domain))
    loss = cross_fitted(problem, picked, y[picked], settings.folds, settings.resplits, SEED)
    trajectory, texts = Trajectory.start(problem, policy, SEED), masked_texts(problem, policy, rows, SEED)
    for number, step in enumerate(steps(problem.config), start=1):
        watch = At(problem.watch, f"credits, point {number} of {settings.points}")
        train_to(trajectory, step, watch)
        gradient = outer_gradients(trajectory.model, {ALL: loss}, watch)[ALL]
        direction = through(trajectory.model, preconditioned(trajectory, gradient), problem.config.outer.parameters)
        batches = take(texts, 2 * settings.batches)
        watched = watch("batches of masked texts", batches)
        found = [tokens.credits[:, 0] for tokens in credits_of(trajectory, watched, [direction])]
        mean, scale = np.mean(np.concatenate(found)), np.std(np.concatenate(found))
        for batch, credits in zip(batches, found, strict=True):
            yield batch.original, batch.real, in_place(batch, (credits - mean) / max(scale, np.finfo(float).tiny))


def measured_under(problem: Problem) -> str:
    """What stands behind the credits, in words."""
    at, have = steps(problem.config), len(problem.examples("train"))
    where = f"{plural(len(at), 'state')} of a training under uniform masks (after {', '.join(map(str, at))} steps)"
    return f"at {where}, under the labels of {min(have, problem.config.diagnose.examples or have):,} examples of train"


def in_place(batch: MaskedBatch, credits: np.ndarray) -> Tensor:
    """Credits of masked tokens [M] where they stand, NaN elsewhere; [B, T] float64."""
    values = torch.full(batch.mask.shape, torch.nan, dtype=torch.float64)
    values[batch.mask] = torch.from_numpy(credits)
    return values
