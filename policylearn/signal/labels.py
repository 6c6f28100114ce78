"""An outer loss that uses every example of a half, and labels that have nothing to do with the task."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from policylearn.adaptation import extract
from policylearn.inner.model import Features
from policylearn.inner.probe import outer_loss
from policylearn.problem import Problem


class CrossFitted:
    """Outer loss of all given examples: each is query once and support in the other folds, over several re-splits.

    Features are computed once for all folds and re-splits, and so is their gradient: what they cost beyond one split
    into support and query is a few small linear systems.

    Args:
        problem: data.
        picked: [N] training examples.
        y: [N] their labels, or others.
        folds: support is all but one of so many parts, query that one.
        resplits: how often the examples are dealt into folds.
        seed: of the folds.
    """

    def __init__(self, problem: Problem, picked: np.ndarray, y: Tensor, folds: int, resplits: int, seed: int) -> None:
        self.problem, self.picked, self.y = problem, picked, y
        rng = np.random.default_rng([seed, 1])
        self.splits = [split for _ in range(resplits) for split in fold(y.numpy(), folds, rng)]

    def features(self, model: Features) -> Tensor:
        """[N, d], differentiable."""
        return extract(model, self.problem.examples("train"), self.picked, self.problem.tokenizer.pad_token_id)

    def loss(self, x: Tensor) -> Tensor:
        """Mean over folds and re-splits, of features [N, d]."""
        y, classes = self.y, len(self.problem.labels)
        fits = [outer_loss(x[s], y[s], x[q], y[q], classes).loss for s, q in self.splits]
        return torch.stack(fits).mean()


def fold(y: np.ndarray, folds: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(support, query) of every fold, each class spread over all of them.

    >>> [query.tolist() for _, query in fold(np.array([0, 0, 1, 1]), 2, np.random.default_rng(0))]
    [[1, 3], [0, 2]]
    """
    part = np.empty(len(y), dtype=np.int64)
    part[np.lexsort((rng.random(len(y)), y))] = np.arange(len(y)) % folds
    for number in range(folds):
        yield np.flatnonzero(part != number), np.flatnonzero(part == number)


def shuffled(y: Tensor, seed: int) -> Tensor:
    """The same labels on other examples: whatever the texts have to do with them is gone."""
    return y[torch.from_numpy(np.random.default_rng([seed, 2]).permutation(len(y)))]


def made_up(problem: Problem, picked: Sequence[int] | np.ndarray, y: Tensor, seed: int) -> Tensor:
    """Labels of a task that means nothing but can be learned: by the mean of random word weights, as often as in y."""
    rng = np.random.default_rng([seed, 3])
    weights, rows = rng.normal(size=len(problem.tokenizer)), problem.examples("train").rows
    order = np.argsort([weights[rows[int(i)]].mean() for i in picked])
    found = torch.empty_like(y)
    found[torch.from_numpy(order)] = y.sort().values[torch.arange(len(y))]
    return found
