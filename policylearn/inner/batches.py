"""The stream of masked batches a model trains on."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from policylearn.config.masking import texts_of
from policylearn.inner.objectives import Objective
from policylearn.masking import MaskedBatch
from policylearn.policy.adaptive import AMLM, AdaptiveWeights
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.problems.problem import Problem
from policylearn.protocols import Rows

Columns = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""Ids [B, T] and real [B, T] of a batch → scores that come with it, [B, T] each, by name."""


def no_columns(ids: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Of batches with which none come."""
    return {}


def masked_batches(
    problem: Problem,
    policy: MaskingPolicy,
    seed: int,
    objective: Objective,
    progress: Callable[[], float] = lambda: 0.0,
    mask_seed: int | None = None,
    rows: Rows | None = None,
    columns_of: Columns = no_columns,
) -> Iterator[MaskedBatch]:
    """Endless masked batches of the domain corpus, in an order drawn from `seed`, reshuffled every epoch.

    Args:
        problem: holds the corpus.
        policy: π_φ.
        seed: of order and masks.
        objective: masks them.
        progress: tells the share of training that is done, for a rate that has a schedule.
        mask_seed: of the masks alone; None: `seed`.
        rows: texts to be read instead of the whole corpus.
        columns_of: asked for when a batch is.

    Raises:
        ValueError: as `texts_of`.
    """
    rng, copies = np.random.default_rng([seed, 0]), policy.masking.copies
    rows, size = problem.domain if rows is None else rows, texts_of(problem.config.inner.batch_size, copies)
    drawn_by = seed if mask_seed is None else mask_seed
    for picked, draws in rows_in_turn(len(rows), size, rng, copies):
        input_ids, real = rows.batch(picked, problem.pad_id)
        columns = rows.values(picked, input_ids.shape[1]) | columns_of(input_ids, real)
        settings = {"progress": progress(), "columns": columns}
        yield objective.draw(policy, input_ids, real, drawn_by, torch.from_numpy(draws), **settings)


def rows_in_turn(
    count: int, size: int, rng: np.random.Generator, copies: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of so many of `count` rows, without end: each comes before one comes again, in an order of every epoch's
    own.

    Yields:
        numbers of rows, each `copies` times, and the number of the draw that each is masked by, which is its own: a
        batch may straddle two epochs. [size · copies] both.

    >>> rows, draws = next(rows_in_turn(2, 3, np.random.default_rng(0), copies=2))
    >>> len({*rows[:4].tolist()}), draws.tolist()
    (2, [0, 1, 0, 1, 2, 3])
    """
    queue = epochs = np.zeros(0, dtype=np.int64)
    for epoch in itertools.count():
        queue = np.concatenate([queue, rng.permutation(count)])
        epochs = np.concatenate([epochs, np.full(count, epoch)])
        while len(queue) >= size:
            draws = epochs[:size, None] * copies + np.arange(copies)
            yield np.repeat(queue[:size], copies), draws.reshape(-1)
            queue, epochs = queue[size:], epochs[size:]


def follow_mistakes(problem: Problem, policy: MaskingPolicy) -> AdaptiveWeights | None:
    """Fresh weights that follow the model's mistakes in one training, if the policy goes by such."""
    if AMLM not in map(scorer_of, policy.names):
        return None
    every = problem.config.scores.amlm.every
    return AdaptiveWeights(policy.field.size, policy.masking.usual_rate, every)
