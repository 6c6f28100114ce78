"""Continued pretraining that sees labels: every step takes the task's loss beside that of masked tokens.

What one would do with labels who has never heard of learned masks, and so what these are to be held against: MT-DAPT
and MT-TARTAN (Dery et al., ICLR 2022: multi-task training with the end task beats pretraining before it).
"""

from collections.abc import Iterator

import numpy as np
import torch

from policylearn.adapt.finetune import Classifier, head_of
from policylearn.adapt.joint import JointBatch, JointLoss
from policylearn.inner.batches import rows_in_turn
from policylearn.inner.objectives import Objective
from policylearn.masking import MaskedBatch
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.model import InnerModel
from policylearn.problems.problem import Problem

ORDER = 5
"""Of the labels: a stream of its own, so that texts and masks are those of a training without."""


def with_head(problem: Problem, model: InnerModel, watch: Watch = UNSEEN) -> Classifier:
    """The model itself, not a copy, under a head that starts where that of fine-tuning does; on all labels of train."""
    with torch.no_grad():
        return Classifier(model, *head_of(problem, np.arange(len(problem.labelled("train"))), model, watch))


def examples_in_turn(count: int, size: int, seed: int) -> Iterator[list[int]]:
    """Numbers of so many of `count` examples, as `rows_in_turn`."""
    turns = rows_in_turn(count, size, np.random.default_rng([seed, ORDER]))
    return (rows.tolist() for rows, _ in turns)


def beside_labels(
    problem: Problem, batches: Iterator[tuple[Objective, MaskedBatch]], size: int, weight: float, seed: int
) -> Iterator[tuple[JointLoss, JointBatch]]:
    """Masked batches, each with so many labelled examples of train beside it; L = L_task + λ · L_MLM, λ the weight."""
    kind, train = problem.kind, problem.labelled("train")
    turns = examples_in_turn(len(train), size, seed)
    for (objective, masked), rows in zip(batches, turns, strict=False):  # which have no end
        yield JointLoss(kind.step_loss, objective, weight), JointBatch(kind.batch(train, rows), masked)
