"""Token targets: texts, with the numbers of the spans in them that are worth masking."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from policylearn.config import BENCHMARKS
from policylearn.data.tokens import TokenRows, tokenize_annotated
from policylearn.learning.supervised.answers import TARGET, answer_texts, planted_texts
from policylearn.learning.supervised.importance import importance_targets
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem


def token_targets(problem: Problem, splits: Sequence[str]) -> dict[str, TokenRows]:
    """The tokenised texts of each split that have a target which may be masked; column `TARGET` holds its number, 0
    where there is none. Of targets that may not be, as unknown words, it is told how many texts have no other.

    Raises:
        ValueError: what `answer_texts`, `planted_texts` and `importance_targets` raise, or a split has no such target.
    """
    config = problem.config
    if config.supervised.targets == "importance":
        found = importance_targets(problem, splits)
    else:
        length = config.model.max_length
        planted = config.supervised.path in BENCHMARKS
        texts = {s: planted_texts(config, s) if planted else answer_texts(config.supervised, s) for s in splits}
        found = {s: tokenize_annotated(t, problem.tokenizer, length, split=True) for s, t in texts.items()}
    kept = {split: rows.take(_with_target(rows)) for split, rows in found.items()}
    if empty := [split for split, rows in kept.items() if not len(rows)]:
        raise ValueError(f'supervised.targets = "{config.supervised.targets}": no text of {empty[0]} has a target')
    return {split: _maskable(problem, split, rows) for split, rows in kept.items()}


def _maskable(problem: Problem, split: str, rows: TokenRows) -> TokenRows:
    special = problem.vocabulary.special.numpy()
    columns = {TARGET: np.where(special[rows.flat], np.float32(0), rows.columns[TARGET])}
    left = TokenRows(rows.flat, rows.offsets, columns)
    if not (kept := _with_target(left)):
        raise ValueError(f"no target of {split} may be masked: the tokenizer knows none; set model.tokenizer")
    if lost := len(rows) - len(kept):
        problem.tell(f"targets of {split}: {lost:,} of {len(rows):,} texts are left out: the tokenizer knows none")
    return left.take(kept)


def _with_target(rows: TokenRows) -> list[int]:
    return [i for i in range(len(rows)) if rows.columns[TARGET][rows.offsets[i] : rows.offsets[i + 1]].any()]


def batch_of(policy: MaskingPolicy, rows: TokenRows, picked: np.ndarray, pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Some texts as a batch: input_ids, real, and the numbers of targets where a token may be masked; [B, T] each."""
    ids, real = rows.batch(picked, pad_id)
    numbers = rows.values(picked, ids.shape[1])[TARGET]
    return ids, real, torch.where(policy.eligible(ids, real), numbers, 0.0)
