"""An outer loss that uses every example of a half, and labels that have nothing to do with the task."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.probe import ProbeLoss
from policylearn.adapt.splits import fold
from policylearn.problems.problem import Problem


def cross_fitted(problem: Problem, picked: np.ndarray, y: Tensor, folds: int, resplits: int, seed: int) -> ProbeLoss:
    """Outer loss of all given examples: each is query once and support in the other folds, over several re-splits.

    Args:
        problem: data.
        picked: [N] training examples.
        y: their labels, or others; [N], or of all their words.
        folds: support is all but one of so many parts, query that one.
        resplits: how often the examples are dealt into folds.
        seed: of the folds.
    """
    rng = np.random.default_rng([seed, 1])
    splits = [split for _ in range(resplits) for split in fold(problem.examples("train").strata(picked, y), folds, rng)]
    return ProbeLoss(problem, picked, y, splits)


def shuffled(y: Tensor, seed: int) -> Tensor:
    """The same labels on other examples: whatever the texts have to do with them is gone."""
    return y[torch.from_numpy(np.random.default_rng([seed, 2]).permutation(len(y)))]


def made_up(problem: Problem, picked: Sequence[int] | np.ndarray, y: Tensor, seed: int) -> Tensor:
    """Labels of a task that means nothing but can be learned: by the mean of random word weights, as often as in y."""
    rng = np.random.default_rng([seed, 3])
    weights = rng.normal(size=len(problem.names_of_types()))
    order = np.argsort([weights[ids].mean() for ids in problem.types_of(problem.examples("train"), picked)])
    found = torch.empty_like(y)
    found[torch.from_numpy(order)] = y[torch.from_numpy(np.lexsort(np.atleast_2d(y.numpy().T)))]
    return found
