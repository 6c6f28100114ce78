"""Labelled examples as support, which a model is adapted to, and query, which it is judged by."""

from collections.abc import Iterator, Sequence

import numpy as np

from policylearn.config import OuterConfig

Split = tuple[np.ndarray, np.ndarray]
"""Support and query."""
LEAST = 4
"""Labelled examples that can be both: of one support example alone there is no variance."""


def support_and_query(config: OuterConfig, examples: int, key: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint support and query examples out of so many, drawn by `key`; at most half of them are support.

    Raises:
        ValueError: there are too few for both.

    >>> [part.tolist() for part in support_and_query(OuterConfig(support=4, query=2), 5, [0])]
    [[2, 4], [3, 0]]
    """
    _check_enough(examples)
    picked = np.random.default_rng(key).permutation(examples)
    support = min(config.support, len(picked) // 2)
    return picked[:support], picked[support : support + config.query]


def fold(y: np.ndarray, folds: int, rng: np.random.Generator) -> Iterator[Split]:
    """(support, query) of every fold, each class spread over all of them: an example is query once, else support.

    Args:
        y: [N] classes or numbers, or [N, C] several of an example.
        folds: how many.
        rng: deals.

    Raises:
        ValueError: there are fewer examples than folds, or too few for any.

    >>> [query.tolist() for _, query in fold(np.array([0, 0, 1, 1]), 2, np.random.default_rng(0))]
    [[1, 3], [0, 2]]
    >>> [query.tolist() for _, query in fold(np.array([[0, 1], [1, 1], [0, 1], [1, 1]]), 2, np.random.default_rng(0))]
    [[2, 3], [0, 1]]
    """
    _check_enough(len(y))
    if len(y) < folds:
        raise ValueError(
            f"{len(y)} labelled examples cannot be dealt into {folds} folds: lower outer.folds or credit.folds, "
            "whichever that is, to as many or fewer, or label more"
        )
    part = np.empty(len(y), dtype=np.int64)
    part[np.lexsort((rng.random(len(y)), *np.atleast_2d(y.T)))] = np.arange(len(y)) % folds
    for number in range(folds):
        yield np.flatnonzero(part != number), np.flatnonzero(part == number)


def _check_enough(examples: int) -> None:
    if examples < LEAST:
        raise ValueError(
            f"{examples} labelled examples of train are to be both learned from and judged by: label {LEAST} or more"
        )
