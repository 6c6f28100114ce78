"""Continued pretraining of a fresh model under a frozen policy."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch

from policylearn.arms.course import USUAL, Course, best_texts
from policylearn.config import MaskingConfig
from policylearn.credit.live import follow_credits
from policylearn.evaluation.multitask import beside_labels, with_head
from policylearn.inner.batches import no_columns
from policylearn.inner.causal_lm import CausalLM, check_looks_back
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.objectives import Objective, objective_of
from policylearn.inner.trajectory import Trajectory
from policylearn.masking import MaskedBatch
from policylearn.models.model import InnerModel
from policylearn.policy.patches import random_patches
from policylearn.policy.policy import MaskingPolicy, uniform_policy
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Problem

HELD_OUT = 256
"""Texts that the loss on held-out text is taken on, at most."""
LOOKED_AT = 32
"""Of them at once."""
HELD_OUT_MASKS = "masks of held-out text"
"""Where in `Problem.memo` they are kept: those of all trials."""


@dataclass(frozen=True)
class Pretraining:
    """What a training left behind, besides the model.

    Attributes:
        losses: one per step, under the arm's own masks or of the next token; with that of labels, where it sees them.
        masked_tokens: how many tokens were predicted in all.
    """

    losses: list[float]
    masked_tokens: int

    @property
    def tail(self) -> float | None:
        """Mean loss of the last tenth of the steps; None without any."""
        return float(np.mean(self.losses[-max(1, len(self.losses) // 10) :])) if self.losses else None


def pretrain(
    problem: Problem, model: InnerModel, policy: MaskingPolicy, seed: int, steps: int, course: Course = USUAL
) -> Pretraining:
    """All of `steps_along`."""
    taken = [*steps_along(problem, model, policy, seed, steps, course)]
    return Pretraining([loss for loss, _ in taken], sum(masked for _, masked in taken))


def steps_along(
    problem: Problem, model: InnerModel, policy: MaskingPolicy, seed: int, steps: int, course: Course = USUAL
) -> Iterator[tuple[float, int]]:
    """So many optimiser steps on the domain, in place; order and masks are drawn by `seed`. In a causal phase, the
    first of them predict the next token; texts, and the masks of the others, are those of a training without.

    Yields:
        the loss of a step, and how many tokens were predicted.

    Raises:
        ValueError: the model cannot be kept from looking ahead.
    """
    first, rows = round(course.causal * steps), None if course.texts == 1 else best_texts(problem, policy, course.texts)
    moved = with_head(problem, model) if course.labels else model
    trajectory = Trajectory.start(problem, policy, seed, steps=steps, model=model, moved=moved)
    columns = follow_credits(trajectory, course.live) if course.live else no_columns

    def steps_on(objective: Objective, start: int, end: int) -> Iterator[tuple[Objective, MaskedBatch]]:
        return zip(repeat(objective), islice(trajectory.masked(objective, rows=rows, columns_of=columns), start, end))

    if first:
        check_looks_back(model)
    own = steps_on(trajectory.objective, first, steps)
    batches: Iterator[tuple[Any, Any]] = chain(steps_on(CausalLM(), 0, first), own)
    if course.labels:
        batches = beside_labels(problem, batches, course.labels, course.mlm_weight, seed)
    for objective, batch in batches:
        loss = trajectory.take_step(batch, objective, followed=trajectory.step >= first)
        yield loss, int(batch.mask.sum()) if course.mlm_weight else 0


def held_out_loss(problem: Problem, model: InnerModel) -> float:
    """Mean MLM loss on the texts of dev, which no arm is trained on, under uniform masks that are the same for all.

    By definition, whatever `inner.objective` is: trainings on different objectives are compared in one unit.
    """
    if HELD_OUT_MASKS not in problem.memo:
        problem.memo[HELD_OUT_MASKS] = [*_held_out(problem)]
    losses = list[tuple[float, int]]()
    for objective, batch in problem.memo[HELD_OUT_MASKS]:
        with torch.no_grad():
            loss = objective(model, batch, objective.inputs(batch, next(model.parameters())))
        losses.append((float(loss), int(batch.mask.sum())))
    each, masked = np.array(losses).T
    return float((each * masked).sum() / masked.sum())


def _held_out(problem: Problem) -> Iterator[tuple[Objective, MaskedBatch]]:
    rows, (uniform, objective) = problem.labelled("dev").rows, usual_masks(problem)
    picked = rows.spread(HELD_OUT)
    for first in range(0, len(picked), LOOKED_AT):
        ids, real = rows.batch(picked[first : first + LOOKED_AT].tolist(), problem.pad_id)
        yield objective, objective.draw(uniform, ids, real, 0, 0)


def usual_masks(problem: Problem) -> tuple[MaskingPolicy, Objective]:
    """Uniform masks at the usual rate, and the loss that all trainings are compared by."""
    if isinstance(problem, PictureProblem):
        settings = MaskingConfig(rate=problem.config.masking.usual_rate, p_max=1.0)
        return random_patches(problem.grid, settings), objective_of(problem)
    return uniform_policy(problem.tokenizer), MaskedLM()
