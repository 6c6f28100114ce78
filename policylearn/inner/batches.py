"""The stream of masked batches a model trains on."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from policylearn.config.masking import texts_of
from policylearn.data.tokens import TokenRows
from policylearn.inner.objectives import Objective
from policylearn.masking import MaskedBatch
from policylearn.policy.adaptive import AMLM, AdaptiveWeights
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.problem import Problem


def masked_batches(
    problem: Problem,
    policy: MaskingPolicy,
    seed: int,
    objective: Objective,
    adaptive: AdaptiveWeights | None = None,
    progress: Callable[[], float] = lambda: 0.0,
    mask_seed: int | None = None,
    rows: TokenRows | None = None,
    columns_of: Callable[[Tensor, Tensor], dict[str, Tensor]] | None = None,
) -> Iterator[MaskedBatch]:
    """Endless masked batches of the domain corpus, in an order drawn from `seed`, reshuffled every epoch.

    Args:
        problem: holds the corpus.
        policy: π_φ.
        seed: of order and masks.
        objective: masks them.
        adaptive: of `follow_mistakes`; its scores are those of the moment.
        progress: tells the share of training that is done, for a rate that has a schedule.
        mask_seed: of the masks alone; None: `seed`.
        rows: texts to be read instead of the whole corpus.
        columns_of: scores of ids [B, T] and real [B, T] by name, asked for when a batch is.

    Raises:
        ValueError: as `texts_of`.
    """
    rng, copies = np.random.default_rng([seed, 0]), policy.masking.copies
    rows, size = problem.domain if rows is None else rows, texts_of(problem.config.inner.batch_size, copies)
    pad = problem.pad_id
    drawn_by = seed if mask_seed is None else mask_seed
    queue = epochs = np.zeros(0, dtype=np.int64)
    epoch = -1
    while True:
        while len(queue) < size:
            epoch += 1
            queue = np.concatenate([queue, rng.permutation(len(rows))])
            epochs = np.concatenate([epochs, np.full(len(rows), epoch)])
        picked, of = (np.repeat(numbers[:size], copies) for numbers in (queue, epochs))
        queue, epochs = queue[size:], epochs[size:]
        draw = torch.from_numpy(of)  # each text's own: a batch may straddle two epochs
        draw = draw if copies == 1 else draw * copies + torch.arange(len(picked)) % copies
        input_ids, real = rows.batch(picked, pad)
        columns = rows.values(picked, input_ids.shape[1])
        if adaptive is not None:
            columns[AMLM] = adaptive.scores[input_ids]
        if columns_of is not None:
            columns |= columns_of(input_ids, real)
        settings = {"progress": progress(), "columns": columns}
        yield objective.draw(policy, input_ids, real, drawn_by, draw, **settings)


def follow_mistakes(problem: Problem, policy: MaskingPolicy) -> AdaptiveWeights | None:
    """Fresh weights that follow the model's mistakes in one training, if the policy goes by such."""
    if AMLM not in map(scorer_of, policy.names):
        return None
    every = problem.config.scores.amlm.every
    return AdaptiveWeights(policy.field.size, policy.masking.usual_rate, every)
