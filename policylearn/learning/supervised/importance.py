"""Words that a classifier of the task needs, as targets: what the scorer "selective" averages over occurrences."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from policylearn.arms.policies import sources_of
from policylearn.data.tokens import TokenRows
from policylearn.learning.supervised.answers import TARGET
from policylearn.problems.problem import LABELS, Problem
from policylearn.scores.classifier import fit_classifier, spread_classes
from policylearn.scores.selective import important_words, words_of
from policylearn.tasks.labelled import class_examples


def importance_targets(problem: Problem, splits: Sequence[str]) -> dict[str, TokenRows]:
    """At most `scores.model_texts` labelled texts of each split, with the runs of their important words numbered.

    The classifier is fitted on those of train; texts of a label that it does not know are left out.

    Raises:
        ValueError: all training texts looked at have the same label.
    """
    most, pad_id = problem.config.scores.model_texts, problem.tokenizer.pad_token_id
    train = class_examples(problem.kind, problem.labelled("train"), 'supervised.targets = "importance"')
    looked_at, classes, y = spread_classes(cast(TokenRows, train.rows), train.y, most, "training texts")
    classifier = fit_classifier(sources_of(problem).model(), looked_at, y, pad_id, problem.watch)
    found = {}
    for split in splits:
        rows, y = _of_classes(problem, split, classes)
        order = np.concatenate(rows.by_length(len(rows)))
        texts = words_of(sources_of(problem), *rows.batch(order, pad_id), y[torch.from_numpy(order)])
        important = important_words(classifier, texts, problem.config.scores.selective.delta, problem.watch)
        flat = runs_numbered(important)[texts.real].numpy()
        taken = rows.take(order)
        found[split] = TokenRows(taken.flat, taken.offsets, {TARGET: flat})
    return found


def _of_classes(problem: Problem, split: str, classes: Tensor) -> tuple[TokenRows, Tensor]:
    """Some texts of a split, evenly spaced, and their classes as numbers 0 to C − 1, [N]."""
    read = problem.labelled(split) if split in LABELS else problem.tests()[split]
    examples = class_examples(problem.kind, read, 'supervised.targets = "importance"')
    picked = torch.from_numpy(examples.rows.spread(problem.config.scores.model_texts))
    picked = picked[torch.isin(examples.y[picked], classes)]
    rows = cast(TokenRows, examples.rows)
    return rows.take(picked.tolist()), torch.searchsorted(classes, examples.y[picked])


def runs_numbered(marked: Tensor) -> Tensor:
    """1, 2, … at the runs of True in each row of [B, T], 0 elsewhere; float32.

    >>> runs_numbered(torch.tensor([[True, True, False, True]]))
    tensor([[1., 1., 0., 2.]])
    """
    begins = marked.clone()
    begins[:, 1:] &= ~marked[:, :-1]
    return (begins.cumsum(1) * marked).float()
