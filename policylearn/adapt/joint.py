"""Adaptation by fine-tuning of encoder and head on two losses at once: the task's, and the inner objective's (masked
language modelling) on the very texts that have labels, L = L_task + λ · L_MLM.

This is how Difference-Masking was evaluated (Wilf et al., Findings of EMNLP 2023), and what multi-task end-task aware
training does with the end task's own text (Dery et al., ICLR 2022, MT-TARTAN). To the end, texts are masked by the
policy that the model was trained under, a rate with a schedule being where it ended; within the outer loss by uniform
masks, for that is of θ and not of a policy. What a policy followed of that training itself, mistakes or credits, it has
no more: it is uniform then. Uniform masks are of words where the unit is a collocation, of which no table is here.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from torch import Tensor

from policylearn.adapt.chosen import Adaptation, Chosen, FrozenFeatures, Note
from policylearn.adapt.finetune import (
    Classifier,
    FineTuning,
    best_start,
    choose_epoch,
    first_heads,
    head_of,
    query_loss,
    rows_of_steps,
)
from policylearn.adapt.training import adamw
from policylearn.inner.objectives import Objective, objective_of
from policylearn.inner.window import Loss
from policylearn.masking import MaskedBatch
from policylearn.messages.watch import UNSEEN_PROGRESS, Progress
from policylearn.models.chunks import Indices
from policylearn.policy.patches import random_patches
from policylearn.policy.policy import MaskingPolicy, uniform_policy
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Problem

OVER = 1.0
"""Progress of the training that comes before."""


@dataclass(frozen=True)
class JointBatch:
    """Texts with their labels, and the same texts or others masked."""

    labelled: Any
    masked: MaskedBatch

    @property
    def mask(self) -> Tensor:
        """[B, T]: what is to be predicted."""
        return self.masked.mask


@dataclass(frozen=True)
class JointLoss:
    """L_task(x) + λ · L_MLM of a `Classifier`; x are the weights of the labelled examples, all 1.

    Attributes:
        task: the kind's loss of a step.
        objective: the loss of masked texts.
        weight: λ.
    """

    task: Loss
    objective: Objective
    weight: float

    def inputs(self, batch: JointBatch, like: Tensor) -> Tensor:
        """Ones [B]."""
        return self.task.inputs(batch.labelled, like)

    def __call__(self, model: Callable[..., Tensor], batch: JointBatch, x: Tensor) -> Tensor:
        """The loss, a scalar."""
        task = self.task(model, batch.labelled, x)
        if not self.weight:
            return task
        return task + self.weight * self.objective(model, batch.masked, self.objective.inputs(batch.masked, x))


def outer_loss(problem: Problem, support: Indices, query: Indices, key: Sequence[int], note: Note) -> FineTuning:
    """The outer loss after joint steps on support examples, under uniform masks drawn by `key`. Its `query` raises
    FloatingPointError where the loss is NaN or infinite."""
    kind, train, config = problem.kind, problem.labelled("train"), problem.config.outer
    objective = objective_of(problem)
    seed = int(np.random.SeedSequence([*key, 3]).generate_state(1)[0])
    masked = partial(_masked, problem, _uniform(problem), objective, seed)
    batches = [
        JointBatch(kind.batch(train, rows), masked(step, rows))
        for step, rows in enumerate(rows_of_steps(config, support))
    ]
    loss = JointLoss(kind.step_loss, objective, config.mlm_weight)
    head, query_of = partial(head_of, problem, support), partial(query_loss, problem, "train", query, note)
    return FineTuning.of(config, batches, loss, head, query_of)


def fit(features: FrozenFeatures, picked: np.ndarray, seed: int, progress: Progress = UNSEEN_PROGRESS) -> Chosen:
    """A copy of the model with its head, fine-tuned on both losses of the picked training rows by AdamW, under other
    masks of the policy at every step; dev selects the epoch, by the task's metric alone. A model that was trained under
    no masks is given uniform ones.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    problem, config = features.problem, features.problem.config.evaluate.joint
    labelled, objective = problem.labelled("train"), objective_of(features.problem)
    policy = features.policy or _uniform(problem)

    def train(*head: Tensor) -> Chosen:
        tuned, steps = Classifier(copy.deepcopy(features.model), *head), count()

        def loss(rows: list[int]) -> Tensor:
            batch = _masked(problem, policy, objective, seed, next(steps), rows)
            masked = objective(tuned, batch, objective.inputs(batch, tuned.bias))
            return problem.kind.training_loss(tuned, labelled, rows) + config.mlm_weight * masked

        return choose_epoch(problem, tuned, adamw(tuned, config), config, picked, seed, progress, loss)

    return best_start(first_heads(problem, picked, features.model, config), train)


def _masked(
    problem: Problem, policy: MaskingPolicy, objective: Objective, seed: int, step: int, rows: Sequence[int]
) -> MaskedBatch:
    labelled = problem.labelled("train").rows
    ids, real = labelled.batch(rows, problem.pad_id)
    return objective.draw(policy, ids, real, seed, step, progress=OVER, columns=labelled.values(rows, ids.shape[1]))


def _uniform(problem: Problem) -> MaskingPolicy:
    if isinstance(problem, PictureProblem):
        return random_patches(problem.grid, problem.config.masking)
    return uniform_policy(problem.tokenizer, problem.config.masking)


ADAPTATION = Adaptation(outer_loss, fit)
