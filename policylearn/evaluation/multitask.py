"""Continued pretraining that sees labels: every step takes the task's loss beside that of masked tokens.

What one would do with labels who has never heard of learned masks, and so what these are to be held against: MT-DAPT
and MT-TARTAN (Dery et al., ICLR 2022: multi-task training with the end task beats pretraining before it).
"""

from collections.abc import Iterator

import numpy as np
import torch

from policylearn.adapt.finetune import Classifier, head_of
from policylearn.adapt.joint import JointBatch, JointLoss
from policylearn.inner.objectives import Objective
from policylearn.masking import MaskedBatch
from policylearn.models.model import InnerModel
from policylearn.problem import Problem

ORDER = 5
"""Of the labels: a stream of its own, so that texts and masks are those of a training without."""


def with_head(problem: Problem, model: InnerModel) -> Classifier:
    """The model itself, not a copy, under a head that starts where that of fine-tuning does; on all labels of train."""
    with torch.no_grad():
        return Classifier(model, *head_of(problem, np.arange(len(problem.labelled("train"))), model))


def beside_labels(
    problem: Problem, batches: Iterator[tuple[Objective, MaskedBatch]], size: int, weight: float, seed: int
) -> Iterator[tuple[JointLoss, JointBatch]]:
    """Masked batches, each with so many labelled examples of train beside it, in an order of every epoch's own;
    L = L_task + λ · L_MLM, λ the weight."""
    kind, train = problem.kind, problem.labelled("train")
    rng, queue = np.random.default_rng([seed, ORDER]), np.zeros(0, dtype=np.int64)
    for objective, masked in batches:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(len(train))])
        rows, queue = queue[:size].tolist(), queue[size:]
        yield JointLoss(kind.step_loss, objective, weight), JointBatch(kind.batch(train, rows), masked)
